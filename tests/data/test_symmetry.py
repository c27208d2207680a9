from __future__ import annotations

import numpy as np
import pytest

from ecd_data import Crystal, open_store, symmetry
from ecd_data.symmetry import crystal_system, grid_operations, grid_orbits
from tests.conftest import smooth_density


def test_stored_densities_have_the_symmetry_of_their_crystals():
    store = open_store("pbe")
    for id in ("Si_diamond", "MgO_rs", "Al_fcc"):
        rho = store[id]
        orbits = grid_orbits(rho.crystal, rho.shape)
        difference = rho.values.ravel()[orbits.points][orbits.orbit] - rho.values.ravel()
        assert np.abs(difference).max() < 1e-3 * rho.values.max()
        assert len(orbits.points) < rho.values.size / 20


def test_orbits_partition_the_grid_and_their_sizes_divide_the_group():
    crystal = Crystal(4 * np.eye(3), np.array([11, 17]), np.array([[0, 0, 0], [0.5, 0.5, 0.5]]))
    shape = (8, 8, 8)
    orbits = grid_orbits(crystal, shape)
    sizes = np.bincount(orbits.orbit)
    assert sizes.sum() == 512
    assert set(48 % sizes) == {0}
    assert len(grid_operations(crystal, shape)) == 48
    np.testing.assert_array_equal(orbits.orbit[orbits.points], np.arange(len(orbits.points)))


@pytest.mark.parametrize("images", [1, 500, 200_000])
@pytest.mark.parametrize("shape", [(12, 12, 12), (12, 12, 8), (10, 8, 6), (9, 9, 9)])
def test_orbits_are_what_all_operations_make_of_a_point(shape, images, monkeypatch):
    monkeypatch.setattr(symmetry, "MAX_IMAGES", images)
    corners = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    diamond = Crystal(5.4 * np.eye(3), np.full(8, 14), np.concatenate([corners, corners + 0.25]))
    orbits = grid_orbits(diamond, shape)
    x = np.stack(np.unravel_index(np.arange(np.prod(shape)), shape))
    lowest = orbits.points[orbits.orbit]
    for matrix, shift in grid_operations(diamond, shape):
        image = np.ravel_multi_index(tuple((matrix @ x + shift[:, None]) % np.array(shape)[:, None]), shape)
        np.testing.assert_array_equal(lowest[image], lowest)
        assert (lowest <= image).all()
    np.testing.assert_array_equal(orbits.points, np.unique(lowest))


@pytest.mark.parametrize("shape", [(8, 8, 6), (7, 5, 9)])
def test_operations_that_do_not_fit_the_grid_are_left_out(shape):
    crystal = Crystal(4 * np.eye(3), np.array([11]), np.zeros((1, 3)))
    assert len(grid_operations(crystal, shape)) == (16 if shape[0] == shape[1] else 8)


def test_a_crystal_without_symmetry_keeps_every_point():
    rho = smooth_density()
    assert len(grid_orbits(rho.crystal, rho.shape).points) == rho.values.size


@pytest.mark.parametrize(
    ("number", "system"),
    [(1, "triclinic"), (15, "monoclinic"), (16, "orthorhombic"), (75, "tetragonal"), (166, "trigonal"),
     (194, "hexagonal"), (195, "cubic"), (230, "cubic")],
)  # fmt: skip
def test_crystal_systems(number, system):
    assert crystal_system(number) == system
