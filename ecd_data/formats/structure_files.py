"""Structure files and their ids, from files and folders, such as exports of the ICSD and COD."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ecd_data.crystal import Crystal
from ecd_data.errors import EcdError, UsageError
from ecd_data.formats.structure import read_structure
from ecd_data.io.compression import ENDINGS as COMPRESSED

ENDINGS = (".cif", ".vasp", ".poscar", ".xyz", ".extxyz", ".json", ".res", ".cssr", ".xsf")
NAMES = ("POSCAR", "CONTCAR", "CHGCAR")


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

    The id is the name of the file without POSCAR, CONTCAR, CHGCAR and endings, else the name of its folder.

    Raises
    ------
    UsageError : a source does not exist or holds no structure, or two files have the same id.
    """
    files: dict[str, Path] = {}
    for file in _find_files([sources] if isinstance(sources, str | Path) else sources):
        id = structure_id(file)
        if id in files and files[id].resolve() != file.resolve():
            raise UsageError(f"{files[id]} and {file} would both have the id {id!r}: rename one of them")
        files[id] = file
    return files


def _find_files(sources: Sequence[str | Path]) -> Iterator[Path]:
    for source in map(Path, sources):
        if not source.is_dir():
            if not source.exists():
                raise UsageError(f"{source} does not exist: give structure files or folders of them")
            yield source
            continue
        files = sorted(file for file in source.rglob("*") if file.is_file() and has_structure_name(file))
        if not files:
            raise UsageError(f"{source} holds no structure file such as a CIF or POSCAR")
        yield from files


def has_structure_name(file: Path) -> bool:
    """Whether the name of a file is one that structure files have."""
    return file.name.lower().endswith(ENDINGS) or any(name in file.name.upper() for name in NAMES)


def structure_id(file: Path) -> str:
    """The id of the structure in a file, from its name or that of its folder."""
    name = file.name
    while name.lower().endswith((*COMPRESSED, *ENDINGS)):
        name = name[: name.rfind(".")]
    for word in NAMES:
        name = name.replace(word, "").strip("._- ")
    return name or file.resolve().parent.name
