"""The Materials Project's densities: a pymatgen Chgcar as JSON, alone or in the record of a download."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from ecd_data.crystal import ATOMIC_NUMBERS, Crystal, Floats
from ecd_data.density import Density
from ecd_data.errors import FormatError
from ecd_data.formats.text import Text

PER_LINE = 5


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
    grids = {key: _array(value) / crystal.volume for key, value in chgcar["data"].items()}
    spin = np.stack([grids[f"diff_{x}"] for x in "xyz"]) if "diff_x" in grids else grids.get("diff")
    return Density(
        crystal,
        grids["total"],
        spin,
        _augmentation(chgcar.get("data_aug") or {}),
        {"comment": chgcar["poscar"].get("comment", "")},
    )


def _crystal(structure: Mapping[str, Any]) -> Crystal:
    species = [site["species"] for site in structure["sites"]]
    if any(len(s) != 1 or s[0]["occu"] != 1 for s in species):
        raise ValueError("a site has partial occupancies")
    numbers = [ATOMIC_NUMBERS[s[0]["element"]] for s in species]
    coords = [site["abc"] for site in structure["sites"]]
    return Crystal(structure["lattice"]["matrix"], np.array(numbers), np.array(coords))


def _array(value: Any) -> Floats:
    """A grid [a, b, c], plain nested lists or monty's record of an array."""
    grid = np.asarray(value["data"] if isinstance(value, dict) else value, dtype=np.float64)
    if grid.ndim != 3 or not np.isfinite(grid).all():
        raise ValueError(f"a grid of shape {grid.shape} has values that are not finite, or is none")
    return grid


def _augmentation(data: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The occupancies as VASP prints them, one text a block; None where there are none or they are complex."""
    blocks = [data[key] for key in ("total", "diff") if data.get(key)]
    if all(isinstance(block, list) for block in blocks):  # pymatgen before 2025 kept the lines
        return tuple("".join(block) for block in blocks) or None
    texts = []
    for block in blocks:
        atoms = {int(atom): np.asarray(v["data"] if isinstance(v, dict) else v) for atom, v in block.items()}
        if any(values.ndim != 1 or values.dtype.kind not in "fi" for values in atoms.values()):
            return None
        texts.append("".join(occupancies(atom, values) for atom, values in sorted(atoms.items())))
    return tuple(texts) or None


def occupancies(atom: int, values: Floats) -> str:
    """The augmentation occupancies of an atom as VASP prints them."""
    lines = [f"augmentation occupancies {atom:>3} {len(values):>3}"]
    for start in range(0, len(values), PER_LINE):
        lines.append("".join(f" {_fortran(x)}" for x in values[start : start + PER_LINE]))
    return "\n".join(lines) + "\n"


def _fortran(x: float) -> str:
    """A number as Fortran's E14.7 prints it."""
    mantissa, exponent = f"{abs(x):.6E}".split("E")
    power = int(exponent) + 1 if x else 0
    return f"{'-' if x < 0 else ' '}0.{mantissa.replace('.', '')}E{power:+03d}"
