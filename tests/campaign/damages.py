"""What is done to a valid file, of one place or more; and files that are bombs."""

import io
import json
import random
import struct
import zipfile

import numpy as np

HUGE = 2**40  # entries: no machine has memory for them


def damages(content, *, other=b"another file\n", seed=0, number=8):
    """So many damaged forms of a file's bytes, by what was done: most of them in one place."""
    draw = random.Random(f"{seed} {len(content)}")
    found = {"emptied": b"", "swapped": other, "nothing but zeros": bytes(len(content))}
    places = [draw.randrange(len(content)) for _ in range(number)] if content else []
    for turn, place in enumerate(places):
        match turn % 4:
            case 0:
                found[f"cut at {place}"] = content[:place]
            case 1:
                bit = 1 << draw.randrange(8)
                flipped = bytes([content[place] ^ bit])
                found[f"bit {bit} at {place}"] = content[:place] + flipped + content[place + 1 :]
            case 2:
                found[f"a byte less at {place}"] = content[:place] + content[place + 1 :]
            case 3:
                junk = draw.randbytes(draw.choice([1, 40]))
                found[f"junk at {place}"] = content[:place] + junk + content[place:]
    return found


def zipped(members, **options):
    """A zip file of bytes by their names."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **options) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def npy(array, *, shape=None, descr=None, version=b"\x01\x00"):
    """The bytes of a npy file, whose header may say another shape or type."""
    if array.dtype.hasobject:
        file = io.BytesIO()
        np.save(file, array, allow_pickle=True)
        return file.getvalue()
    shape = array.shape if shape is None else shape
    descr = np.lib.format.dtype_to_descr(array.dtype) if descr is None else descr
    header = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape!r}}}".encode()
    size = struct.pack("<H" if version == b"\x01\x00" else "<I", len(header) + 1)
    return b"\x93NUMPY" + version + size + header + b"\n" + array.tobytes()


class Runs:
    """A pickle of it would write a file, wherever it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def npz_bombs(arrays, victim):
    """npz files with something evil in the place of one array, or beside it."""
    name, array = next(iter(arrays.items()))
    rest = {f"{of}.npy": npy(value) for of, value in arrays.items() if of != name}

    def with_first(data, **options):
        return zipped({f"{name}.npy": data, **rest}, **options)

    endless = np.zeros(2**22, np.uint8)
    pickled = np.array([Runs(victim)], dtype=object)
    whole = with_first(npy(array))
    lying = bytearray(whole)
    at = lying.rindex(b"PK\x01\x02")
    lying[at + 24 : at + 28] = struct.pack("<I", 2**32 - 2)  # the size once unpacked
    return {
        "an array of 2**40 entries": with_first(npy(array, shape=(HUGE,))),
        "entries that overflow": with_first(npy(array, shape=(2**62, 2**62))),
        "a shape below zero": with_first(npy(array, shape=(-1, *array.shape[1:]))),
        "a hundred axes": with_first(npy(array, shape=(1,) * 100)),
        "a shape of text": with_first(npy(array, shape="(3,)")),
        "a header of 100 MB": with_first(npy(array, shape=(1,) * 2_000_000, version=b"\x02\x00")),
        "a nested header": with_first(npy(array, descr="(" * 5000)),
        "of Python objects": with_first(npy(pickled)),
        "fields of Python objects": with_first(npy(array, descr=[("a", "|O")])),
        "text": with_first(npy(np.full(array.shape, "a"))),
        "complex numbers": with_first(npy(array.astype(complex))),
        "dates": with_first(npy(np.zeros(array.shape, "M8[s]"))),
        "no array": with_first(b"bytes"),
        "another version": with_first(npy(array, version=b"\x09\x00")),
        "an unpacked size of 4 GB": bytes(lying),
        "more than it says": with_first(npy(array) + endless.tobytes(), compression=8),
        "a name of another folder": zipped({f"../{name}.npy": npy(array), **rest}),
        "a name twice": zipped({f"{name}.npy": npy(array), name: npy(array), **rest}),
        "an absolute name": zipped({f"/{name}.npy": npy(array), **rest}),
        "5000 more arrays": zipped({**{f"a{n}.npy": npy(array[:1]) for n in range(5000)}, **rest}),
        "a name below an array": zipped(
            {f"{name}.npy": npy(array), f"{name}/b.npy": npy(array), **rest}
        ),
        "nothing in it": zipped({}),
        "a file before it": b"#!/bin/sh\n" + whole,
        "NaN": with_first(npy(np.full(array.shape, np.nan, np.float32))),
        "infinity": with_first(npy(np.full(array.shape, np.inf, np.float32))),
    }


def json_damages(content):
    """JSON files with another value at one place, for each of their first places, and bombs."""
    table = json.loads(content)
    found = {
        "nested 100000 deep": b"[" * 100_000,
        "nested objects": b'{"a":' * 50_000,
        "a number of 5000 digits": b'{"format": ' + b"9" * 5000 + b"}",
        "NaN": content.replace(b"1", b"NaN", 1),
        "a list": b"[]",
        "null": b"null",
        "a surrogate": content.replace(b'"', b'"\\ud800', 3),
        "names to be escaped": content.replace(b'"', b'"\\u001b]0;x\\u0007\\u202e<b>', 1),
    }
    for path, value in list(_places(table))[:40]:
        for junk in ([], {}, None, -1, 2**70, "\u202e<script>", 1.5, [[]], {"a": {}}):
            if type(junk) is not type(value) or junk != value:
                changed = json.dumps(_changed(table, path, junk)).encode()
                found[f"{'.'.join(map(str, path))} = {junk!r}"] = changed
        found[f"without {'.'.join(map(str, path))}"] = json.dumps(_changed(table, path)).encode()
    return found


def _places(value, path=()):
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, of in inner:
        yield (*path, key), of
        if isinstance(of, dict | list):
            yield from _places(of, (*path, key))


_GONE = object()


def _changed(value, path, junk=_GONE):
    value = json.loads(json.dumps(value))
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    if junk is _GONE:
        del inner[path[-1]]
    else:
        inner[path[-1]] = junk
    return value


def table_damages(content):
    """CSV tables with another entry in one place, a column or a row less or twice, and bombs."""
    head, *rows = content.splitlines(keepends=True)
    names = head.rstrip(b"\n").split(b",")
    found = {
        "a quote that never ends": content.replace(b",", b',"', 1),
        "a field of a million bytes": content + b"x" * 1_000_000 + b"\n",
        "a row twice": content + rows[0],
        "without its first row": head + b"".join(rows[1:]),
        "without its names": b"".join(rows),
        "its names alone": head,
        "half its last row": content[:-5],
        "a name twice": head.replace(names[1], names[0]) + b"".join(rows),
        "Windows' ends of lines": content.replace(b"\n", b"\r\n"),
        "bytes 0": content.replace(b",", b"\0", 1),
        "another arm": content.replace(rows[0].split(b",")[1], b"../../outside"),
    }
    for place, name in enumerate(names):
        column = name.decode()
        found[f"without {column}"] = content.replace(name, name[::-1] + b"_", 1)
        for junk in (
            b"",
            b"-1",
            b"9" * 30,
            b"9" * 5000,
            b"1.5",
            b"x",
            b"nan",
            b"\xc2\xb2",
            b"1e999",
        ):
            entries = rows[0].rstrip(b"\n").split(b",")
            entries[place] = junk
            first = b",".join(entries) + b"\n"
            found[f"{column} = {junk[:8]!r} of {len(junk)}"] = head + first + b"".join(rows[1:])
    return found
