"""The Materials Project's densities: a pymatgen Chgcar as JSON, alone or in the record of a download."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from ecd_data.crystal import Crystal, Floats
from ecd_data.density import Density
from ecd_data.errors import FormatError
from ecd_data.formats.labels import element_of_label
from ecd_data.formats.vasp.occupancies import format_blocks, list_grids
from ecd_data.io.file_bytes import Text


def looks_like(head: bytes) -> bool:
    """Whether the first bytes of a file are of a JSON object."""
    return head.lstrip()[:1] == b"{"


def parse(data: Text, name: str) -> Density:
    """The density in a pymatgen `Chgcar` as JSON, which holds rho * V as "total", "diff", "diff_x", ...

    Raises
    ------
    FormatError : the file is cut, or is not the JSON of a density.
    """
    try:
        record = json.loads(data[:])
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{name} is not valid JSON ({error}): it is cut or damaged, download it again") from error
    chgcar = next((r for r in (record, record.get("data")) if isinstance(r, dict) and "poscar" in r), None)
    if chgcar is None:
        raise FormatError(f"{name} holds no Chgcar of pymatgen: give the JSON of a charge density")
    structure = chgcar["poscar"].get("structure", chgcar["poscar"])
    crystal = _read_crystal(structure)
    grids = chgcar["data"]
    keys = list_grids(grids)
    total, *spin = (_read_grid(grids[key]) / crystal.volume for key in keys)
    return Density(
        crystal,
        total,
        np.stack(spin) if len(spin) == 3 else spin[0] if spin else None,
        format_blocks(chgcar.get("data_aug") or {}, keys, len(crystal), name),
        {"comment": chgcar["poscar"].get("comment", "")},
    )


def _read_crystal(structure: Mapping[str, Any]) -> Crystal:
    species = [site["species"] for site in structure["sites"]]
    if any(len(s) != 1 or s[0]["occu"] != 1 for s in species):
        raise ValueError("a site has partial occupancies")
    numbers = [element_of_label(s[0]["element"]) for s in species]
    coords = [site["abc"] for site in structure["sites"]]
    return Crystal(structure["lattice"]["matrix"], np.array(numbers), np.array(coords))


def _read_grid(value: Any) -> Floats:
    """A grid [a, b, c] from nested lists or from monty's record of an array."""
    grid = np.asarray(value["data"] if isinstance(value, dict) else value, dtype=np.float64)
    if grid.ndim != 3 or not np.isfinite(grid).all():
        raise ValueError(f"a grid of shape {grid.shape} has values that are not finite, or is none")
    return grid
