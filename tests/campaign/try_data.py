"""Damaged data files: each is answered, or is a valid data set all the same."""

import gzip
import hashlib
import io
import re
import struct
import tarfile

import numpy as np
from damages import damages, npz_bombs
from judge import outcome_of

from jbn.config import DataConfig
from jbn.data import load
from jbn.data.published.registry import REGISTRY
from jbn.data.sources import cifar10

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(20, 3)).astype(np.float32)
Y = np.arange(20) % 3


# What is a valid data set, though something was done to it.
FINE = {
    *(  # jbn doesn't use the names of columns
        f"csv of {targets}: {what}"
        for targets in ("labels", "numbers")
        for what in ("bytes 0", "a name to be escaped", "names of pandas", "a mark of order")
    ),
    # A target may be any number.
    *(f"csv of numbers: {of}" for of in ("a label below 0", "a label like no other")),
    "csv of numbers: half a label",
    "npz: truth values",
}
ANOTHER_CHECKSUM = "cifar10: another checksum"
_BY_CHANCE = re.compile(r"(cut|bit \d+|a byte less|junk) at \d+$")


def csv_of(header, table):
    return "\n".join([header, *(",".join(map(str, row)) for row in table)]).encode() + b"\n"


CSV = csv_of("a,b,label", [[1.5 * n, n % 7, n % 3] for n in range(20)])
NUMBERS = csv_of("a,b,target", [[1.5 * n, n % 7, n**2 / 3] for n in range(20)])


