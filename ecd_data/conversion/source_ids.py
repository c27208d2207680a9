"""The ids of files that are converted: from their names and folders, and no two of them alike."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePath, PurePosixPath

import numpy as np

from ecd_data.crystal import Floats
from ecd_data.density import Density
from ecd_data.errors import EcdError
from ecd_data.formats import read
from ecd_data.io.compression import ENDINGS
from ecd_data.io.density_names import CHG, CHGCAR, NAME_ENDINGS, names_no_crystal

log = logging.getLogger("ecd_data")

SHOWN = 4  # ids in a log line
NAMELESS = ("chg", "charge-density", "vaspwave")  # what engines call every density


@dataclass(frozen=True)
class Source:
    """One file to convert: its path, the id that was given for it or that its name says, and the member of an archive.

    An archive without a member is one source of as many densities as it holds, named by its members, so that its id is
    "". expected: whether it must hold a density; what a search found by its content alone need not. given: whether the
    id was given. refused: why it is left out, "" for a source that is converted.
    """

    path: str
    id: str
    member: str | None = None
    expected: bool = True
    given: bool = False
    refused: str = ""

    def __str__(self) -> str:
        return self.path if self.member is None else f"{self.path}::{self.member}"

    @property
    def is_archive(self) -> bool:
        """Whether it is read as a tar archive."""
        return self.id == "" or self.member is not None


def default_id(file: str | Path) -> str:
    """The file's name without CHGCAR and endings, else its folder's name; both for a name such as CHGCAR_sum."""
    path = Path(file)
    name = CHGCAR.sub("", _bare(path.name)).strip("._- ")
    if name and name.lower() not in NAMELESS and not names_no_crystal(name):
        return name
    folder = path.absolute().resolve().parent.name.removesuffix(".save")
    return folder if name.lower() in ("", *NAMELESS) or not folder else f"{folder}_{name}"


def member_id(member: str, archive: str) -> str:
    """The id of an archive's member: as of a file, the archive standing for the folder that holds it."""
    folder = CHGCAR.sub("", _bare(Path(archive).name)).strip("._- ") or default_id(archive)
    return default_id(Path("/", folder, member.removeprefix("./").lstrip("/")))


def distinct(sources: Iterable[Source]) -> list[Source]:
    """The sources, each file once, with ids that no two share.

    Of a file that lies there twice, plain and compressed, one is taken, and a CHG gives way to the CHGCAR beside it;
    files whose ids would be the same keep as much of their folders as tells them apart: a log line says each of these.
    Where nothing tells them apart, or two were given the same id, all of them have a reason in `refused`.
    """
    files: dict[tuple[str, str | None, str], Source] = {}
    for source in sources:
        files.setdefault((os.path.realpath(source.path), source.member, source.id), source)
    groups: dict[str, list[Source]] = {}
    for source in files.values():
        groups.setdefault(source.id or f"//{os.path.realpath(source.path)}", []).append(source)  # no id has a slash
    settled: dict[Source, Source] = {}
    for group in groups.values():
        settled |= _settled(group, groups.keys()) if len(group) > 1 else {group[0]: group[0]}
    return [settled[source] for source in files.values() if source in settled]


def is_coarse(name: str) -> bool:
    """Whether it is a CHG, which has the digits of a picture and gives way to a CHGCAR of the same id."""
    return CHG.fullmatch(name) is not None and CHGCAR.search(name) is None


def _settled(group: list[Source], taken: Collection[str]) -> dict[Source, Source]:
    """The sources of one id that are kept, each with what becomes of it."""
    kept = _without_copies(_without_coarse(group))
    rivals = [source for source in kept.values() if not source.refused]
    if len(rivals) < 2:
        return kept
    apart = _told_apart(rivals, taken)
    if apart:
        ids = ", ".join(sorted(one.id for one in apart.values())[:SHOWN]) + (", ..." if len(rivals) > SHOWN else "")
        log.warning("%d files would be %r, so that their folders go into their ids: %s", len(rivals), rivals[0].id, ids)
    for source in rivals:
        other = next(one for one in rivals if one != source)
        reason = f"{source} and {other} would both be {source.id!r}: rename one of them, or give ids in a list"
        kept[source] = apart.get(source, replace(source, refused=reason))
    return kept


