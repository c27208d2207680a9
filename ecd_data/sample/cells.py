"""The crystals of the sample: pristine cells from structures.json, displaced cells made from them."""

from __future__ import annotations

import hashlib
import json
import re
from importlib.resources import files
from typing import Any

import numpy as np

SEED = 20260
DISPLACED_PER_CRYSTAL = 5
MAX_STRAIN = 0.03
DISPLACEMENT_RMS = (0.05, 0.10)  # Å; drawn between
NARROW = {"BP_zb", "LiAlSi_hh", "Si_diamond"}  # a strain may close their gaps, so their displaced cells are smeared


def structures() -> dict[str, dict[str, Any]]:
    """The records of the pristine cells by name: cell, cutoff, meshes, and which further runs the sample has."""
    return json.loads(files("ecd_data.sample").joinpath("structures.json").read_text())


def pristine(functional: str) -> dict[str, dict[str, Any]]:
    """The records that the sample has with a functional ("pbe" or "hse"), by name."""
    records = structures()
    return {name: r for name, r in records.items() if functional == "pbe" or r["hse"]}


def displaced() -> dict[str, dict[str, Any]]:
    """The records of all displaced cells by id: `<name>-d1` of every crystal that has them, then `-d2`, to `-d5`."""
    parents = {name: record for name, record in structures().items() if record["displaced"]}
    numbers = range(1, DISPLACED_PER_CRYSTAL + 1)
    return {f"{name}-d{n}": displace(record, f"{name}-d{n}") for n in numbers for name, record in parents.items()}


def parent_of(cell: str) -> str:
    """The name of the pristine crystal of an id of the sample."""
    return re.sub(r"-d\d+$", "", cell)


def displace(record: dict[str, Any], cell: str, seed: int = SEED) -> dict[str, Any]:
    """A record with a random symmetric strain and random displacements, the same for the same (seed, cell).

    Every strain component lies within 3 %; the displacements are Gaussian with an rms length of 0.05 to 0.10 Å.
    """
    digest = hashlib.sha256(f"{seed}:{cell}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:16], "big"))
    upper = np.triu(rng.uniform(-MAX_STRAIN, MAX_STRAIN, (3, 3)))
    strain = upper + np.triu(upper, 1).T
    lattice = np.array(record["lattice"]) @ (np.eye(3) + strain)
    steps = rng.normal(size=(len(record["numbers"]), 3))
    steps *= rng.uniform(*DISPLACEMENT_RMS) / np.sqrt((steps**2).sum(axis=1).mean())
    frac_coords = np.array(record["frac_coords"]) + steps @ np.linalg.inv(lattice)
    # rounded as stored, so that the same numbers come on every machine
    return {
        **record,
        "lattice": lattice.round(8).tolist(),
        "frac_coords": frac_coords.round(8).tolist(),
        "symmetry": False,
        "metal": record["metal"] or parent_of(cell) in NARROW,
        "parent": parent_of(cell),
        "seed": seed,
    }
