"""Whole files in memory, decompressed by what their first bytes say."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path

from ecd_data.errors import FormatError

OPENERS: dict[bytes, tuple[str, Callable[[bytes], bytes]]] = {
    b"\x1f\x8b": ("gzip", gzip.decompress),
    b"\xfd7zXZ\x00": ("xz", lzma.decompress),
    b"BZh": ("bzip2", bz2.decompress),
}
WRITERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": lambda data: gzip.compress(data, compresslevel=6, mtime=0),
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
}
ENDINGS = tuple(WRITERS)


def read_bytes(path: Path) -> bytes:
    """The content of a file, decompressed where it is gzip, xz or bzip2.

    Raises FormatError for a missing, empty or damaged file.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise FormatError(f"{path} does not exist: check the path") from error
    except IsADirectoryError as error:
        raise FormatError(f"{path} is a folder: name a file in it, or use `ecd convert` for folders") from error
    if not data:
        raise FormatError(f"{path} is empty: copy or download it again")
    for magic, (name, decompress) in OPENERS.items():
        if data.startswith(magic):
            try:
                return decompress(data)
            except (OSError, EOFError, lzma.LZMAError, zlib.error, ValueError) as error:
                raise FormatError(f"{path} is damaged or cut {name} data: copy or download it again") from error
    return data


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` under `path`, compressed as the ending says, all at once or not at all."""
    compress = WRITERS.get(path.suffix)
    aside = path.with_name(f".{path.name}.writing")
    try:
        aside.write_bytes(compress(data) if compress else data)
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
