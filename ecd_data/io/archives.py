"""Tar archives that hold one density. Members are read into memory; nothing is unpacked to the disk."""

from __future__ import annotations

import io
import os
import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import IO, Any, Self

from ecd_data.errors import FormatError
from ecd_data.io.compression import DAMAGE_ERRORS, MAX_BYTES, STEP_BYTES, decompress_bytes
from ecd_data.io.density_names import is_derived
from ecd_data.io.file_bytes import Text
from ecd_data.safe_text import name_some

try:
    _gzip: Any = import_module("isal.igzip")
except ImportError:
    _gzip = import_module("gzip")

DENSITY_NAME = re.compile(r"chgcar|(^|[/_.])chg($|[_.])|aeccar|\.cube|\.xsf|\.json", re.IGNORECASE)
CHGCAR_NAME = re.compile(r"chgcar", re.IGNORECASE)
COMPANION_NAME = re.compile(r"(?:.*[._-])?(OUTCAR|POTCAR|vasprun\.xml)(?:\.gz)?", re.IGNORECASE)
COMPANIONS = {name.lower(): name for name in ("OUTCAR", "POTCAR", "vasprun.xml")}
MAX_LISTED = 5  # names in a message
MAX_MEMBERS = 1000  # files of an archive: more are not one calculation
MAX_COMPANION = 1 << 27  # bytes of an OUTCAR or the like: larger ones are skipped to save memory
MAX_RATIO = 100  # expansion: CHGCAR text shrinks 3 to 10 times, a decompression bomb some 1,000 times
ALLOWED_BYTES = 1 << 24  # any file may expand to this size, whatever its ratio
GZIP, TAR_MARK = b"\x1f\x8b", slice(257, 262)  # the first bytes of gzip; where a tar header says "ustar"


@dataclass(frozen=True)
class UnpackedDensity:
    """The bytes of a density file, its name in messages, and the calculation's other files by their plain names."""

    data: bytes
    label: str
    companions: dict[str, bytes] = field(default_factory=dict)


