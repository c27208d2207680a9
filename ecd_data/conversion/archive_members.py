"""The densities in a tar archive, read in one pass without unpacking anything to the disk."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any

from ecd_data.conversion.sources import content_is_density, is_density, why_left_out
from ecd_data.errors import FormatError
from ecd_data.formats import HEAD
from ecd_data.io.compression import DAMAGE_ERRORS, MAX_BYTES, decompress_bytes, read_bytes

try:  # more than twice as fast
    _gzip: Any = import_module("isal.igzip")
except ImportError:
    _gzip = import_module("gzip")


def density_members(
    path: str, wanted: str | None = None, left_out: dict[str, str] | None = None
) -> Iterator[tuple[str, bytes]]:
    """The name and the stored bytes of each member of an archive that is a density, or of the wanted member alone.

    Derived and predicted densities and other quantities are added to `left_out`, in the form for `describe_left_out`.
    Raises FormatError if the archive is damaged or cut, or has no member of the wanted name.
    """
    found = False
    try:
        with _open_archive(path) as tar:
            for member in tar:
                if not member.isreg() or member.issparse():
                    continue
                content = _read_member(tar, member, wanted, {} if left_out is None else left_out)
                if content is not None:
                    found = True
                    yield member.name.removeprefix("./"), content
    except FormatError:
        raise
    except (*DAMAGE_ERRORS, tarfile.TarError, OverflowError) as error:
        raise FormatError(f"{path} is a damaged or cut tar archive ({error}): copy or download it again") from error
    if wanted is not None and not found:
        raise FormatError(f"{path} has no file {wanted!r}: list its files with `tar tf`")


def _open_archive(path: str) -> tarfile.TarFile:
    with open(path, "rb") as file:
        head = file.read(8)
    if head.startswith(b"\x1f\x8b"):
        return tarfile.open(fileobj=_gzip.open(path, "rb"), mode="r|")
    if head.startswith(b"\x28\xb5\x2f\xfd"):  # zstd, which tarfile does not know
        return tarfile.open(fileobj=io.BytesIO(read_bytes(Path(path))[:]), mode="r:")
    return tarfile.open(path, "r|*")


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
