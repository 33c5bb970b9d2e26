"""CIFAR-10's binary version: the archive and the folder, read alike; damage named in one line."""

import gzip
import io
import os
import tarfile

import numpy as np
import pytest

from jbn.config import DataConfig, UserError
from jbn.data import load
from jbn.data.sources import cifar10
from jbn.data.sources.cifar10 import load_cifar10

ARCHIVE = "cifar-10-binary.tar.gz"
NAMES = [f"cifar-10-batches-bin/data_batch_{n}.bin" for n in range(1, 6)]
NAMES += ["cifar-10-batches-bin/test_batch.bin"]
RECORD = 3073


@pytest.fixture
def batches(monkeypatch, places):
    """Six files of two records: labels 0 to 9, 0 and 1; random pixels."""
    monkeypatch.setattr(cifar10, "_NUM_RECORDS", 2)
    rng = np.random.default_rng(0)
    pixels = [rng.bytes(RECORD - 1) for _ in range(12)]
    records = [bytes([n % 10]) + pixels[n] for n in range(12)]
    return {name: records[2 * n] + records[2 * n + 1] for n, name in enumerate(NAMES)}


def archived(contents, links=()):
    """A gzipped tar file of the contents, then of links, as pairs of a name and its target."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, data in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        for name, target in links:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            archive.addfile(member)
    return file.getvalue()


def names_below(folder):
    return sorted(os.listdir(folder))


def test_the_archive_and_its_folder_are_read_alike(places, publish, write, batches):
    extra = {"cifar-10-batches-bin/readme.html": b"text", "../outside": b"", "/tmp/absolute": b""}
    contents = batches | {ARCHIVE: archived(extra | batches)}
    publish("cifar10", contents)
    write(places / "a" / "cifar10", {ARCHIVE: contents[ARCHIVE]})
    write(places / "b", batches)
    before = names_below(places), names_below(places / "a" / "cifar10")
    for folder in (places / "a" / "cifar10", places / "b"):
        source = load_cifar10(str(places / folder.relative_to(places).parts[0]))
        assert (source.x.dtype, source.y.dtype) == (np.uint8, np.int32)
        assert source.x.shape == (12, 32, 32, 3)
        assert source.y.tolist() == [*range(10), 0, 1]
        assert source.num_test == 2
        assert source.where == str(folder)
        content = b"".join(batches[name] for name in NAMES)
        for at in [(0, 0, 0, 0), (0, 0, 1, 0), (3, 1, 0, 0), (7, 5, 9, 2), (11, 31, 31, 1)]:
            example, row, column, channel = at
            wanted = content[example * RECORD + 1 + channel * 1024 + row * 32 + column]
            assert source.x[at] == wanted
        assert sorted(source.x.ravel()) == sorted(
            np.delete(np.frombuffer(content, np.uint8), np.arange(12) * RECORD)
        )
        assert source.x.flags.c_contiguous
    # Nothing was unpacked to the disk.
    assert before == (names_below(places), names_below(places / "a" / "cifar10"))


def test_a_damaged_archive_is_not_opened(places, publish, write, batches):
    publish("cifar10", batches | {ARCHIVE: archived(batches)})
    write(places, {ARCHIVE: archived(batches)[:-1]})
    with pytest.raises(UserError, match=r"binary.tar.gz: found SHA-256 .*`jbn download cifar10`"):
        load_cifar10(str(places))


def damaged_archives(batches):
    """Archives that have the wanted checksum and are damaged all the same."""
    first, *_ = NAMES
    without = {name: data for name, data in batches.items() if name != first}
    whole = archived(batches)
    sized = bytearray(gzip.decompress(whole))
    sized[124:136] = b"77777777777\0"  # the first member's size, in octal
    checksum = sum(sized[:148]) + 8 * ord(" ") + sum(sized[156:512])
    sized[148:156] = b"%06o\0 " % checksum
    return {
        "member missing": (archived(without), "data_batch_1.bin' not found"),
        "member short": (
            archived(batches | {first: b"\0" * 6145}),
            "found 6145 bytes, wanted 6146",
        ),
        "member long": (archived(batches | {first: b"\0" * 9999}), "found 6147 bytes, wanted 6146"),
        "member a link": (archived(without, [(first, "/etc/passwd")]), "found 0 bytes"),
        "link to itself": (archived(without, [(first, "data_batch_1.bin")]), "found 0 bytes"),
        "size untrue": (bytes(sized), "damaged: "),
        "label": (archived(batches | {first: b"\x0a" * 6146}), "found label 10, wanted labels up"),
        "gzip cut": (whole[: len(whole) // 2], "found a gzip file that ends early"),
        "tar cut": (gzip.compress(gzip.decompress(whole)[:3000]), "damaged: "),
        "no tar": (gzip.compress(b"text"), "damaged: "),
        "a bomb": (gzip.compress(bytes(2_000_000)), "found more than 1085452 bytes"),
    }


@pytest.mark.parametrize("damage", damaged_archives(dict.fromkeys(NAMES, bytes(2 * RECORD))))
def test_damage_in_an_archive_is_named(places, publish, write, batches, damage):
    archive, sentence = damaged_archives(batches)[damage]
    publish("cifar10", batches | {ARCHIVE: archive})
    write(places, {ARCHIVE: archive})
    with pytest.raises(UserError, match=sentence) as error:
        load_cifar10(str(places))
    assert str(error.value).startswith(f"{places}/cifar-10-")
    assert str(error.value).endswith("; fetch it again")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (bytes(6145), "found 6145 bytes, wanted 6146"),
        (bytes(9999), "found more than 6146 bytes"),
        (b"\x0a" * 6146, "found label 10"),
    ],
)
def test_damage_in_the_folder_is_named(places, publish, write, batches, data, sentence):
    contents = batches | {NAMES[-1]: data}
    publish("cifar10", contents)
    write(places, contents)
    with pytest.raises(UserError, match=f"test_batch.bin: {sentence}"):
        load_cifar10(str(places))


def test_it_is_split_as_its_config_says(places, publish, write, batches):
    publish("cifar10", batches)
    write(places, batches)
    dataset = load(DataConfig(name="cifar10", dir=str(places)))
    assert [len(split.y) for split in dataset[:3]] == [9, 1, 2]
    assert dataset.test.y.tolist() == [0, 1]
    assert dataset.num_classes == 10


def test_the_real_files_are_what_their_authors_say(real):
    source = real(load_cifar10, None)
    assert source.x.shape == (60000, 32, 32, 3)
    assert source.num_test == 10000
    assert np.bincount(source.y[:50000]).tolist() == [5000] * 10
    assert np.bincount(source.y[50000:]).tolist() == [1000] * 10
    mean = source.x[:50000].mean((0, 1, 2)) / 255
    np.testing.assert_allclose(mean, [0.4914, 0.4822, 0.4465], atol=5e-5)