class StrictMember(tarfile.TarInfo):
    """A member of an archive; a header that is damaged or missing is an error, not the end as for tarfile itself."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):  # the mark with which archives end
                raise
            raise tarfile.ReadError(f"{error}, where a file or the mark of its end is due") from error


def is_tar(head: bytes) -> bool:
    """Whether a file with these first bytes is a tar archive."""
    return head[TAR_MARK] == b"ustar"


def read_archive(path: Path, name: str) -> UnpackedDensity:
    """The density in a file that is plain, .gz or .tar.gz, read in one pass.

    Of an archive only the density and its companions (OUTCAR, POTCAR, vasprun.xml) are kept, in memory. Links, devices
    and members whose path is absolute or leads out of the archive are never read.

    Parameters
    ----------
    path : the file.
    name : the name of the file in messages.

    Raises
    ------
    FormatError : the file is cut or damaged, has no density or several, or expands more than a density does.
    """
    try:
        with _open_bounded(path) as stream:
            if is_tar(stream.head):
                return _unpack_archive(stream, name)
            return UnpackedDensity(stream.read_all(), name)
    except FormatError as error:
        raise FormatError(f"{name}: {error}") from error
    except (*DAMAGE_ERRORS, tarfile.TarError, OverflowError) as error:
        raise FormatError(f"{name} is damaged or cut ({error}): download it again") from error


class _Bounded:
    """A stream that raises FormatError once it has given more than `packed` bytes of a density expand to."""

    def __init__(self, inner: IO[bytes], packed: int) -> None:
        self._inner, self._left = inner, min(MAX_BYTES, max(ALLOWED_BYTES, MAX_RATIO * packed))
        self._unread = b""
        self.head = self._unread = self.read(tarfile.BLOCKSIZE)

    def read(self, size: int) -> bytes:
        unread, self._unread = self._unread[:size], self._unread[size:]
        if unread:
            return unread
        data = self._inner.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise FormatError("it expands to more than any density has, so reading was stopped")
        return data

    def read_all(self) -> bytes:
        return b"".join(iter(lambda: self.read(STEP_BYTES), b""))


@contextmanager
def _open_bounded(path: Path) -> Iterator[_Bounded]:
    with path.open("rb") as file:
        compressed = file.read(2) == GZIP
        file.seek(0)
        inner = _gzip.GzipFile(fileobj=file, mode="rb") if compressed else file
        yield _Bounded(inner, path.stat().st_size)


def _unpack_archive(stream: _Bounded, name: str) -> UnpackedDensity:
    densities: dict[str, bytes] = {}
    companions: dict[str, bytes] = {}
    others: dict[str, bytes | None] = {}
    refused: list[str] = []
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=StrictMember) as tar:  # type: ignore[call-overload]
        for count, member in enumerate(tar, 1):
            if count > MAX_MEMBERS:
                raise FormatError(f"it has more than {MAX_MEMBERS} files, so it is not the archive of one calculation")
            base = PurePosixPath(member.name).name
            companion = COMPANION_NAME.fullmatch(base)
            if not _is_harmless(member):
                refused += [member.name] if not member.isdir() else []
            elif DENSITY_NAME.search(base) and not base.startswith("._"):
                densities[member.name] = _read_content(tar, member)
                _keep_best(densities)
            elif companion and member.size <= MAX_COMPANION:
                companions[COMPANIONS[companion[1].lower()]] = _inflate(_read_content(tar, member))
            else:  # it may be the density, if it is the only file
                others[member.name] = None if others else _read_content(tar, member)
    stream.read_all()  # up to the checksum of gzip, which is at the end
    if not densities and len(others) == 1:
        densities = {n: data for n, data in others.items() if data}
    member_name, data = _require_one_density(densities, refused)
    return UnpackedDensity(_inflate(data), f"{name}::{member_name}", companions)


def _require_one_density(densities: dict[str, bytes], refused: list[str]) -> tuple[str, bytes]:
    """The name and bytes of the only density; FormatError where there is none or several."""
    if len(densities) != 1:
        names, unread = name_some(list(densities), MAX_LISTED), name_some(refused, MAX_LISTED)
        what = f"holds {len(densities)} densities ({names})" if densities else "holds no density"
        links = f"; links, devices and paths out of it are not read ({unread})" if refused else ""
        raise FormatError(f"the archive {what}{links}")
    return next(iter(densities.items()))


def _inflate(data: bytes) -> bytes:
    if not data.startswith(GZIP):
        return data
    return _Bounded(_gzip.GzipFile(fileobj=io.BytesIO(data), mode="rb"), len(data)).read_all()


def _is_harmless(member: tarfile.TarInfo) -> bool:
    path = PurePosixPath(member.name.replace("\\", "/"))
    return member.isreg() and not member.issparse() and not path.is_absolute() and ".." not in path.parts


def _read_content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if member.size > MAX_BYTES:
        raise FormatError(f"its file {member.name} is larger than any density can be")
    stream = tar.extractfile(member)
    content = stream.read() if stream else b""
    if len(content) != member.size or not content:
        raise FormatError(f"its file {member.name} is empty or cut")
    return content


def _keep_best(densities: dict[str, bytes]) -> None:
    """Drop other densities (CHG, AECCAR) where there is a CHGCAR, and a CHGCAR_sum where there is a plain CHGCAR."""
    chgcars = [n for n in densities if CHGCAR_NAME.search(PurePosixPath(n).name)]
    plain = [n for n in chgcars if not is_derived(n)]
    for other in [n for n in densities if chgcars and n not in (plain or chgcars)]:
        del densities[other]


def split_member(path: str) -> tuple[str, str | None]:
    """The file and the member of `archive.tar::member`; the member is None where the path is a file itself.

    A path may contain `::` in its own name: it is split where a file exists before the mark, else at the first mark.
    """
    if "::" not in path or os.path.exists(path):
        return path, None
    marks = [match.start() for match in re.finditer("::", path)]
    position = next((mark for mark in marks if os.path.exists(path[:mark])), marks[0])
    return path[:position], path[position + 2 :]


def read_member(data: Text, name: str, member: str | None) -> tuple[bytes, str]:
    """The bytes of a member and its name in messages; without `member` those of the only density.

    Parameters
    ----------
    data : the bytes of the archive, decompressed.
    name : the name of the archive in messages.
    member : the name of the member.

    Raises
    ------
    FormatError : the archive is damaged, has no such member, or several densities and no `member` was given.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(data[:]), mode="r:", tarinfo=StrictMember) as tar:
            files = {m.name: m for m in tar.getmembers() if m.isreg() and not m.issparse() and m.size <= len(data)}
            chosen = _choose_member(list(files), name, member)
            stream = tar.extractfile(files[chosen])
            content = stream.read() if stream else b""
    except (tarfile.TarError, OSError, EOFError, ValueError, OverflowError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"{name} is a damaged or cut tar archive ({error}): copy or download it again") from error
    label = f"{name}::{chosen}"
    if len(content) != files[chosen].size or not content:
        raise FormatError(f"{label} is empty or cut: copy or download the archive again")
    return decompress_bytes(content, label), label


def _choose_member(names: list[str], archive: str, member: str | None) -> str:
    if member is not None:
        if member in names or f"./{member}" in names:
            return member if member in names else f"./{member}"
        raise FormatError(f"{archive} has no file {member!r}: it has {name_some(names, MAX_LISTED)}")
    candidates = [n for n in names if DENSITY_NAME.search(PurePosixPath(n).name)] or names
    candidates = [n for n in candidates if not is_derived(n)] or candidates
    if len(candidates) != 1:
        some = name_some(candidates, MAX_LISTED)
        raise FormatError(
            f"{archive} has {len(candidates)} files that may be the density ({some}): add ::name to the path"
        )
    return candidates[0]
