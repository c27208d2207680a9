"""Whether models predict anything beyond what atoms hold: random crystals of all elements, training crystals up close.

    python benchmarks/random_crystals.py [MODEL ...] [--crystals 2000] [--doubled N] [--device cuda] [--out FILE.json]

A network can be right on every crystal of a test and still give 1e5 e/Å^3 next to a nucleus of another. So each
model (default: all that ship) predicts

- random crystals: one to eight atoms of any elements that the model's free atoms know, in a random cell of about the
  volume that solids have (1.5 spheres of the covalent radius + 0.3 Å, at least 8 Å^3 an atom), no two nearer than 0.75
  times the sum of their radii or 0.7 Å, on a grid of 0.25 Å and at points 0, 0.02, 0.05, 0.1 and 0.2 Å from each
  nucleus;
- crystals that trained it, on grids with twice the points along each axis, where most points are new.

The bound: atoms that meet shift a part of their electrons, so a density leaves that of superposed free atoms nowhere by
more than the largest density that these atoms have. |prediction - free atoms| <= max(free atoms) at every point is
not tight (of the true densities of the sample silicon's reaches half of it, the median 3 %), but an explosion breaks
it at once, also one at a single point. `predict` warns of a network beyond it (prediction/plausibility.py). The table
says how many crystals break it, and the largest |prediction - free atoms| / max(free atoms) with its crystal.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from ecd_data import Crystal
from ecd_data.crystal import Floats
from ecd_models import load_model, predict
from ecd_models.atoms.fitted import SuperposedAtoms
from ecd_models.model import DensityModel
from ecd_models.networks.elements import column
from ecd_models.prediction.network_outputs import evaluate_points
from ecd_models.prediction.plausibility import has_closed_form
from ecd_models.task_data import task_data

SHIPPED = "fourier_density pair_density charge3net-sample deepdft-sample invcharge3net-sample invdeepdft-sample".split()
SPACING = 0.25  # Å, of the grids of random crystals
NEAREST, SHORTEST = 0.75, 0.7  # least distance of atoms: in sums of covalent radii, and in Å (H2 has 0.74)
LARGEST, SMALLEST_VOLUME = 8, 8.0  # most atoms in a cell, and least volume of one in Å^3
DISTANCES = (0.0, 0.02, 0.05, 0.1, 0.2)  # Å from a nucleus
BOUND = 1.0  # of |prediction - free atoms| / max(free atoms)


def make_crystal(rng: np.random.Generator, elements: list[int]) -> Crystal:
    """A random crystal; cells in which atoms are too near are drawn again, a little larger each time."""
    numbers = rng.choice(elements, rng.integers(1, LARGEST + 1))
    radii = column("covalent_radius")[numbers]
    volume = np.maximum(1.5 * 4 / 3 * np.pi * (radii + 0.3) ** 3, SMALLEST_VOLUME).sum()
    while True:
        volume *= 1.05
        lattice = np.eye(3) + rng.uniform(-0.35, 0.35, (3, 3))
        lattice *= (volume / abs(np.linalg.det(lattice))) ** (1 / 3)
        if np.linalg.det(lattice) > 0:
            crystal = Crystal(lattice, numbers, rng.random((len(numbers), 3)))
            if are_apart(crystal, radii):
                return crystal


def are_apart(crystal: Crystal, radii: Floats) -> bool:
    """Whether no two atoms or images are too near each other; radii in Å [n]."""
    shifts = np.stack(np.meshgrid(*[range(-2, 3)] * 3), axis=-1).reshape(-1, 3)
    home = crystal.frac_coords @ crystal.lattice
    images = (home[None] + (shifts @ crystal.lattice)[:, None]).reshape(-1, 3)
    pairs = cKDTree(home).sparse_distance_matrix(cKDTree(images), 6.0, output_type="ndarray")
    pairs = pairs[pairs["v"] > 1e-9]
    least = np.maximum(NEAREST * (radii[pairs["i"]] + radii[pairs["j"] % len(home)]), SHORTEST)
    return bool((pairs["v"] > least).all())


def free_atoms(model: DensityModel) -> SuperposedAtoms:
    """The free atoms that a model is compared with: its own, else those of the pair model."""
    atoms = model.atoms or load_model("pair_density").atoms
    assert atoms is not None
    return atoms.free


def largest_ratio(model: DensityModel, crystal: Crystal, shape: tuple[int, int, int], near: bool) -> float:
    """The largest |prediction - free atoms| / max(free atoms) on a grid, and near nuclei where the model is one."""
    by_symmetry = not near and model.device.type == "cpu"  # a GPU needs no such saving
    rho = predict(model, crystal, shape=shape, refuse=False, symmetry=by_symmetry)
    atoms = free_atoms(model)(crystal, shape).values
    scale = max(atoms.max(), largest_of_atoms(model, crystal))
    difference = np.abs(rho.values - atoms).max()
    if near and not has_closed_form(model):  # a closed form is smooth: its grid shows all of it
        points = points_near_nuclei(crystal)
        output = evaluate_points(model, crystal, len(points), lambda a, b: points[a:b], fast=None, advance=None)
        difference = max(difference, np.abs(output[0]).max())
    ratio = float(difference / scale)
    return ratio if np.isfinite(ratio) else np.inf


def largest_of_atoms(model: DensityModel, crystal: Crystal) -> float:
    """The largest density of one free atom of the crystal, which a coarse grid can miss."""
    return max(_peak(free_atoms(model), int(z)) for z in set(crystal.numbers.tolist()))


PEAKS: dict[tuple[bytes, int], float] = {}


def _peak(atoms: SuperposedAtoms, z: int) -> float:
    key = atoms.key, z
    if key not in PEAKS:
        box = Crystal(np.eye(3) * 6.0, np.array([z]), np.zeros((1, 3)))
        PEAKS[key] = float(atoms(box, (64, 64, 64)).values.max())
    return PEAKS[key]


def points_near_nuclei(crystal: Crystal) -> Floats:
    """Fractional points at DISTANCES from each nucleus, in three directions."""
    directions = np.array([[1, 0, 0], [0, 0.6, 0.8], [-0.48, 0.6, -0.64]])
    away = np.concatenate([d * directions for d in DISTANCES]) @ np.linalg.inv(crystal.lattice)
    return (crystal.frac_coords[:, None] + away).reshape(-1, 3)


def random_cases(model: DensityModel, count: int, seed: int) -> Iterator[tuple[str, Crystal, tuple[int, int, int]]]:
    """Random crystals of the elements that the free atoms of a model and the table of properties know."""
    known = np.isfinite(free_atoms(model).coefficients).all(axis=1) & np.isfinite(column("covalent_radius"))
    elements = np.flatnonzero(known).tolist()
    rng = np.random.default_rng(seed)
    for k in range(count):
        crystal = make_crystal(rng, elements)
        shape = tuple(max(4, round(float(length) / SPACING)) for length in np.linalg.norm(crystal.lattice, axis=1))
        yield f"{k}:{crystal.formula}", crystal, shape  # type: ignore[misc]


def doubled_cases(count: int | None) -> Iterator[tuple[str, Crystal, tuple[int, int, int]]]:
    """The training crystals of the sample on doubled grids."""
    data = task_data("pbe", sample=True)
    for id in data.ids("train")[:count]:
        rho = data.store[id]
        yield id, rho.crystal, tuple(2 * n for n in rho.shape)  # type: ignore[misc]


def check(model: DensityModel, cases: Iterator[Any], near: bool) -> dict[str, Any]:
    """How many cases a model predicts beyond the bound, and the worst one."""
    begin = time.perf_counter()
    ratios = {name: largest_ratio(model, crystal, shape, near) for name, crystal, shape in cases}
    worst = max(ratios, key=lambda name: ratios[name], default="")
    beyond = [name for name, ratio in ratios.items() if ratio > BOUND]
    return {
        "crystals": len(ratios),
        "beyond": beyond,
        "worst": worst,
        "largest": ratios.get(worst, 0.0),
        "median": float(np.median(list(ratios.values()))) if ratios else 0.0,
        "seconds": time.perf_counter() - begin,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=list(SHIPPED), help="names or checkpoints")
    parser.add_argument("--crystals", type=int, default=2000, help="random crystals")
    parser.add_argument("--doubled", type=int, default=None, help="training crystals, by default all; 0 for none")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=None, help="JSON file for the numbers")
    options = parser.parse_args()
    logging.getLogger("ecd_models").setLevel(logging.ERROR)  # that random crystals are unlike the training is known
    found: dict[str, Any] = {}
    print("| model | random crystals | beyond | median, largest | training crystals, doubled | beyond | largest |")
    print("|" + "---|" * 7)
    for name in options.models:
        model = load_model(name).to(options.device)
        random = check(model, random_cases(model, options.crystals, options.seed), near=True)
        doubled = check(model, doubled_cases(options.doubled), near=False)
        found[name] = {"random": random, "doubled": doubled}
        left = f"{random['crystals']} | {len(random['beyond'])} | {random['median']:.2g}, {random['largest']:.2g}"
        right = f"{doubled['crystals']} | {len(doubled['beyond'])} | {doubled['largest']:.2g} ({doubled['worst']})"
        print(f"| `{name}` | {left} ({random['worst']}) | {right} |", flush=True)
        if options.out is not None:
            options.out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