def _without_coarse(group: list[Source]) -> list[Source]:
    finer = {_folder(source) for source in group if not is_coarse(PurePath(str(source)).name)}
    kept = [one for one in group if not (is_coarse(PurePath(str(one)).name) and _folder(one) in finer)]
    for source in group:
        if source not in kept:
            log.info("%s is left out: the CHGCAR beside it has more digits", source)
    return kept


def _without_copies(group: list[Source]) -> dict[Source, Source]:
    """The sources but those that hold the same as one before them under the same name, compressed or not."""
    kept: dict[Source, Source] = {}
    for source in sorted(group, key=lambda one: str(one).lower().endswith(ENDINGS)):  # plain files first
        twin = next((one for one in kept if _plain_name(one) == _plain_name(source)), None)
        if twin is None or twin.given or source.given:
            kept[source] = source
            continue
        kept[source] = source
        damage = {one: reason for one in (twin, source) if (reason := _damage(one))}
        if damage:
            kept |= {one: replace(one, refused=reason) for one, reason in damage.items()}
        elif _same_density(str(twin), str(source)):
            del kept[source]
            log.warning("%s and %s hold the same density: %s is taken", twin, source, twin)
    return kept


def _damage(source: Source) -> str:
    """Why a file cannot be read, "" where it can."""
    try:
        read(str(source))
    except EcdError as error:
        return str(error)
    return ""


def _same_density(first: str, second: str) -> bool:
    one, two = read(first), read(second)
    return (
        one.shape == two.shape
        and np.array_equal(one.numbers, two.numbers)
        and all(np.array_equal(getattr(one, part), getattr(two, part)) for part in ("lattice", "frac_coords", "values"))
        and np.array_equal(_spin(one), _spin(two))
    )


def _spin(rho: Density) -> Floats:
    return np.zeros(0) if rho.magnetization is None else rho.magnetization


def _told_apart(group: list[Source], taken: Collection[str]) -> dict[Source, Source]:
    """The sources with the folders in their ids that tell them apart, those with a given id as they are; {} if none."""
    free = [source for source in group if not source.given]
    if len(free) < len(group) - 1:
        return {}
    chains = {source: _folders(source) for source in free}
    for depth in range(1, max(map(len, chains.values()), default=0) + 1):
        ids = {one: "_".join([*reversed(chain[:depth]), one.id]) for one, chain in chains.items()}
        if len(set(ids.values())) == len(free) and not set(ids.values()) & set(taken):
            return {source: replace(source, id=ids.get(source, source.id)) for source in group}
    return {}


def _folders(source: Source) -> list[str]:
    """The folders above what the id says, nearest first; an archive stands for one."""
    path = Path(os.path.abspath(source.path))
    above = [*path.parts[1:-1]] if source.member is None else [*path.parts[1:-1], _bare(path.name), *_within(source)]
    folder = above[-1].removesuffix(".save") if above else ""
    if source.id == folder or source.id.startswith(f"{folder}_"):
        above = above[:-1]
    return [name.lstrip(".") or name for name in reversed(above)]


def _within(source: Source) -> list[str]:
    """The folders of an archive that hold a member."""
    return [part for part in PurePosixPath(source.member or "").parts[:-1] if part not in (".", "/")]


def _folder(source: Source) -> str:
    return os.path.dirname(str(source))


def _bare(name: str) -> str:
    while name.lower().endswith(NAME_ENDINGS):
        name = name[: name.rfind(".")]
    return name


def _plain_name(source: Source) -> str:
    """The path without the endings of compression."""
    name = os.path.realpath(source.path) + (f"::{source.member}" if source.member else "")
    while name.lower().endswith(ENDINGS):
        name = name[: name.rfind(".")]
    return name
