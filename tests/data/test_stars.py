"""Stars of plane waves: every one in exactly one star, on any grid, for any group of operations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import fft

from ecd_data import Crystal
from ecd_data.codec import kernels
from ecd_data.codec.operations import Operations, generate_group
from ecd_data.codec.stars import Stars
from ecd_data.codec.waves import integer_metric
from ecd_data.fourier import Spectrum

HEXAGONAL = Crystal(
    np.array([[3.0, 0, 0], [-1.5, 1.5 * 3**0.5, 0], [0, 0, 5.0]]),
    [12, 12],
    [[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]],
)
DIAMOND = Crystal(np.array([[0, 2, 2], [2, 0, 2], [2, 2, 0.0]]), [14, 14], [[0, 0, 0], [0.25, 0.25, 0.25]])
CORNERS = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
CONVENTIONAL = Crystal(5.0 * np.eye(3), [14] * 8, np.concatenate([CORNERS, CORNERS + 0.25]))
TRICLINIC = Crystal(np.array([[4.1, 0.2, -0.1], [0.3, 3.7, 0.4], [-0.2, 0.5, 5.2]]), [1], [[0.1, 0.2, 0.3]])
CRYSTALS = {"hexagonal": HEXAGONAL, "diamond": DIAMOND, "conventional": CONVENTIONAL, "triclinic": TRICLINIC}
SHAPES = [(1, 1, 1), (2, 1, 1), (6, 6, 8), (7, 7, 8), (8, 8, 8), (12, 12, 12), (12, 12, 4), (5, 5, 7), (3, 10, 2)]


def images(operations: Operations, index: int) -> tuple[np.ndarray, ...]:
    n = np.array(operations.shape)
    points = np.stack(np.meshgrid(*(np.arange(m) for m in n), indexing="ij"))
    matrix = np.rint(operations.rotations[index] * n[:, None] / n).astype(int)
    moved = np.einsum("ij,jabc->iabc", matrix, points) + operations.shifts[index][:, None, None, None]
    return tuple(moved % n[:, None, None, None])


def symmetric(operations: Operations, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=operations.shape)
    return np.mean([values[images(operations, i)] for i in range(len(operations))], axis=0)


@pytest.fixture(params=["compiled", "numpy"])
def way(request, monkeypatch):
    if request.param == "numpy":
        monkeypatch.setattr(kernels, "compiled_kernels", lambda _: None)
    else:
        pytest.importorskip("numba")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", CRYSTALS)
def test_symmetric_grids_come_back_from_one_plane_wave_of_each_star(way, name, shape):
    operations = Operations.of_crystal(CRYSTALS[name], shape)
    values = symmetric(operations)
    stars = Stars.within(operations, integer_metric(CRYSTALS[name].lattice))
    amplitudes = stars.project(fft.rfftn(values, norm="forward"))
    block = stars.block(amplitudes)
    block[0, 0, 0] += values.mean()
    np.testing.assert_allclose(Spectrum(block).grid(shape), values, atol=1e-12)
    square = np.square(values).mean() - values.mean() ** 2
    assert (stars.size * np.abs(amplitudes) ** 2).sum() == pytest.approx(square, abs=1e-12)  # Parseval
    np.testing.assert_array_equal(amplitudes.imag[stars.real], 0)


@pytest.mark.parametrize("name", CRYSTALS)
def test_both_ways_to_find_stars_agree(monkeypatch, name):
    pytest.importorskip("numba")
    operations = Operations.of_crystal(CRYSTALS[name], (8, 8, 8))
    metric = integer_metric(CRYSTALS[name].lattice)
    one = Stars.within(operations, metric)
    waves = one.waves
    monkeypatch.setattr(kernels, "compiled_kernels", lambda _: None)
    other = Stars.within(operations, metric)
    for field in ("k", "norm", "size", "turn"):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field))
    for field in ("index", "star", "turn"):  # in one order, or sums and with them the bytes would differ
        np.testing.assert_array_equal(getattr(waves, field), getattr(other.waves, field))


@pytest.mark.parametrize("name", CRYSTALS)
def test_the_first_stars_are_those_of_the_whole_order(name):
    operations = Operations.of_crystal(CRYSTALS[name], (9, 9, 12))
    metric = integer_metric(CRYSTALS[name].lattice)
    whole = Stars.within(operations, metric)
    for count in (0, 1, 2, len(whole) // 3, len(whole), len(whole) + 5):
        np.testing.assert_array_equal(Stars.first(operations, metric, count).k, whole.k[:count])


@pytest.mark.parametrize("shape", [(6, 6, 8), (12, 12, 12), (9, 9, 9)])
@pytest.mark.parametrize("name", CRYSTALS)
def test_a_few_generators_make_the_group(name, shape):
    operations = Operations.of_crystal(CRYSTALS[name], shape)
    chosen = operations.generators()
    made = generate_group(shape, chosen)
    assert made is not None
    assert set(made.keys) == set(operations.keys)
    assert len(chosen) <= 4
    if name == "conventional" and shape == (12, 12, 12):
        assert len(operations) == 192


def test_operations_that_the_values_violate_are_dropped_and_a_group_remains():
    operations = Operations.of_crystal(DIAMOND, (8, 8, 8))
    assert len(operations) == 48
    values = symmetric(operations)
    assert len(operations.select_by_change(values, 1e-9)) == 48
    part = Operations(operations.shape, operations.rotations[:1], operations.shifts[:1])
    for extra in range(1, 48):
        trial = generate_group(operations.shape, [(operations.rotations[extra], operations.shifts[extra])])
        if trial is not None and len(trial) == 4:
            part = trial
    assert len(part) == 4
    kept = operations.select_by_change(symmetric(part, seed=1), 1e-9)
    assert set(kept.keys) == set(part.keys)
    assert len(operations.select_by_change(np.random.default_rng(0).normal(size=(8, 8, 8)), 1e-3)) == 1


def test_the_integer_metric_does_not_depend_on_scale_and_keeps_the_order_of_lengths():
    for crystal in CRYSTALS.values():
        metric = integer_metric(crystal.lattice)
        assert metric == integer_metric(4 * crystal.lattice)
        assert max(map(abs, metric)) < 1 << 24
        reciprocal = np.linalg.inv(crystal.lattice).T
        gram = (reciprocal @ reciprocal.T)[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        np.testing.assert_allclose(np.array(metric) / max(metric), gram / gram.max(), atol=1e-5)
