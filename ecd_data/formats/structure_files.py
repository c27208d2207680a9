"""Structure files by id: from names and folders, such as exports of ICSD and COD or what generators write."""

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
    """Crystals by id, and file -> reason for those that cannot be used."""

    crystals: dict[str, Crystal] = field(default_factory=dict)
    failed: dict[Path, str] = field(default_factory=dict)


def read_structures(sources: str | Path | Sequence[str | Path]) -> Structures:
    """The crystals of structure files and of folders of them, by id; see `structure_files`.

    What cannot be read, has partial occupancies or atoms on top of each other is listed with its reason.
    """
    taken = Structures()
    for id, file in structure_files(sources).items():
        try:
            taken.crystals[id] = read_structure(file)
        except EcdError as error:
            taken.failed[file] = str(error)
    return taken


def structure_files(sources: str | Path | Sequence[str | Path]) -> dict[str, Path]:
    """The structure files under files and folders by id, in a fixed order.

    The id is the file's name without POSCAR, CONTCAR, CHGCAR and endings, else its folder's name. Raises UsageError
    where a source does not exist or holds no structure, or where two files have one id.
    """
    found: dict[str, Path] = {}
    for file in _files([sources] if isinstance(sources, str | Path) else sources):
        id = structure_id(file)
        if id in found and found[id].resolve() != file.resolve():
            raise UsageError(f"{found[id]} and {file} would both be {id!r}: rename one of them")
        found[id] = file
    return found


def _files(sources: Sequence[str | Path]) -> Iterator[Path]:
    for source in map(Path, sources):
        if not source.is_dir():
            if not source.exists():
                raise UsageError(f"{source} does not exist: give structure files or folders of them")
            yield source
            continue
        found = sorted(file for file in source.rglob("*") if file.is_file() and is_structure(file))
        if not found:
            raise UsageError(f"{source} holds no structure file such as a CIF or POSCAR")
        yield from found


def is_structure(file: Path) -> bool:
    """Whether a file's name is that of a structure."""
    return file.name.lower().endswith(ENDINGS) or any(name in file.name.upper() for name in NAMES)


def structure_id(file: Path) -> str:
    """The id of the structure in a file, by its name or its folder's."""
    name = file.name
    while name.lower().endswith((*COMPRESSED, *ENDINGS)):
        name = name[: name.rfind(".")]
    for word in NAMES:
        name = name.replace(word, "").strip("._- ")
    return name or file.resolve().parent.name
