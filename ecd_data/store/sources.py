"""Which files a conversion means, and under which ids: files, folders, globs, lists, members of tar archives."""

from __future__ import annotations

import bz2
import glob
import gzip
import lzma
import os
import re
import sys
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecd_data.errors import UsageError
from ecd_data.formats import FORMATS, HEAD
from ecd_data.formats.compressed import ENDINGS

CHGCAR = re.compile(r"chgcar", re.IGNORECASE)
CHG = re.compile(r"(?:.*[._-])?chg(?:[._-].*)?", re.IGNORECASE)
ARCHIVE = re.compile(r"\.(tar(\.(gz|xz|bz2|zst))?|tgz)$", re.IGNORECASE)
OTHER = re.compile(  # of VASP, in a folder that is searched: no density, or only a part of one
    r"(?:.*[._-])?(OUTCAR|POTCAR|INCAR|KPOINTS|POSCAR|CONTCAR|XDATCAR|WAVECAR|OSZICAR|EIGENVAL|DOSCAR|PROCAR|IBZKPT|PCDAT"
    r"|REPORT|LOCPOT|ELFCAR|PARCHG|AECCAR[012]|vasprun\.xml)(?:[._-].*)?",
    re.IGNORECASE,
)
PYMATGEN = re.compile(rb'"(@class|@module|poscar|fs_id)"')
DROPPED = (*ENDINGS, ".tar", ".tgz", ".vasp", ".chg", ".aeccar0", ".aeccar1", ".aeccar2")
DROPPED += (".cube", ".cub", ".xsf", ".json", ".hdf5", ".h5", ".gpw", ".dat")
NAMELESS = ("chg", "charge-density", "vaspwave")  # what engines call every density
PACKED: dict[bytes, Any] = {b"\x1f\x8b": gzip, b"BZh": bz2, b"\xfd7zXZ\x00": lzma}


@dataclass(frozen=True)
class Source:
    """One file to convert: its path, the id that was given for it or that its name says, and the member of an archive.

    An archive without a member is one source of as many densities as it holds, named by its members, so that its id is
    "". expected: whether it must hold a density; what a search found by its content alone need not.
    """

    path: str
    id: str
    member: str | None = None
    expected: bool = True

    def __str__(self) -> str:
        return self.path if self.member is None else f"{self.path}::{self.member}"

    @property
    def is_archive(self) -> bool:
        """Whether it is read as a tar archive."""
        return self.id == "" or self.member is not None


def find_sources(given: str | Path | Iterable[str | Path]) -> list[Source]:
    """The files that are meant, each once, in the order given; folders and patterns are sorted.

    A folder is searched for everything whose name or content is a density's; of a VASP run that is CHGCAR, else CHG.
    `@FILE` is a list with a path a line, behind it where wanted a tab and the id; `@-` reads it from standard input.
    `archive.tar.gz` means all densities in it, `archive.tar.gz::member` one. Raises UsageError where something is not
    there or two files claim one id.
    """
    given = [given] if isinstance(given, str | Path) else given
    found: dict[str, Source] = {}
    for source in _sources(given):
        key = source.id or f"//{os.path.realpath(source.path)}"  # no id has a slash
        other = found.setdefault(key, source)
        if (other.path, other.member) == (source.path, source.member):
            continue
        if other.member != source.member or os.path.realpath(other.path) != os.path.realpath(source.path):
            raise UsageError(
                f"{other} and {source} would both be {source.id!r}: rename one of them, or give ids in a list"
            )
    return list(found.values())


def default_id(file: str | Path) -> str:
    """The file's name without CHGCAR and endings, else its folder's name."""
    path = Path(file)
    name = path.name
    while name.lower().endswith(DROPPED):
        name = name[: name.rfind(".")]
    name = CHGCAR.sub("", name).strip("._- ")
    if name and name.lower() not in NAMELESS:
        return name
    return path.absolute().resolve().parent.name.removesuffix(".save")


