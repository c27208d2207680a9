"""Planar and macroscopic averages against densities whose averages are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ecd_data import Crystal, Density
from ecd_data.averages import macroscopic_average, planar_average
from ecd_data.errors import UsageError
from tests.conftest import smooth_density

LATTICE = np.array([[4.0, 0.0, 0.0], [1.0, 3.0, 0.0], [0.5, -0.7, 8.0]])


def wave(axis: int, count: int, mean: float = 0.3, height: float = 0.1, points: int = 40) -> Density:
    """mean + height cos(2 pi count x), x the fraction along one axis, and waves along the others that average out."""
    fractions = np.stack(np.meshgrid(*[np.arange(points) / points] * 3, indexing="ij"))
    values = mean + height * np.cos(2 * np.pi * count * fractions[axis])
    values += 0.05 * np.cos(2 * np.pi * fractions[axis - 1]) * np.cos(4 * np.pi * fractions[axis - 2])
    return Density(Crystal(LATTICE, [], np.zeros((0, 3))), values)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_planar_average_of_a_wave_is_the_wave(axis):
    rho = wave(axis, 2)
    found = planar_average(rho, "abc"[axis])
    height = rho.crystal.volume / np.linalg.norm(np.cross(*np.delete(LATTICE, axis, axis=0)))
    assert found.period == pytest.approx(height)
    assert found.area * found.period == pytest.approx(rho.crystal.volume)
    assert found.heights[1] == pytest.approx(height / 40)
    assert np.allclose(found.values, 0.3 + 0.1 * np.cos(2 * np.pi * 2 * found.heights / height))


@pytest.mark.parametrize("axis", "abc")
def test_averages_keep_the_electron_count(axis):
    rho = smooth_density()
    for found in (planar_average(rho, axis), macroscopic_average(rho, 1.7, axis=axis)):
        assert found.electrons_per_length.mean() * found.period == pytest.approx(rho.nelect)
        assert len(found.values) == rho.shape["abc".index(axis)]


@pytest.mark.parametrize("width", [0.5, 2.0, 3.3, 8.0, 20.0])
def test_a_macroscopic_average_is_the_running_mean(width):
    rho = wave(2, 3)
    found = macroscopic_average(rho, width)
    q = 2 * np.pi * 3 / found.period
    z = found.heights
    exact = 0.3 + 0.1 * (np.sin(q * (z + width / 2)) - np.sin(q * (z - width / 2))) / (q * width)
    assert np.allclose(found.values, exact, atol=1e-12)


def test_the_period_of_the_layers_is_averaged_away():
    layers = wave(2, 4)
    spacing = planar_average(layers).period / 4
    assert np.ptp(planar_average(layers).values) == pytest.approx(0.2)
    assert np.ptp(macroscopic_average(layers, spacing).values) < 1e-12
    both = replace(layers, values=layers.values + wave(2, 5, 0.0).values)
    twice = macroscopic_average(both, spacing, planar_average(layers).period / 5)
    assert np.ptp(twice.values) < 1e-12


def test_an_average_of_the_magnetization():
    rho = smooth_density(spin=True)
    assert np.allclose(planar_average(rho, "a", "magnetization").values, rho.magnetization.mean(axis=(1, 2)))
    assert planar_average(rho, "a", "magnetization").electrons_per_length.mean() == pytest.approx(
        rho.moment / planar_average(rho, "a").period, abs=1e-12
    )


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda rho: planar_average(rho, "z"), "give a, b or c"),
        (lambda rho: planar_average(rho, 2), "give a, b or c"),
        (lambda rho: planar_average(rho, "a", "spin"), "'density' or 'magnetization'"),
        (lambda rho: planar_average(rho, "a", "magnetization"), "no magnetization"),
        (lambda rho: macroscopic_average(rho), "needs a width"),
        (lambda rho: macroscopic_average(rho, 0.0), "positive length"),
        (lambda rho: macroscopic_average(rho, 1.0, -2.0), "positive length"),
        (lambda rho: macroscopic_average(rho, "c"), "number such as"),
        (lambda rho: macroscopic_average(rho, float("nan")), "number such as"),
    ],
)
def test_wrong_arguments_are_refused(act, words):
    with pytest.raises(UsageError, match=words):
        act(smooth_density())
