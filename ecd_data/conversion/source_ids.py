"""The ids of the files to convert: made from their names and folders, each id once."""

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
from ecd_data.io.compression import ENDINGS, strip_endings
from ecd_data.io.density_names import CHG, CHGCAR, NAME_ENDINGS, names_no_crystal

log = logging.getLogger("ecd_data")

SHOWN = 4  # ids that a log line names at most
GENERIC_NAMES = ("chg", "charge-density", "vaspwave")  # names that programs give to every density


@dataclass(frozen=True)
class Source:
    """One file to convert.

    Attributes
    ----------
    path : the path of the file or archive.
    id : the id of its crystal; "" for a whole archive, whose members have ids of their own.
    member : the member of the archive; None for a file or a whole archive.
    expected : whether a file without a density is an error; not for a file that a search found by its content alone.
    given : whether the user gave the id.
    refused : the reason why it is left out, else "".
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
        """Whether it is a tar archive or a member of one."""
        return self.id == "" or self.member is not None


def default_id(file: str | Path) -> str:
    """The id of a file: its name without CHGCAR and endings, else its folder's name; both for CHGCAR_sum."""
    path = Path(file)
    name = CHGCAR.sub("", strip_endings(path.name, NAME_ENDINGS)).strip("._- ")
    if name and name.lower() not in GENERIC_NAMES and not names_no_crystal(name):
        return name
    folder = path.absolute().resolve().parent.name.removesuffix(".save")
    return folder if name.lower() in ("", *GENERIC_NAMES) or not folder else f"{folder}_{name}"


def member_id(member: str, archive: str) -> str:
    """The id of an archive's member: that of a file in a folder with the archive's name."""
    folder = CHGCAR.sub("", strip_endings(Path(archive).name, NAME_ENDINGS)).strip("._- ") or default_id(archive)
    return default_id(Path("/", folder, member.removeprefix("./").lstrip("/")))


def resolve_ids(sources: Iterable[Source]) -> list[Source]:
    """The sources with each file once and each id once.

    A file that is there plain and compressed is taken once, and a CHG gives way to the CHGCAR in its folder. Files with
    the same id get names of folders into their ids until these differ. A log line says each of these. If the ids cannot
    be made different, or the user gave the same id twice, all these sources have a reason in `refused`.
    """
    files: dict[tuple[str, str | None, str], Source] = {}
    for source in sources:
        files.setdefault((os.path.realpath(source.path), source.member, source.id), source)
    groups: dict[str, list[Source]] = {}
    for source in files.values():
        groups.setdefault(source.id or f"//{os.path.realpath(source.path)}", []).append(source)  # no id has a slash
    settled: dict[Source, Source] = {}
    for group in groups.values():
        settled |= _resolve_group(group, groups.keys()) if len(group) > 1 else {group[0]: group[0]}
    return [settled[source] for source in files.values() if source in settled]


def is_coarse(name: str) -> bool:
    """Whether a file is a CHG, which has few digits and gives way to a CHGCAR of the same id."""
    return CHG.fullmatch(name) is not None and CHGCAR.search(name) is None


def _resolve_group(group: list[Source], taken: Collection[str]) -> dict[Source, Source]:
    """The sources of one id that are kept, each with the source that replaces it: with another id, or refused."""
    kept = _drop_copies(_drop_coarse(group))
    rivals = [source for source in kept.values() if not source.refused]
    if len(rivals) < 2:
        return kept
    apart = _add_folders(rivals, taken)
    if apart:
        ids = ", ".join(sorted(one.id for one in apart.values())[:SHOWN]) + (", ..." if len(rivals) > SHOWN else "")
        log.warning("%d files would be %r, so that their folders go into their ids: %s", len(rivals), rivals[0].id, ids)
    for source in rivals:
        other = next(one for one in rivals if one != source)
        reason = f"{source} and {other} would both be {source.id!r}: rename one of them, or give ids in a list"
        kept[source] = apart.get(source, replace(source, refused=reason))
    return kept


def _drop_coarse(group: list[Source]) -> list[Source]:
    finer = {_folder_of(source) for source in group if not is_coarse(PurePath(str(source)).name)}
    kept = [one for one in group if not (is_coarse(PurePath(str(one)).name) and _folder_of(one) in finer)]
    for source in group:
        if source not in kept:
            log.info("%s is left out: the CHGCAR beside it has more digits", source)
    return kept


def _drop_copies(group: list[Source]) -> dict[Source, Source]:
    """The sources without those that repeat the density of another one under the same name, compressed or not."""
    kept: dict[Source, Source] = {}
    for source in sorted(group, key=lambda one: str(one).lower().endswith(ENDINGS)):  # plain files first
        twin = next((one for one in kept if _plain_name(one) == _plain_name(source)), None)
        if twin is None or twin.given or source.given:
            kept[source] = source
            continue
        kept[source] = source
        damage = {one: reason for one in (twin, source) if (reason := _find_damage(one))}
        if damage:
            kept |= {one: replace(one, refused=reason) for one, reason in damage.items()}
        elif _same_density(str(twin), str(source)):
            del kept[source]
            log.warning("%s and %s hold the same density: %s is taken", twin, source, twin)
    return kept


def _find_damage(source: Source) -> str:
    """The reason why a file cannot be read, else ""."""
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
        and np.array_equal(_magnetization_of(one), _magnetization_of(two))
    )


def _magnetization_of(rho: Density) -> Floats:
    return np.zeros(0) if rho.magnetization is None else rho.magnetization


def _add_folders(group: list[Source], taken: Collection[str]) -> dict[Source, Source]:
    """The sources with folders in their ids, so that these differ; {} if they cannot. Ids from the user stay."""
    free = [source for source in group if not source.given]
    if len(free) < len(group) - 1:
        return {}
    chains = {source: _list_folders(source) for source in free}
    for depth in range(1, max(map(len, chains.values()), default=0) + 1):
        ids = {one: "_".join([*reversed(chain[:depth]), one.id]) for one, chain in chains.items()}
        if len(set(ids.values())) == len(free) and not set(ids.values()) & set(taken):
            return {source: replace(source, id=ids.get(source, source.id)) for source in group}
    return {}


def _list_folders(source: Source) -> list[str]:
    """The folders of a source that its id does not name, nearest first; an archive counts as a folder."""
    path = Path(os.path.abspath(source.path))
    above = [*path.parts[1:-1]]
    if source.member is not None:
        above += [strip_endings(path.name, NAME_ENDINGS), *_archive_folders(source)]
    folder = above[-1].removesuffix(".save") if above else ""
    if source.id == folder or source.id.startswith(f"{folder}_"):
        above = above[:-1]
    return [name.lstrip(".") or name for name in reversed(above)]


def _archive_folders(source: Source) -> list[str]:
    """The folders of a member within its archive."""
    return [part for part in PurePosixPath(source.member or "").parts[:-1] if part not in (".", "/")]


def _folder_of(source: Source) -> str:
    return os.path.dirname(str(source))


def _plain_name(source: Source) -> str:
    """The path without the endings of compression."""
    name = os.path.realpath(source.path) + (f"::{source.member}" if source.member else "")
    return strip_endings(name)
