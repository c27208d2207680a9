"""Crystal structures from the files that hold no density: CIF, POSCAR and what pymatgen reads."""

from __future__ import annotations

import warnings
from pathlib import Path

from ecd_data.crystal import Crystal
from ecd_data.errors import FormatError
from ecd_data.formats import read


def read_structure(path: str | Path) -> Crystal:
    """The Crystal of a CIF, POSCAR, CHGCAR or other file that pymatgen reads; raises FormatError where it cannot."""
    file = Path(path)
    if not file.is_file():
        raise FormatError(f"{path} does not exist: check the path")
    if "chgcar" in file.name.lower():
        return read(file).crystal
    from pymatgen.core import Structure

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            structure = Structure.from_file(file)
    except Exception as error:  # pymatgen's parsers raise whatever they meet
        raise FormatError(f"{path} is not a structure file that can be read ({error}): give a CIF or POSCAR") from error
    try:
        return Crystal.from_pymatgen(structure)
    except ValueError as error:
        raise FormatError(f"{path}: {error}") from error
