"""Files that may be gzipped: read by content, never more of them than was asked for."""

import gzip
import tracemalloc

import pytest

from jbn.config import UserError
from jbn.data.published.gunzip import read_content


def test_content_may_be_as_long_as_was_asked_for_and_no_longer(tmp_path):
    for content in (b"abcd", gzip.compress(b"abcd")):
        (tmp_path / "x").write_bytes(content)
        assert read_content(tmp_path / "x", max_bytes=4) == b"abcd"
        with pytest.raises(UserError, match="found more than 3 bytes of content, wanted at most"):
            read_content(tmp_path / "x", max_bytes=3)


def test_no_more_of_a_gzip_bomb_is_unpacked_than_was_asked_for(tmp_path):
    bomb = gzip.compress(bytes(50_000_000))
    assert len(bomb) < 60_000
    (tmp_path / "x").write_bytes(bomb)
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match="found more than 1000 bytes"):
            read_content(tmp_path / "x", max_bytes=1000)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("name", "reason"), [("none", "No such file"), (".", "Is a directory")])
def test_what_can_not_be_read_is_named(tmp_path, name, reason):
    with pytest.raises(UserError, match=f"can't be read: {reason}"):
        read_content(tmp_path / name, max_bytes=100)
