"""The densities in a tar archive, read in one pass without unpacking anything to the disk."""

from __future__ import annotations

import bz2
import io
import lzma
import tarfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import IO, Any

from ecd_data.conversion.sources import content_is_density, is_density, why_left_out
from ecd_data.errors import FormatError
from ecd_data.formats import HEAD
from ecd_data.io.archives import StrictMember
from ecd_data.io.compression import DAMAGE_ERRORS, MAX_BYTES, STEP_BYTES, decompress_bytes, read_bytes

try:  # more than twice as fast
    _gzip: Any = import_module("isal.igzip")
except ImportError:
    _gzip = import_module("gzip")

STREAMS: dict[bytes, Any] = {b"\x1f\x8b": _gzip, b"\xfd7zXZ\x00": lzma, b"BZh": bz2}


def density_members(path: str, wanted: str | None, left_out: dict[str, str]) -> Iterator[tuple[str, bytes]]:
    """The name and the stored bytes of each member of an archive that is a density, or of the wanted member alone.

    Derived and predicted densities and other quantities are added to `left_out`, in the form for `describe_left_out`.
    Raises FormatError if the archive is damaged or cut, or has no member of the wanted name.
    """
    found = False
    try:
        with _open_stream(path) as stream, tarfile.open(fileobj=stream, mode="r|", tarinfo=StrictMember) as tar:
            for member in tar:
                if not member.isreg() or member.issparse():
                    continue
                content = _read_member(tar, member, wanted, left_out)
                if content is not None:
                    found = True
                    yield member.name.removeprefix("./"), content
            while stream.read(STEP_BYTES):  # up to the checksum at the end, which tarfile may not reach
                pass
    except FormatError:
        raise
    except (*DAMAGE_ERRORS, tarfile.TarError, OverflowError) as error:
        raise FormatError(f"{path} is a damaged or cut tar archive ({error}): copy or download it again") from error
    if wanted is not None and not found:
        raise FormatError(f"{path} has no file {wanted!r}: list its files with `tar tf`")


def _open_stream(path: str) -> IO[bytes]:
    """The decompressed bytes of an archive."""
    with open(path, "rb") as file:
        head = file.read(8)
    for magic, module in STREAMS.items():
        if head.startswith(magic):
            stream: IO[bytes] = module.open(path, "rb")
            return stream
    if head.startswith(b"\x28\xb5\x2f\xfd"):  # zstd, which Python does not know
        return io.BytesIO(read_bytes(Path(path))[:])
    return open(path, "rb")


def _read_member(
    tar: tarfile.TarFile, member: tarfile.TarInfo, wanted: str | None, left_out: dict[str, str]
) -> bytes | None:
    """The bytes of a member that is a density or the wanted one; None for others."""
    name = PurePosixPath(member.name).name
    if wanted is not None and member.name.removeprefix("./") != wanted.removeprefix("./"):
        return None
    stream = tar.extractfile(member)
    head = stream.read(HEAD) if stream else b""
    if stream is None or not (wanted or _is_data(name, head, member.name.removeprefix("./"), left_out)):
        return None
    if member.size > MAX_BYTES:
        raise FormatError(f"{member.name} is larger than any density")
    content = head + stream.read()
    if len(content) != member.size:
        raise FormatError(f"{member.name} is cut: copy or download the archive again")
    return content


def _is_data(name: str, head: bytes, member: str, left_out: dict[str, str]) -> bool:
    """Whether a member is a crystal's density by its name or content, and neither derived nor predicted."""
    if name.startswith("._"):
        return False
    if (quantity := why_left_out(name, head)) is not None:
        left_out[member] = quantity
        return False
    return is_density(name) or content_is_density(head)


def decompress_member(content: bytes, label: str) -> bytes:
    """The bytes of a member, decompressed if the member itself is compressed."""
    return decompress_bytes(content, label)
