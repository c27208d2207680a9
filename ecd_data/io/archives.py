"""One density in a tar archive, taken out in memory: nothing is ever unpacked to the disk."""

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
from typing import IO, Any

from ecd_data.errors import FormatError
from ecd_data.io.compression import DAMAGE, MAX_BYTES, STEP, decompressed
from ecd_data.io.density_names import is_derived
from ecd_data.io.file_bytes import Text

try:
    _gzip: Any = import_module("isal.igzip")
except ImportError:
    _gzip = import_module("gzip")

DENSITY = re.compile(r"chgcar|(^|[/_.])chg($|[_.])|aeccar|\.cube|\.xsf|\.json", re.IGNORECASE)
BEST = re.compile(r"chgcar", re.IGNORECASE)
COMPANION = re.compile(r"(?:.*[._-])?(OUTCAR|POTCAR|vasprun\.xml)(?:\.gz)?", re.IGNORECASE)
PLAIN = {name.lower(): name for name in ("OUTCAR", "POTCAR", "vasprun.xml")}
LISTED = 5
MAX_MEMBERS = 1000
MAX_COMPANION = 1 << 27
MAX_RATIO = 100  # CHGCAR text shrinks 3 to 10 times; a bomb some 1,000 times
FREE = 1 << 24  # bytes below which any ratio is harmless
GZIP, MARK = b"\x1f\x8b", slice(257, 262)


@dataclass(frozen=True)
class Unpacked:
    """The text of a density, what errors call it, and the calculation's other files beside it, by their plain names."""

    data: bytes
    label: str
    companions: dict[str, bytes] = field(default_factory=dict)


def looks_like(head: bytes) -> bool:
    """Whether a file that begins so is a tar archive."""
    return head[MARK] == b"ustar"


def unpack(path: Path, name: str) -> Unpacked:
    """The density in a file that is plain, .gz or .tar.gz, read in one pass; `name` is what errors call it.

    Of an archive only the density and its companions (OUTCAR, POTCAR, vasprun.xml) are kept, in memory. Members that
    are links or devices, or whose path is absolute or leads out of the archive, are never read. Raises FormatError for
    a file that is cut or damaged, has no density or several, or expands as no density does.
    """
    try:
        with _expanded(path) as stream:
            if looks_like(stream.head):
                return _unpack_archive(stream, name)
            return Unpacked(stream.read_all(), name)
    except FormatError as error:
        raise FormatError(f"{name}: {error}") from error
    except (*DAMAGE, tarfile.TarError, OverflowError) as error:
        raise FormatError(f"{name} is damaged or cut ({error}): download it again") from error


class _Bounded:
    """A stream that ends in an error where more comes out than `packed` bytes of a density expand to."""

    def __init__(self, inner: IO[bytes], packed: int) -> None:
        self._inner, self._left = inner, min(MAX_BYTES, max(FREE, MAX_RATIO * packed))
        self._again = b""
        self.head = self._again = self.read(tarfile.BLOCKSIZE)

    def read(self, size: int) -> bytes:
        again, self._again = self._again[:size], self._again[size:]
        if again:
            return again
        data = self._inner.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise FormatError("it expands to more than a density does and was not read further")
        return data

    def read_all(self) -> bytes:
        return b"".join(iter(lambda: self.read(STEP), b""))


@contextmanager
def _expanded(path: Path) -> Iterator[_Bounded]:
    with path.open("rb") as file:
        compressed = file.read(2) == GZIP
        file.seek(0)
        inner = _gzip.GzipFile(fileobj=file, mode="rb") if compressed else file
        yield _Bounded(inner, path.stat().st_size)


