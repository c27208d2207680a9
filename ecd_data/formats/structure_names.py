"""What the name of a file says about a structure in it: whether there is one, and its id."""

from __future__ import annotations

import re
from pathlib import Path

from ecd_data.io.compression import ENDINGS as COMPRESSED
from ecd_data.io.compression import strip_endings

ENDINGS = (".cif", ".vasp", ".poscar", ".xyz", ".extxyz", ".json", ".res", ".cssr", ".xsf")
NAMES = ("CONTCAR", "CHGCAR", "POSCAR")  # files of a VASP run with its structure; of a folder's the first is taken
NAME = re.compile("|".join(NAMES), re.IGNORECASE)


def has_structure_name(file: Path) -> bool:
    """Whether the name of a file is one that structure files have."""
    if file.name.startswith("._"):  # what macOS writes beside each file
        return False
    return strip_endings(file.name).lower().endswith(ENDINGS) or NAME.search(file.name) is not None


def structure_id(file: Path) -> str:
    """The id of the structure in a file, from its name or that of its folder."""
    name = NAME.sub("", strip_endings(file.name, (*COMPRESSED, *ENDINGS))).strip("._- ")
    return name or file.resolve().parent.name
