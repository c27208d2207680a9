"""The cells of the sample: pristine ones from structures.json, and displaced, strained and doubled ones from them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import numpy as np

SEED = 20260
DISPLACED_PER_CRYSTAL = 5
MAX_STRAIN = 0.03  # largest strain component of a displaced cell
DISPLACEMENT_RMS = (0.05, 0.10)  # Å; the rms displacement is drawn between these
MAX_SYMMETRIC_STRAIN = 0.04  # largest strain of a strained cell
NARROW_GAPS = {"BP_zb", "LiAlSi_hh", "Si_diamond"}  # a strain may close these gaps: displaced cells get smearing

Record = dict[str, Any]


def load_structures() -> dict[str, Record]:
    """The records of the pristine cells by name: cell, cutoff, meshes, and which cells are derived from them."""
    return json.loads(files("ecd_data.sample").joinpath("structures.json").read_text())


def load_elements() -> dict[str, Record]:
    """The records of further elements and molecules, which formation energies refer to, by id."""
    return json.loads(files("ecd_data.sample").joinpath("elements.json").read_text())


def make_cells() -> dict[str, Record]:
    """The records of all cells that the sample has with PBE, by id."""
    return load_structures() | make_displaced() | make_strained() | make_supercells()


def select_hybrids() -> dict[str, Record]:
    """The records of the cells that the sample has with HSE06, by id."""
    return {name: record for name, record in load_structures().items() if record["hse"]}


def make_displaced() -> dict[str, Record]:
    """The records of all displaced cells by id: `<name>-d1` of every crystal that has them, then `-d2`, to `-d5`."""
    return _derive_cells("displaced", "d", DISPLACED_PER_CRYSTAL, displace)


def make_strained() -> dict[str, Record]:
    """The records of the strained cells by id: `<name>-s1` in all directions, `<name>-s2` along z alone."""
    return _derive_cells("strained", "s", 2, strain)


def make_supercells() -> dict[str, Record]:
    """The records of the supercells `<name>-x1` by id: two primitive cells along the first axis, then displaced."""
    return _derive_cells("supercell", "x", 1, lambda record, cell: displace(double(record), cell))


def _derive_cells(flag: str, letter: str, count: int, make: Callable[[Record, str], Record]) -> dict[str, Record]:
    parents = {name: record for name, record in load_structures().items() if record[flag]}
    ids = [(f"{name}-{letter}{n}", record) for n in range(1, count + 1) for name, record in parents.items()]
    return {cell: make(record, cell) for cell, record in ids}


def parent_of(cell: str) -> str:
    """The name of the pristine crystal of an id of the sample."""
    return re.sub(r"-[dsx]\d+$", "", cell)


def displace(record: Record, cell: str, seed: int = SEED) -> Record:
    """The record with a random symmetric strain and random displacements, the same for the same (seed, cell).

    Every strain component lies within 3 %; the displacements are Gaussian with an rms length of 0.05 to 0.10 Å.

    Parameters
    ----------
    record : the record of the pristine crystal.
    cell : the id of the displaced cell.
    seed : random seed.
    """
    rng = _make_generator(cell, seed)
    upper = np.triu(rng.uniform(-MAX_STRAIN, MAX_STRAIN, (3, 3)))
    lattice = np.array(record["lattice"]) @ (np.eye(3) + upper + np.triu(upper, 1).T)
    steps = rng.normal(size=(len(record["numbers"]), 3))
    steps *= rng.uniform(*DISPLACEMENT_RMS) / np.sqrt((steps**2).sum(axis=1).mean())
    frac_coords = np.array(record["frac_coords"]) + steps @ np.linalg.inv(lattice)
    return _derived_record(record, cell, seed, lattice=lattice, frac_coords=frac_coords) | {
        "symmetry": False,
        "metal": record["metal"] or parent_of(cell) in NARROW_GAPS,
    }


def strain(record: Record, cell: str) -> Record:
    """The record with a lattice stretched or compressed by 1 to 4 %, the same for the same cell.

    A cell `-s1` is strained equally in all directions, any other along z alone; the atoms move with the lattice.
    """
    rng = _make_generator(cell, SEED)
    size = rng.choice((-1, 1)) * rng.uniform(0.01, MAX_SYMMETRIC_STRAIN)
    directions = np.ones(3) if cell.endswith("-s1") else np.array([0.0, 0.0, 1.0])
    lattice = np.array(record["lattice"]) @ np.diag(1 + size * directions)
    return _derived_record(record, cell, SEED, lattice=lattice)


def double(record: Record) -> Record:
    """The record of two cells along the first axis, with half the k points there."""
    first = np.array(record["frac_coords"]) * (0.5, 1, 1)
    lattice = np.array(record["lattice"]) * np.array([[2], [1], [1]])
    return {
        **record,
        "lattice": lattice.tolist(),
        "numbers": record["numbers"] * 2,
        "frac_coords": np.concatenate([first, first + (0.5, 0, 0)]).tolist(),
        "kmesh": [-(-record["kmesh"][0] // 2), *record["kmesh"][1:]],
    }


def _make_generator(cell: str, seed: int) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed}:{cell}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def _derived_record(record: Record, cell: str, seed: int, **arrays: np.ndarray) -> Record:
    # rounded, so that the numbers are the same on every machine
    rounded = {name: array.round(8).tolist() for name, array in arrays.items()}
    return {**record, **rounded, "parent": parent_of(cell), "seed": seed}