def _unpack_archive(stream: _Bounded, name: str) -> Unpacked:
    found: dict[str, bytes] = {}
    companions: dict[str, bytes] = {}
    others: dict[str, bytes | None] = {}
    refused: list[str] = []
    with tarfile.open(fileobj=stream, mode="r|") as tar:  # type: ignore[call-overload]
        for count, member in enumerate(tar, 1):
            if count > MAX_MEMBERS:
                raise FormatError(f"it has more than {MAX_MEMBERS} files: it is no archive of one calculation")
            base = PurePosixPath(member.name).name
            beside = COMPANION.fullmatch(base)
            if not _harmless(member):
                refused += [member.name] if not member.isdir() else []
            elif DENSITY.search(base) and not base.startswith("._"):
                found[member.name] = _content(tar, member)
                _keep_best(found)
            elif beside and member.size <= MAX_COMPANION:
                companions[PLAIN[beside[1].lower()]] = _inflated(_content(tar, member))
            else:  # a density under a name of its own, if it is alone
                others[member.name] = None if others else _content(tar, member)
    stream.read_all()  # to the end, where gzip has its checksum
    if not found and len(others) == 1:
        found = {n: data for n, data in others.items() if data}
    if len(found) != 1:
        what = f"holds {len(found)} densities ({_listed(list(found))})" if found else "holds no density"
        links = f"; links, devices and paths out of it are not read ({_listed(refused)})" if refused else ""
        raise FormatError(f"the archive {what}{links}")
    ((member_name, data),) = found.items()
    label = f"{name}::{member_name}"
    return Unpacked(_inflated(data), label, companions)


def _inflated(data: bytes) -> bytes:
    if not data.startswith(GZIP):
        return data
    return _Bounded(_gzip.GzipFile(fileobj=io.BytesIO(data), mode="rb"), len(data)).read_all()


def _harmless(member: tarfile.TarInfo) -> bool:
    path = PurePosixPath(member.name.replace("\\", "/"))
    return member.isreg() and not member.issparse() and not path.is_absolute() and ".." not in path.parts


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if member.size > MAX_BYTES:
        raise FormatError(f"its file {member.name} is larger than any density")
    stream = tar.extractfile(member)
    content = stream.read() if stream else b""
    if len(content) != member.size or not content:
        raise FormatError(f"its file {member.name} is empty or cut")
    return content


def _keep_best(found: dict[str, bytes]) -> None:
    """Drop CHG, AECCAR and the like where there is a CHGCAR, and CHGCAR_sum and the like where that is not all."""
    best = [n for n in found if BEST.search(PurePosixPath(n).name)]
    whole = [n for n in best if not is_derived(n)]
    for other in [n for n in found if best and n not in (whole or best)]:
        del found[other]


def split_member(path: str) -> tuple[str, str | None]:
    """The file and the member that `archive.tar::member` means; None as the member where the path is a file itself.

    A path may have `::` in its own name: it is parted where a file lies before the mark, else at the first mark.
    """
    if "::" not in path or os.path.exists(path):
        return path, None
    marks = [match.start() for match in re.finditer("::", path)]
    place = next((mark for mark in marks if os.path.exists(path[:mark])), marks[0])
    return path[:place], path[place + 2 :]


def take(data: Text, name: str, member: str | None) -> tuple[bytes, str]:
    """The bytes of a member and what errors call it; without `member`, of the only density there is.

    Raises FormatError where the archive is damaged, has no such member, or has several densities.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(data[:]), mode="r:") as tar:
            files = {m.name: m for m in tar.getmembers() if m.isreg() and not m.issparse() and m.size <= len(data)}
            chosen = _choose(list(files), name, member)
            stream = tar.extractfile(files[chosen])
            content = stream.read() if stream else b""
    except (tarfile.TarError, OSError, EOFError, ValueError, OverflowError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"{name} is a damaged or cut tar archive ({error}): copy or download it again") from error
    label = f"{name}::{chosen}"
    if len(content) != files[chosen].size or not content:
        raise FormatError(f"{label} is empty or cut: copy or download the archive again")
    return decompressed(content, label), label


def _choose(names: list[str], archive: str, member: str | None) -> str:
    if member is not None:
        if member in names or f"./{member}" in names:
            return member if member in names else f"./{member}"
        raise FormatError(f"{archive} has no file {member!r}: it has {_listed(names)}")
    found = [n for n in names if DENSITY.search(PurePosixPath(n).name)] or names
    found = [n for n in found if not is_derived(n)] or found
    if len(found) != 1:
        raise FormatError(
            f"{archive} has {len(found)} files that may be meant ({_listed(found)}): add ::name to the path"
        )
    return found[0]


def _listed(names: list[str]) -> str:
    return ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")
