"""Slabs, wires and molecules in boxes have vacuum, in whatever cell; crystals and open frameworks have none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ecd_data import Crystal
from ecd_data.sample.additions import make_addition_cells
from ecd_data.sample.cells import make_cells
from ecd_models.prediction.vacuum import has_vacuum

PERMUTATIONS = ([0, 1, 2], [1, 2, 0], [2, 0, 1])


def repeat(crystal: Crystal, counts: tuple[int, int, int]) -> Crystal:
    shifts = np.stack(np.meshgrid(*map(np.arange, counts), indexing="ij"), axis=-1).reshape(-1, 1, 3)
    frac = ((crystal.frac_coords + shifts) / counts).reshape(-1, 3)
    return Crystal(np.diag(counts) @ crystal.lattice, np.tile(crystal.numbers, len(shifts)), frac)


def widen(crystal: Crystal, lengths: tuple[float, float, float]) -> Crystal:
    """The atoms in a cell whose vectors are longer by these lengths in Å."""
    sizes = np.linalg.norm(crystal.lattice, axis=1)
    factors = 1 + np.array(lengths) / sizes
    return Crystal(crystal.lattice * factors[:, None], crystal.numbers, crystal.frac_coords / factors)


def turn(crystal: Crystal, seed: int) -> Crystal:
    """The same atoms, turned, shifted, and described by another choice of lattice vectors."""
    rng = np.random.default_rng(seed)
    vectors = np.eye(3, dtype=int)[PERMUTATIONS[seed % 3]]
    for _ in range(3):
        i, j = rng.choice(3, 2, replace=False)
        vectors[i] += rng.choice([-1, 1]) * vectors[j]
    turned = Rotation.random(random_state=seed).as_matrix()
    frac = crystal.frac_coords @ np.linalg.inv(vectors) + rng.uniform(-3, 3, 3)
    return Crystal(vectors @ crystal.lattice @ turned, crystal.numbers, frac)


SILICON = Crystal(5.43 / 2 * (1 - np.eye(3)), [14, 14], [[0, 0, 0], [0.25] * 3])
ALUMINIUM = Crystal(4.05 / 2 * (1 - np.eye(3)), [13], [[0, 0, 0]])
WATER = Crystal(4 * np.eye(3), [8, 1, 1], [[0, 0, 0], [0.24, 0, 0], [-0.06, 0.23, 0]])


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("bulk", [SILICON, ALUMINIUM], ids=["Si", "Al"])
def test_slabs_wires_and_clusters_have_vacuum_in_whatever_cell(bulk, seed):
    for counts, lengths in (((1, 1, 3), (0, 0, 12)), ((2, 1, 2), (12, 0, 12)), ((2, 2, 2), (12, 12, 12))):
        solid = repeat(bulk, counts)
        assert not has_vacuum(turn(solid, seed))
        for permutation in PERMUTATIONS:
            order = np.argsort(permutation)
            cut = widen(repeat(bulk, tuple(np.array(counts)[order])), tuple(np.array(lengths)[order]))
            assert has_vacuum(turn(cut, seed))


def test_molecules_in_boxes_have_vacuum_and_molecular_crystals_have_none():
    assert not has_vacuum(WATER)
    assert has_vacuum(widen(WATER, (8, 8, 8)))
    pair = Crystal(
        14 * np.eye(3),
        np.tile(WATER.numbers, 2),
        np.concatenate([WATER.cart_coords / 14, WATER.cart_coords / 14 + 0.5]),
    )
    assert has_vacuum(pair)
    assert has_vacuum(Crystal(10 * np.eye(3), [2], [[0, 0, 0]]))


def test_a_framework_with_wide_pores_is_bulk_with_and_without_guests():
    line = np.arange(10) / 10
    rods = np.concatenate([np.stack([line * (axis == k) for k in range(3)], axis=1) for axis in range(3)])
    frame = Crystal(16 * np.eye(3), np.full(len(rods), 6), rods)
    assert not has_vacuum(frame)
    guests = Crystal(frame.lattice, [*frame.numbers, 8], [*rods, [0.5] * 3])
    assert not has_vacuum(guests)
    sheet = Crystal(frame.lattice, frame.numbers[:20], rods[:20])
    assert has_vacuum(sheet)


def test_nothing_goes_on_along_an_axis_without_periodicity():
    assert has_vacuum(Crystal(SILICON.lattice, SILICON.numbers, SILICON.frac_coords, (True, True, False)))


def test_no_crystal_of_the_sample_has_vacuum():
    cells = make_cells() | make_addition_cells()
    crystals = {id: Crystal(cell["lattice"], cell["numbers"], cell["frac_coords"]) for id, cell in cells.items()}
    assert [id for id, crystal in crystals.items() if has_vacuum(crystal)] == []
