"""The crystals of the sample: pristine cells from structures.json, and displaced, strained and doubled ones."""

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
MAX_STRAIN = 0.03
DISPLACEMENT_RMS = (0.05, 0.10)  # Å; drawn between
MAX_SYMMETRIC_STRAIN = 0.04
NARROW = {"BP_zb", "LiAlSi_hh", "Si_diamond"}  # a strain may close their gaps, so their displaced cells are smeared

Record = dict[str, Any]


def structures() -> dict[str, Record]:
    """The records of the pristine cells by name: cell, cutoff, meshes, and which further runs the sample has."""
    return json.loads(files("ecd_data.sample").joinpath("structures.json").read_text())


def cells() -> dict[str, Record]:
    """The records of all cells that the sample has with PBE, by id."""
    return structures() | displaced() | strained() | supercells()


def hybrids() -> dict[str, Record]:
    """The records of the cells that the sample has with HSE06, by id."""
    return {name: record for name, record in structures().items() if record["hse"]}


def displaced() -> dict[str, Record]:
    """The records of all displaced cells by id: `<name>-d1` of every crystal that has them, then `-d2`, to `-d5`."""
    return _made("displaced", "d", DISPLACED_PER_CRYSTAL, displace)


def strained() -> dict[str, Record]:
    """The records of the strained cells by id: `<name>-s1`, all axes alike, and `<name>-s2`, along one axis."""
    return _made("strained", "s", 2, strain)


def supercells() -> dict[str, Record]:
    """The records of the supercells `<name>-x1` by id: two primitive cells along the first axis, then displaced."""
    return _made("supercell", "x", 1, lambda record, cell: displace(doubled(record), cell))


def _made(flag: str, letter: str, count: int, make: Callable[[Record, str], Record]) -> dict[str, Record]:
    parents = {name: record for name, record in structures().items() if record[flag]}
    ids = [(f"{name}-{letter}{n}", record) for n in range(1, count + 1) for name, record in parents.items()]
    return {cell: make(record, cell) for cell, record in ids}


def parent_of(cell: str) -> str:
    """The name of the pristine crystal of an id of the sample."""
    return re.sub(r"-[dsx]\d+$", "", cell)


def displace(record: Record, cell: str, seed: int = SEED) -> Record:
    """A record with a random symmetric strain and random displacements, the same for the same (seed, cell).

    Every strain component lies within 3 %; the displacements are Gaussian with an rms length of 0.05 to 0.10 Å.
    """
    rng = _generator(cell, seed)
    upper = np.triu(rng.uniform(-MAX_STRAIN, MAX_STRAIN, (3, 3)))
    lattice = np.array(record["lattice"]) @ (np.eye(3) + upper + np.triu(upper, 1).T)
    steps = rng.normal(size=(len(record["numbers"]), 3))
    steps *= rng.uniform(*DISPLACEMENT_RMS) / np.sqrt((steps**2).sum(axis=1).mean())
    frac_coords = np.array(record["frac_coords"]) + steps @ np.linalg.inv(lattice)
    return _cell(record, cell, seed, lattice=lattice, frac_coords=frac_coords) | {
        "symmetry": False,
        "metal": record["metal"] or parent_of(cell) in NARROW,
    }


def strain(record: Record, cell: str, seed: int = SEED) -> Record:
    """A record whose lattice is stretched or squeezed by 1 to 4 %, the same for the same (seed, cell).

    A cell `-s1` is strained in all directions alike, any other along z alone; the atoms move with the lattice.
    """
    rng = _generator(cell, seed)
    size = rng.choice((-1, 1)) * rng.uniform(0.01, MAX_SYMMETRIC_STRAIN)
    directions = np.ones(3) if cell.endswith("-s1") else np.array([0.0, 0.0, 1.0])
    lattice = np.array(record["lattice"]) @ np.diag(1 + size * directions)
    return _cell(record, cell, seed, lattice=lattice)


def doubled(record: Record) -> Record:
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


def _generator(cell: str, seed: int) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed}:{cell}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def _cell(record: Record, cell: str, seed: int, **arrays: np.ndarray) -> Record:
    # rounded as stored, so that the same numbers come on every machine
    rounded = {name: array.round(8).tolist() for name, array in arrays.items()}
    return {**record, **rounded, "parent": parent_of(cell), "seed": seed}
