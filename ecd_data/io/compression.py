"""The bytes of a file, decompressed by what its first bytes say."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import zlib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from ecd_data.errors import FormatError, MissingDependencyError
from ecd_data.io.file_bytes import MappedFile, Text

try:  # inflates more than twice as fast
    _zlib: Any = import_module("isal.isal_zlib")
except ImportError:
    _zlib = zlib

MAX_BYTES = 1 << 36  # what no density needs: a bomb
STEP = 1 << 24  # bytes at a time
SMALL = 1 << 20  # below this, mapping a file costs more than reading it
DAMAGE = (OSError, EOFError, lzma.LZMAError, zlib.error, ValueError, _zlib.error)


def _members(start: Callable[[], Any]) -> Callable[[bytes], bytes]:
    """A decompressor of streams that follow each other, zero padding between them, up to MAX_BYTES in all."""

    def decompress(data: bytes) -> bytes:
        pieces: list[bytes] = []
        while data:
            stream = start()
            room = MAX_BYTES - sum(map(len, pieces))
            pieces.append(stream.decompress(data, room + 1))
            if len(pieces[-1]) > room:
                raise ValueError("it is larger than any density")
            if not stream.eof:
                raise EOFError("it ends too early")
            data = stream.unused_data.lstrip(b"\0")
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    return decompress


def _arrow(codec: str) -> Callable[[bytes], bytes]:
    """A decompressor of pyarrow's, which is always there, if not with every codec."""

    def decompress(data: bytes) -> bytes:
        import pyarrow as pa

        if not pa.Codec.is_available(codec):
            raise MissingDependencyError(
                f"this pyarrow was built without {codec}: pip install --force-reinstall pyarrow"
            )
        pieces: list[bytes] = []
        with pa.CompressedInputStream(pa.BufferReader(data), codec) as stream:
            while not pieces or pieces[-1]:
                pieces.append(stream.read(STEP))
                if len(pieces) * STEP > MAX_BYTES:
                    raise ValueError("it is larger than any density")
        return b"".join(pieces)

    return decompress


def _compress_arrow(codec: str) -> Callable[[bytes], bytes]:
    def compress(data: bytes) -> bytes:
        import pyarrow as pa

        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, codec) as stream:
            stream.write(data)
        whole: bytes = sink.getvalue().to_pybytes()
        return whole

    return compress


STREAMS: dict[bytes, tuple[str, Callable[[], Any]]] = {
    b"\x1f\x8b": ("gzip", lambda: _zlib.decompressobj(wbits=31)),
    b"\xfd7zXZ\x00": ("xz", lzma.LZMADecompressor),
    b"BZh": ("bzip2", bz2.BZ2Decompressor),
}
CODECS = {b"\x28\xb5\x2f\xfd": "zstd", b"\x04\x22\x4d\x18": "lz4"}
OPENERS: dict[bytes, tuple[str, Callable[[bytes], bytes]]] = {
    **{magic: (kind, _members(start)) for magic, (kind, start) in STREAMS.items()},
    **{magic: (codec, _arrow(codec)) for magic, codec in CODECS.items()},
}
WRITERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": lambda data: gzip.compress(data, compresslevel=6, mtime=0),
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
    ".zst": _compress_arrow("zstd"),
    ".lz4": _compress_arrow("lz4"),
}
ENDINGS = tuple(WRITERS)


def read_bytes(path: Path) -> Text:
    """The content of a file, decompressed where it is gzip, xz, bzip2, zstd or lz4.

    Raises FormatError for a missing, empty or damaged file.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            if os.fstat(file.fileno()).st_size > SMALL:
                head = file.read(8)
                if not any(head.startswith(magic) for magic in OPENERS):
                    return MappedFile.open(path)
                file.seek(0)
            data = file.read()
    except FileNotFoundError as error:
        raise FormatError(f"{path} does not exist: check the path") from error
    except IsADirectoryError as error:
        raise FormatError(f"{path} is a folder: name a file in it, or use `ecd convert` for folders") from error
    except OSError as error:
        raise FormatError(f"{path} cannot be read ({error.strerror}): check its permissions and the disk") from error
    if not data:
        raise FormatError(f"{path} is empty: copy or download it again")
    return decompressed(data, str(path))


def decompressed(data: bytes, name: str) -> bytes:
    """`data`, decompressed where it is compressed; raises FormatError where it is damaged."""
    for magic, (kind, decompress) in OPENERS.items():
        if data.startswith(magic):
            try:
                return decompress(data)
            except MissingDependencyError:
                raise
            except DAMAGE as error:
                raise FormatError(f"{name} is damaged or cut {kind} data: copy or download it again") from error
    return data


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` under `path`, compressed as the ending says, all at once or not at all."""
    compress = WRITERS.get(path.suffix)
    aside = path.with_name(f".{path.name}.writing")
    try:
        aside.write_bytes(compress(data) if compress else data)
        aside.replace(path)
    except BaseException as error:
        aside.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)  # a full disk names no file
        raise