def member_id(member: str, archive: str) -> str:
    """The id of an archive's member: as of a file, the archive standing for the folder that holds it."""
    folder = Path(archive).name
    while folder.lower().endswith(DROPPED):
        folder = folder[: folder.rfind(".")]
    folder = CHGCAR.sub("", folder).strip("._- ") or default_id(archive)
    return default_id(Path("/", folder, member.lstrip("./")))


def is_density(name: str) -> bool:
    """Whether a file that a search found is a density by its name."""
    if name.startswith("._") or OTHER.fullmatch(name):
        return False
    by_name = any(f.names.search(name) for key, f in FORMATS.items() if key != "json")
    return by_name or CHGCAR.search(name) is not None or CHG.fullmatch(name) is not None


def is_coarse(name: str) -> bool:
    """Whether it is a CHG, which has the digits of a picture and gives way to a CHGCAR of the same id."""
    return CHG.fullmatch(name) is not None and CHGCAR.search(name) is None


def _sources(given: Iterable[str | Path]) -> Iterator[Source]:
    for item in given:
        text = str(item)
        if text.startswith("@"):
            yield from _listed(text[1:])
        else:
            yield from _meant(text)


def _listed(file: str) -> Iterator[Source]:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the list {file} cannot be read ({error}): give a text file with a path a line") from error
    for line in text.splitlines():
        path, _, id = line.strip().partition("\t")
        if path and not path.startswith("#"):
            yield from [_with_id(path, id.strip())] if id.strip() else _meant(path)


def _with_id(path: str, id: str) -> Source:
    archive, mark, member = path.partition("::")
    return Source(archive, id, member) if mark and not os.path.exists(path) else Source(path, id)


def _meant(text: str) -> Iterator[Source]:
    if os.path.isdir(text):
        found = False
        for source in _searched(text):
            found = True
            yield source
        if not found:
            raise UsageError(f"{text} holds no file with CHGCAR in its name and none of another density format")
    elif os.path.exists(text):
        yield _named(text)
    elif "::" in text and os.path.exists(text.partition("::")[0]):
        archive, _, member = text.partition("::")
        yield Source(archive, member_id(member, archive), member)
    elif matches := sorted(glob.glob(text, recursive=True)):
        yield from (_named(match) for match in matches if os.path.isfile(match))
    else:
        raise UsageError(f"{text} does not exist: check the path or the pattern")


def _named(path: str, expected: bool = True) -> Source:
    return Source(path, "" if ARCHIVE.search(path) else default_id(path), expected=expected)


def _searched(folder: str) -> Iterator[Source]:
    for root, folders, names in os.walk(folder):
        folders.sort()
        files = [name for name in sorted(names) if os.path.isfile(os.path.join(root, name))]
        finer = {default_id(os.path.join(root, name)) for name in files if CHGCAR.search(name)}
        for name in files:
            path = os.path.join(root, name)
            if is_coarse(name) and default_id(path) in finer:
                continue
            if is_density(name) or ARCHIVE.search(name) or _looks_like_one(path, name):
                yield _named(path, expected=CHGCAR.search(name) is not None)


def _looks_like_one(path: str, name: str) -> bool:
    """Whether the content says that it is a density, where the name says nothing."""
    if name.startswith("._") or OTHER.fullmatch(name) or CHG.fullmatch(name):
        return False
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD)
        for magic, module in PACKED.items():
            if head.startswith(magic):
                with module.open(path, "rb") as stream:
                    head = stream.read(HEAD)
    except (OSError, EOFError, lzma.LZMAError, zlib.error):
        return False
    return content_is_density(head)


def content_is_density(head: bytes) -> bool:
    """Whether a file that begins so is of a density format that has a mark; JSON has one where it is pymatgen's."""
    found = [key for key, format in FORMATS.items() if format.looks_like(head)]
    return bool(found) and (found != ["json"] or PYMATGEN.search(head) is not None)
