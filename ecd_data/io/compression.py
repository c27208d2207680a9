"""Compressed files: the first bytes of a file decide how it is read, the end of its name how it is written.

Written without xopen, which knows no lz4 and sets no limit on the size of what a file unpacks to.
"""

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
from ecd_data.io.atomic_write import write_whole
from ecd_data.io.file_bytes import MappedFile, Text

try:  # decompresses more than twice as fast as zlib
    _zlib: Any = import_module("isal.isal_zlib")
except ImportError:
    _zlib = zlib

MAX_BYTES = 1 << 36  # of a decompressed file: no density needs as many, so it is a decompression bomb
STEP_BYTES = 1 << 24  # that are decompressed at a time
FRAME_BYTES = 1 << 28  # of a frame of zstd: numcodecs takes less than 2 GiB at a time
LZ4_CONTENT_CHECKSUM, LZ4_CONTENT_SIZE = 1 << 2, 1 << 3  # among the options of a frame
SMALL_FILE = 1 << 20  # bytes: it takes longer to map a smaller file than to read it
DAMAGE_ERRORS = (OSError, EOFError, lzma.LZMAError, zlib.error, ValueError, _zlib.error)


def _stream_decompressor(start: Callable[[], Any]) -> Callable[[bytes], bytes]:
    """A decompressor of files with several streams, with zero padding between them, up to MAX_BYTES in all."""

    def decompress(data: bytes) -> bytes:
        pieces: list[bytes] = []
        while data:
            stream = start()
            room = MAX_BYTES - sum(map(len, pieces))
            pieces.append(stream.decompress(data, room + 1))
            if len(pieces[-1]) > room:
                raise ValueError("it is larger than any density can be")
            if not stream.eof:
                raise EOFError("it ends too early")
            data = stream.unused_data.lstrip(b"\0")
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    return decompress


def _arrow_decompressor(codec: str) -> Callable[[bytes], bytes]:
    """A decompressor by pyarrow, which is always installed, though some builds lack a codec."""

    def decompress(data: bytes) -> bytes:
        import pyarrow as pa

        if not pa.Codec.is_available(codec):
            raise MissingDependencyError(
                f"this pyarrow was built without {codec}: pip install --force-reinstall pyarrow"
            )
        pieces: list[bytes] = []
        with pa.CompressedInputStream(pa.BufferReader(data), codec) as stream:
            while not pieces or pieces[-1]:
                pieces.append(stream.read(STEP_BYTES))
                if len(pieces) * STEP_BYTES > MAX_BYTES:
                    raise ValueError("it is larger than any density can be")
        return b"".join(pieces)

    return decompress


def _compress_zstd(data: bytes) -> bytes:
    """The data as frames of zstd with checksums, which pyarrow's compressor does not write."""
    from numcodecs.zstd import Zstd

    codec = Zstd(level=1, checksum=True)
    return b"".join(bytes(codec.encode(data[at : at + FRAME_BYTES])) for at in range(0, len(data), FRAME_BYTES))


def _compress_lz4(data: bytes) -> bytes:
    """The data as a frame of lz4 with a checksum, which is added here, since pyarrow's compressor has no option for it.

    A frame is a magic number of 4 bytes, options of 2 or 10 with a byte as their checksum, blocks, and the checksum of
    the data.
    """
    import pyarrow as pa
    from xxhash import xxh32_intdigest

    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "lz4") as stream:
        stream.write(data)
    frame: bytes = sink.getvalue().to_pybytes()
    end = 14 if frame[4] & LZ4_CONTENT_SIZE else 6
    options = bytes([frame[4] | LZ4_CONTENT_CHECKSUM]) + frame[5:end]
    header = frame[:4] + options + bytes([xxh32_intdigest(options) >> 8 & 0xFF])
    return header + frame[end + 1 :] + xxh32_intdigest(data).to_bytes(4, "little")


STREAMS: dict[bytes, tuple[str, Callable[[], Any]]] = {
    b"\x1f\x8b": ("gzip", lambda: _zlib.decompressobj(wbits=31)),
    b"\xfd7zXZ\x00": ("xz", lzma.LZMADecompressor),
    b"BZh": ("bzip2", bz2.BZ2Decompressor),
}
CODECS = {b"\x28\xb5\x2f\xfd": "zstd", b"\x04\x22\x4d\x18": "lz4"}
DECOMPRESSORS: dict[bytes, tuple[str, Callable[[bytes], bytes]]] = {
    **{magic: (kind, _stream_decompressor(start)) for magic, (kind, start) in STREAMS.items()},
    **{magic: (codec, _arrow_decompressor(codec)) for magic, codec in CODECS.items()},
}
COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": lambda data: gzip.compress(data, compresslevel=6, mtime=0),
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
    ".zst": _compress_zstd,
    ".lz4": _compress_lz4,
}
ENDINGS = tuple(COMPRESSORS)


def strip_endings(name: str, endings: tuple[str, ...] = ENDINGS) -> str:
    """A name without these endings, in capitals or not, however many follow each other; by default of compression."""
    while name.lower().endswith(endings):
        name = name[: name.rfind(".")]
    return name


def read_bytes(path: Path) -> Text:
    """The content of a file, decompressed if it is gzip, xz, bzip2, zstd or lz4.

    A plain file above 1 MiB is mapped into memory and not read yet.

    Raises
    ------
    FormatError : the file is missing, empty or damaged.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            if os.fstat(file.fileno()).st_size > SMALL_FILE:
                head = file.read(8)
                if not any(head.startswith(magic) for magic in DECOMPRESSORS):
                    return MappedFile.open(path)
                file.seek(0)
            data = file.read()
    except FileNotFoundError as error:
        raise FormatError(f"{path} does not exist: check the path") from error
    except IsADirectoryError as error:
        raise FormatError(f"{path} is a folder: give a file in it, or use `ecd convert` for folders") from error
    except OSError as error:
        raise FormatError(f"{path} cannot be read ({error.strerror}): check its permissions and the disk") from error
    if not data:
        raise FormatError(f"{path} is empty: copy or download it again")
    return decompress_bytes(data, str(path))


def decompress_bytes(data: bytes, name: str) -> bytes:
    """The bytes, decompressed if they are compressed; raises FormatError where they are damaged."""
    for magic, (kind, decompress) in DECOMPRESSORS.items():
        if data.startswith(magic):
            try:
                return decompress(data)
            except MissingDependencyError:
                raise
            except DAMAGE_ERRORS as error:
                raise FormatError(f"{name} is damaged or cut {kind} data: copy or download it again") from error
    return data


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically, compressed as the end of the name says; raises OSError that names `path`."""
    compress = COMPRESSORS.get(path.suffix)
    try:
        with write_whole(path) as temporary:
            temporary.write_bytes(compress(data) if compress else data)
    except OSError as error:
        error.filename = str(path)  # the error of a full disk names no file
        raise
