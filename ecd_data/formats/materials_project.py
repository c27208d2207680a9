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
from ecd_data.formats.vasp.occupancies import grids_of, print_blocks
from ecd_data.io.file_bytes import Text


def looks_like(head: bytes) -> bool:
    """Whether a file that begins so is JSON."""
    return head.lstrip()[:1] == b"{"


def parse(data: Text, name: str) -> Density:
    """The Density of a pymatgen `Chgcar` as JSON (rho * V in "total", "diff", "diff_x"); raises FormatError."""
    try:
        record = json.loads(data[:])
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{name} is not valid JSON ({error}): it is cut or damaged, download it again") from error
    chgcar = next((r for r in (record, record.get("data")) if isinstance(r, dict) and "poscar" in r), None)
    if chgcar is None:
        raise FormatError(f"{name} holds no Chgcar of pymatgen: give the JSON of a charge density")
    structure = chgcar["poscar"].get("structure", chgcar["poscar"])
    crystal = _crystal(structure)
    grids = chgcar["data"]
    keys = grids_of(grids)
    total, *spin = (_array(grids[key]) / crystal.volume for key in keys)
    return Density(
        crystal,
        total,
        np.stack(spin) if len(spin) == 3 else spin[0] if spin else None,
        print_blocks(chgcar.get("data_aug") or {}, keys, len(crystal), name),
        {"comment": chgcar["poscar"].get("comment", "")},
    )


def _crystal(structure: Mapping[str, Any]) -> Crystal:
    species = [site["species"] for site in structure["sites"]]
    if any(len(s) != 1 or s[0]["occu"] != 1 for s in species):
        raise ValueError("a site has partial occupancies")
    numbers = [element_of_label(s[0]["element"]) for s in species]
    coords = [site["abc"] for site in structure["sites"]]
    return Crystal(structure["lattice"]["matrix"], np.array(numbers), np.array(coords))


def _array(value: Any) -> Floats:
    """A grid [a, b, c], plain nested lists or monty's record of an array."""
    grid = np.asarray(value["data"] if isinstance(value, dict) else value, dtype=np.float64)
    if grid.ndim != 3 or not np.isfinite(grid).all():
        raise ValueError(f"a grid of shape {grid.shape} has values that are not finite, or is none")
    return grid
