"""Reads a file that may be gzipped, up to a given size."""

import zlib
from pathlib import Path
from typing import BinaryIO

from jbn.config import UserError

_GZIP_MAGIC = b"\x1f\x8b"
_CHUNK = 2**16


def read_content(path: Path, *, max_bytes: int) -> bytes:
    """The bytes of the file. If its first bytes are those of a gzip file, it is unpacked.

    The name of the file doesn't matter. At most `max_bytes` + 1 bytes are unpacked.

    Raises:
        UserError: the content has more than `max_bytes`, or the file is damaged or can't be read.
    """
    try:
        with path.open("rb") as file:
            gzipped = file.read(2) == _GZIP_MAGIC
            file.seek(0)
            content = _gunzip(file, max_bytes + 1) if gzipped else file.read(max_bytes + 1)
    except OSError as error:
        raise UserError(f"{path}: can't be read: {error.strerror}") from None
    except EOFError:
        raise UserError(
            f"{path}: found a gzip file that ends early, wanted all of it; fetch it again"
        ) from None
    except zlib.error as error:
        raise UserError(f"{path}: found a damaged gzip file ({error}); fetch it again") from None
    if len(content) > max_bytes:
        raise UserError(
            f"{path}: found more than {max_bytes} bytes of content, wanted at most these; fetch it "
            "again"
        )
    return content


def _gunzip(file: BinaryIO, max_bytes: int) -> bytes:
    """The first `max_bytes` of the unpacked content. Raises EOFError if the file ends too early."""
    inflate = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    content = bytearray()
    while not inflate.eof and len(content) < max_bytes:
        chunk = file.read(_CHUNK)
        if not chunk:
            raise EOFError
        content += inflate.decompress(chunk, max_bytes - len(content))
    return bytes(content)