def npz_of(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def csv_cases(content):
    """What may be wrong with a table, beside damage by chance."""
    lines = content.splitlines(keepends=True)
    joined = b"".join(lines[1:])
    return {
        "an endless line": lines[0] + b"1," * 300_000 + b"1\n",
        "an endless field": lines[0] + b"1" * 1_000_000 + b",2,0\n" + joined,
        "a million quotes": lines[0] + b'"' * 1_000_000 + joined,
        "no UTF-8": content.replace(b"1", b"\xff", 1),
        "bytes 0": content.replace(b",", b",\0", 1),
        "control characters": content.replace(b"3.0", b"\x1b[2J\xe2\x80\xae", 1),
        "a name to be escaped": b"<script>,\xe2\x80\xaeb,c\n" + joined,
        "NaN": content.replace(b"3.0", b"nan", 1),
        "infinity": content.replace(b"3.0", b"inf", 1),
        "beyond float64": content.replace(b"3.0", b"1e999", 1),
        "beyond float32": content.replace(b"3.0", b"1e300", 1),
        "beyond any variance": joined.replace(b".", b"e300"),
        "names alone": lines[0],
        "one column": b"1\n2\n3\n",
        "a column less": content.replace(b",", b"", 1) + b"1,2\n",
        "a label below 0": content.replace(b",2\n", b",-2\n"),
        "a label like no other": content.replace(b",2\n", b",200\n", 1),
        "half a label": content.replace(b",2\n", b",2.5\n", 1),
        "one class": b"".join(line.rsplit(b",", 1)[0] + b",0\n" for line in lines),
        "few rows": b"".join(lines[:6]),
        "perhaps names": b"0,1,2\n" + b"1,2,0\n" * 20,
        "names of pandas": b"0,1,2\n" + b"1.5,2,0\n3.5,2,1\n" * 20,
        "semicolons": content.replace(b",", b";"),
        "thousands": content.replace(b"3.0", b"3_000", 1),
        "digits of another script": content.replace(b"3.0", "٣".encode(), 1),
        "a mark of order": b"\xef\xbb\xbf" + content,
        "UTF-16": content.decode().encode("utf-16"),
        "far from zero": b"".join(b"1e15" + line for line in lines[1:]),
    }


def user_files(folder, number):
    """A config's keys and the content of its file, by what was done."""
    outside = folder / "outside" / "written"
    for name, targets, content, bombs in (
        ("npz", "labels", npz_of(x=X, y=Y), npz_bombs({"x": X, "y": Y}, outside)),
        ("npz", "numbers", npz_of(x=X, y=X[:, :2], x_test=X, y_test=X[:, :2]), {}),
        ("csv", "labels", CSV, csv_cases(CSV)),
        ("csv", "numbers", NUMBERS, csv_cases(NUMBERS)),
    ):
        keys = {"name": name, "targets": targets}
        yield f"{name} of {targets}: valid", keys, content
        all_of = bombs | damages(content, number=number)
        for label, damaged in all_of.items():
            yield f"{name} of {targets}: {label}", keys, damaged
    for label, arrays in {
        "another test": {"x": X, "y": Y, "x_test": X[:, :2], "y_test": Y},
        "another type": {"x": X, "y": Y, "x_test": X.astype(np.uint8), "y_test": Y},
        "other names": {"x": X, "z": Y},
        "labels of text": {"x": X, "y": Y.astype(str)},
        "labels with fractions": {"x": X, "y": Y / 2},
        "labels from 1": {"x": X, "y": Y + 1},
        "fewer labels": {"x": X, "y": Y[1:]},
        "one-hot": {"x": X, "y": np.eye(3)[Y]},
        "no examples": {"x": X[:0], "y": Y[:0]},
        "no axis": {"x": X[:, 0], "y": Y},
        "truth values": {"x": X > 0, "y": Y},
        "huge labels": {"x": X, "y": Y.astype(np.uint64) << np.uint64(62)},
    }.items():
        yield f"npz: {label}", {"name": "npz"}, npz_of(**arrays)
    for label, y in {
        "a target that never varies": 0 * X[:, 0],
        "NaN in a target": np.where(Y == 0, np.nan, X[:, 0]),
        "targets beyond any variance": X[:, 0].astype(float) * 1e300,
        "targets of no variance": X[:, 0].astype(float) * 5e-324 * 1e3,
        "targets of no size": X[:, :0],
        "other tests": X[:, :2],
    }.items():
        test = {"x_test": X, "y_test": X[:, 0]} if label == "other tests" else {}
        yield (
            f"npz of numbers: {label}",
            {"name": "npz", "targets": "numbers"},
            npz_of(x=X, y=y, **test),
        )
    yield "csv: too many targets", {"name": "csv", "targets": "numbers", "num_targets": 3}, NUMBERS


def idx_of(values, *, sizes=None, beginning=b"\0\0\x08"):
    sizes = values.shape if sizes is None else sizes
    return (
        beginning + bytes([len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes) + values.tobytes()
    )


def mnist_files():
    """The four files of a small set, by the names of the real ones."""
    images, labels = RANDOM.integers(0, 256, (12, 28, 28), np.uint8), np.arange(12, dtype=np.uint8)
    return {
        f"{split}-{kind}-ubyte.gz": gzip.compress(idx_of(values), mtime=0)
        for split in ("train", "t10k")
        for kind, values in (("images-idx3", images), ("labels-idx1", labels % 10))
    }


def mnist_cases():
    """Files of the set in which something is wrong, though their checksums are right."""
    images, labels = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"
    valid = mnist_files()
    plain = gzip.decompress(valid[images])
    twelve = np.arange(12, dtype=np.uint8)
    yield "valid", valid
    for label, content in {
        **damages(plain, number=12),
        "2**40 images": idx_of(twelve, sizes=(2**31, 2**9, 28)),
        "255 axes": idx_of(twelve[:0], sizes=(0,) * 255),
        "40 axes of 1": idx_of(twelve[:1], sizes=(1,) * 40),
        "a header that is cut": b"\0\0\x08\xff",
        "floats": idx_of(twelve, beginning=b"\0\0\x0d"),
        "other sizes": idx_of(twelve, sizes=(3, 4)),
        "other images": idx_of(np.zeros((12, 8, 8), np.uint8)),
    }.items():
        yield f"images: {label}", valid | {images: gzip.compress(content, mtime=0)}
    for label, content in damages(valid[images], number=12).items():
        yield f"gzipped images: {label}", valid | {images: content}
    bomb = gzip.compress(bytes(2**27), mtime=0)
    yield "images: a bomb of 128 MB", valid | {images: bomb}
    yield "labels above 9", valid | {labels: gzip.compress(idx_of(twelve + 9), mtime=0)}
    yield "labels of two axes", valid | {labels: gzip.compress(idx_of(twelve[:, None]), mtime=0)}
    yield "swapped", valid | {labels: valid[images], images: valid[labels]}


def cifar_of(batches, *, kind=tarfile.REGTYPE, prefix=""):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, data in batches.items():
            member = tarfile.TarInfo(prefix + name)
            member.type, member.size, member.linkname = kind, len(data), "/etc/passwd"
            archive.addfile(member, io.BytesIO(data))
    return file.getvalue()


def cifar_batches():
    """The batches of a small set, by their real names."""
    record = [bytes([n % 10]) + RANDOM.bytes(3072) for n in range(12)]
    return {name: b"".join(record[2 * n : 2 * n + 2]) for n, name in enumerate(cifar10._BATCHES)}


def cifar_cases():
    """Archives in which something is wrong, though their checksums are right."""
    batches = cifar_batches()
    valid = cifar_of(batches)
    first = cifar10._BATCHES[0]
    yield "valid", valid
    for label, content in damages(gzip.decompress(valid), number=16).items():
        yield f"tar: {label}", gzip.compress(content, mtime=0)
    for label, content in damages(valid, number=8).items():
        yield f"archive: {label}", content
    yield "links", cifar_of(dict.fromkeys(batches, b""), kind=tarfile.SYMTYPE)
    yield "folders", cifar_of(dict.fromkeys(batches, b""), kind=tarfile.DIRTYPE)
    yield "outside", cifar_of(batches, prefix="../outside/")
    yield "a label above 9", cifar_of(batches | {first: b"\xff" * 6146})
    yield "a record too many", cifar_of(batches | {first: b"\0" * 9000})
    yield "a bomb of 128 MB", gzip.compress(bytes(2**27), mtime=0)


def published(monkeypatch, name, contents):
    """Makes these the files of the set: their checksums are the right ones."""
    sums = {file: hashlib.sha256(data).hexdigest() for file, data in contents.items()}
    monkeypatch.setitem(REGISTRY, name, REGISTRY[name]._replace(sha256=sums))


def tried(number, root, monkeypatch):
    """What so many damaged files come to, by what was done to them."""
    (root / "outside").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(root / "cache"))
    monkeypatch.delenv("JBN_DATA_DIR", raising=False)
    monkeypatch.setattr(cifar10, "_NUM_RECORDS", 2)
    folder = root / "data"
    folder.mkdir()
    outcomes = {}

    def try_load(label, **keys):
        outcomes[label] = outcome_of(lambda: _loaded(keys), root, inside=[])

    for label, keys, content in user_files(root, number):
        path = folder / f"data.{keys['name']}"
        path.write_bytes(content)
        try_load(label, path=str(path), **keys)
    for label, path in {
        "no file": folder / "nothing",
        "a folder": folder,
        "a link to itself": folder / "loop",
        "a name too long": folder / ("a" * 300),
    }.items():
        if label == "a link to itself":
            path.symlink_to(path)
        for name in ("npz", "csv"):
            try_load(f"{name}: {label}", name=name, path=str(path))
    sets = [("mnist", label, files) for label, files in mnist_cases()]
    sets += [("cifar10", label, {cifar10._ARCHIVE: of}) for label, of in cifar_cases()]
    for name, label, files in sets:
        for path in folder.iterdir():
            path.unlink()
        for file, content in files.items():
            (folder / file).write_bytes(content)
        published(monkeypatch, name, files)
        try_load(f"{name}: {label}", name=name, dir=str(folder))
    for file in files:  # a valid set, and not the one that was published
        (folder / file).write_bytes(cifar_of(cifar_batches()))
    try_load(ANOTHER_CHECKSUM, name="cifar10", dir=str(folder))
    return outcomes


def is_no_data(label):
    """Whether what was done makes no valid data set; what chance does may leave one."""
    is_valid = label.endswith(": valid") or label in FINE
    return not is_valid and not _BY_CHANCE.search(label)


def _loaded(keys):
    """A data set that is taken is whole: finite numbers, as many targets, known classes."""
    dataset = load(DataConfig(**keys))
    for x, y in (dataset.train, dataset.val, dataset.test):
        assert len(x) == len(y)
        assert np.isfinite(x).all()
        assert np.isfinite(y).all()
        assert dataset.num_classes is None or ((y >= 0) & (y < dataset.num_classes)).all()
    assert len(dataset.train.y)
