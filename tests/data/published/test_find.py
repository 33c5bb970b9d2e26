"""Where files are looked for, in which order; and that each is verified before any is used."""

import hashlib
import re
from pathlib import Path

import pytest

from jbn.config import UserError
from jbn.data.published.find import cache_dir, find_files
from jbn.data.published.registry import REGISTRY

FILES = {"a.gz": b"a, zipped", "b.gz": b"b, zipped", "a": b"a", "c/b1": b"b1", "c/b2": b"b2"}
ZIPPED = {"a.gz": FILES["a.gz"], "b.gz": FILES["b.gz"]}


@pytest.fixture(autouse=True)
def small_set(places, publish):
    """Two published files in place of MNIST's: a.gz holds a; b.gz holds c/b1 and c/b2."""
    publish("mnist", FILES, files={"a.gz": ("a",), "b.gz": ("c/b1", "c/b2")})


def test_the_real_registry_has_a_checksum_for_every_file():
    for name in ("fashion_mnist", "cifar10"):
        file_set = REGISTRY[name]
        names = {*file_set.files, *(path for paths in file_set.files.values() for path in paths)}
        assert {Path(path).name for path in names} == set(file_set.sha256)
        assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in file_set.sha256.values())
        assert file_set.url.endswith("/")


@pytest.mark.parametrize("folder", ["mnist", ".", "MNIST/raw"])
@pytest.mark.parametrize("place", ["data.dir", "JBN_DATA_DIR", "cache"])
def test_files_are_found_in_each_place_and_layout(monkeypatch, places, write, place, folder):
    root = cache_dir() if place == "cache" else places / "data"
    write(root / folder, ZIPPED)
    if place == "JBN_DATA_DIR":
        monkeypatch.setenv("JBN_DATA_DIR", str(root))
    found, paths = find_files("mnist", str(root) if place == "data.dir" else None)
    assert found == root / folder
    assert paths == {name: (root / folder / name,) for name in ZIPPED}


def test_the_first_place_that_has_all_files_counts(monkeypatch, places, write):
    monkeypatch.setenv("JBN_DATA_DIR", str(places / "second"))
    roots = [places / "first", places / "second", cache_dir()]
    for root in reversed(roots):
        write(root, ZIPPED)
        assert find_files("mnist", str(places / "first"))[0] == root
    (places / "first" / "a.gz").unlink()
    assert find_files("mnist", str(places / "first"))[0] == places / "second"
    write(places / "second" / "mnist", ZIPPED)
    assert find_files("mnist", None)[0] == places / "second" / "mnist"


@pytest.mark.parametrize(
    ("there", "wanted"),
    [
        (["a", "c/b1", "c/b2"], {"a.gz": ["a"], "b.gz": ["c/b1", "c/b2"]}),
        (["a", "b.gz"], {"a.gz": ["a"], "b.gz": ["b.gz"]}),
        (["a", "b.gz", "c/b1"], {"a.gz": ["a"], "b.gz": ["b.gz"]}),
        (list(FILES), {"a.gz": ["a.gz"], "b.gz": ["b.gz"]}),
    ],
)
def test_unpacked_files_stand_in_for_published_ones(places, write, there, wanted):
    write(places, {name: FILES[name] for name in there})
    _, paths = find_files("mnist", str(places))
    assert paths == {name: tuple(places / path for path in of) for name, of in wanted.items()}


@pytest.mark.parametrize(
    ("there", "damaged"), [(ZIPPED, "a.gz"), (ZIPPED, "b.gz"), (["a", "c/b1", "c/b2"], "c/b2")]
)
def test_a_damaged_file_is_named_even_if_another_place_is_good(places, write, there, damaged):
    write(cache_dir(), ZIPPED)
    write(places / "data", {name: FILES[name] for name in there} | {damaged: b"damaged"})
    with pytest.raises(UserError) as error:
        find_files("mnist", str(places / "data"))
    found, wanted = (hashlib.sha256(data).hexdigest() for data in (b"damaged", FILES[damaged]))
    assert str(error.value) == (
        f"{places / 'data' / damaged}: found SHA-256 {found[:12]}…, wanted {wanted[:12]}…, so it "
        "is damaged or another file; remove it, then `jbn download mnist`"
    )


def test_another_sets_files_of_the_same_names_are_passed_over(places, publish, write):
    others = {"a.gz": b"of fashion", "b.gz": b"of fashion too"}
    publish("fashion_mnist", others, files=REGISTRY["mnist"].files)
    write(places / "data", others)
    assert find_files("fashion_mnist", str(places / "data"))[0] == places / "data"
    with pytest.raises(UserError, match="in none of"):
        find_files("mnist", str(places / "data"))
    write(cache_dir() / "mnist", ZIPPED)
    assert find_files("mnist", str(places / "data"))[0] == cache_dir() / "mnist"
    write(places / "data", {"a.gz": b"of none"})
    with pytest.raises(UserError, match=r"a.gz: found SHA-256"):
        find_files("mnist", str(places / "data"))


def test_what_is_nowhere_is_one_line_with_the_places_and_the_command(monkeypatch, places):
    monkeypatch.setenv("JBN_DATA_DIR", "/env")
    with pytest.raises(UserError) as error:
        find_files("mnist", "/config")
    assert str(error.value) == (
        f"mnist: found its files in none of /config (data.dir), /env ($JBN_DATA_DIR), "
        f"{places}/cache/jbn/data; fetch them by `jbn download mnist`, or name their folder by "
        "data.dir or $JBN_DATA_DIR"
    )


def test_a_folder_of_a_files_name_is_no_file(places, write):
    write(places, {"b.gz": b"", "a.gz/inside": b""})
    with pytest.raises(UserError, match="in none of"):
        find_files("mnist", str(places))


def test_the_home_folder_is_found(monkeypatch, places, write):
    monkeypatch.setenv("HOME", str(places))
    write(places / "data", ZIPPED)
    assert find_files("mnist", "~/data")[0] == places / "data"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_dir() == places / ".cache" / "jbn" / "data"
