"""Structure files and their ids, from files and folders, such as exports of the ICSD and COD."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ecd_data.crystal import Crystal
from ecd_data.errors import EcdError, UsageError
from ecd_data.formats.structure import read_structure
from ecd_data.formats.structure_folders import name_apart, search_folder
from ecd_data.formats.structure_names import structure_id


@dataclass
class Structures:
    """Crystals by id, and for each file that cannot be used the reason."""

    crystals: dict[str, Crystal] = field(default_factory=dict)
    failed: dict[Path, str] = field(default_factory=dict)


def read_structures(sources: str | Path | Sequence[str | Path]) -> Structures:
    """The crystals in structure files and in folders of them, by id; see `structure_files`.

    A file that cannot be read, or has partial occupancies or atoms on top of each other, is listed with its reason.

    Raises
    ------
    UsageError : as in `structure_files`.
    """
    structures = Structures()
    for id, file in structure_files(sources).items():
        try:
            structures.crystals[id] = read_structure(file)
        except EcdError as error:
            structures.failed[file] = str(error)
    return structures


def structure_files(sources: str | Path | Sequence[str | Path]) -> dict[str, Path]:
    """The structure files among files and in folders by id, in a fixed order.

    The id is the name of the file without POSCAR, CONTCAR, CHGCAR and endings, else the name of its folder. Of a VASP
    run in a folder one file is taken, see `search_folder`. Files of different folders that would have the same id have
    names of folders in theirs.

    Raises
    ------
    UsageError : a source does not exist or holds no structure, or two files have the same id.
    """
    found: dict[str, list[Path]] = {}
    named: set[str] = set()  # ids of files that the user gave, whose names stay as they are
    for source in map(Path, [sources] if isinstance(sources, str | Path) else sources):
        if not source.exists():
            raise UsageError(f"{source} does not exist: give structure files or folders of them")
        for file in search_folder(source) if source.is_dir() else [source]:
            group = found.setdefault(structure_id(file), [])
            if all(file.resolve() != other.resolve() for other in group):
                group.append(file)
            if not source.is_dir():
                named.add(structure_id(file))
    for id, group in found.items():
        if len(group) > 1 and (id in named or len({file.resolve().parent for file in group}) < len(group)):
            raise UsageError(f"{group[0]} and {group[1]} would both have the id {id!r}: rename one of them")
    return name_apart(found)
