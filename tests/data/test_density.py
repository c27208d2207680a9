from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from ecd_data import Crystal, Density, eps_mae
from tests.conftest import smooth_density


def test_importing_is_cheap_and_pulls_in_no_heavy_library():
    code = (
        "import sys, time; t = time.process_time(); import ecd_data; seconds = time.process_time() - t;"
        "heavy = {'numpy', 'torch', 'pymatgen', 'datasets', 'zarr', 'pandas'} & set(sys.modules);"
        "print(seconds, *heavy)"
    )
    seconds, *heavy = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert heavy == []
    assert float(seconds) < 0.3  # of the processor: the time on a clock depends on what else runs


@pytest.mark.parametrize("package", ["ecd_data", "ecd_models"])
def test_public_names_are_the_same_whatever_was_imported_before(package):
    code = (
        f"import {package}, pkgutil, importlib, inspect\n"
        f"for module in pkgutil.iter_modules({package}.__path__): importlib.import_module('{package}.' + module.name)\n"
        f"print(*[n for n in {package}.__all__ if inspect.ismodule(getattr({package}, n))])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"


@pytest.mark.parametrize("shape", [(12, 10, 15), (13, 11, 16), (24, 20, 30), (9, 9, 9)])
def test_regridding_keeps_the_electrons_and_the_function(shape):
    rho = smooth_density(spin=True)
    other = rho.resample(shape)
    assert other.shape == shape
    assert other.nelect == pytest.approx(rho.nelect, rel=1e-12)
    assert other.moment == pytest.approx(rho.moment, rel=1e-9, abs=1e-12)
    points = np.random.default_rng(1).random((40, 3))
    np.testing.assert_allclose(other.at(points), rho.at(points), atol=1e-12)
    np.testing.assert_allclose(other.resample(rho.shape).values, rho.values, atol=1e-12)


@pytest.mark.parametrize("shape", [(4, 4, 4), (5, 4, 7), (8, 6, 6)])
def test_refining_is_exact_at_the_old_points_of_any_grid(shape):
    values = np.random.default_rng(2).normal(size=shape)  # Nyquist frequencies included
    rho = Density(smooth_density().crystal, values)
    finer = rho.resample(tuple(2 * n for n in shape)).values
    np.testing.assert_allclose(finer[::2, ::2, ::2], values, atol=1e-12)


def test_at_gives_the_grid_values_on_grid_points_and_is_periodic():
    rho = smooth_density()
    index = np.array([[0, 0, 0], [3, 9, 14], [11, 5, 2]])
    points = index / np.array(rho.shape)
    np.testing.assert_allclose(rho.at(points), rho.values[tuple(index.T)], atol=1e-12)
    np.testing.assert_allclose(rho.at(points + [1, -2, 3]), rho.at(points), atol=1e-10)


def test_a_supercell_holds_twice_the_electrons_and_the_same_density():
    rho = smooth_density()
    lattice = rho.lattice * [[2], [1], [1]]
    frac = np.concatenate([rho.frac_coords, rho.frac_coords + [1, 0, 0]]) / [2, 1, 1]
    double = Density(Crystal(lattice, np.tile(rho.numbers, 2), frac), np.tile(rho.values, (2, 1, 1)))
    assert double.nelect == pytest.approx(2 * rho.nelect, rel=1e-12)
    points = np.random.default_rng(3).random((20, 3))
    np.testing.assert_allclose(double.at(points / [2, 1, 1]), rho.at(points), atol=1e-12)


def test_eps_mae_is_zero_for_the_same_and_scales_with_the_error():
    rho = smooth_density()
    assert eps_mae(rho, rho) == 0
    assert eps_mae(1.01 * rho.values, rho) == pytest.approx(0.01)
    with pytest.raises(ValueError, match="resample"):
        eps_mae(rho.resample((8, 8, 8)), rho)


def test_densities_are_immutable():
    rho = smooth_density()
    with pytest.raises(ValueError, match="read-only"):
        rho.values[0, 0, 0] = 1
    with pytest.raises(AttributeError):
        rho.values = rho.values  # type: ignore[misc]
    with pytest.raises(TypeError):
        rho.meta["functional"] = "PBE"  # type: ignore[index]


def test_the_array_given_stays_its_owners():
    values = np.ones((4, 4, 4))
    rho = Density(smooth_density().crystal, values)
    values *= 2
    assert values.flags.writeable
    assert rho.values.mean() == 1


def test_crystals_go_to_ase_and_pymatgen_and_back():
    crystal = smooth_density().crystal
    for there_and_back in (Crystal.from_ase(crystal.to_ase()), Crystal.from_pymatgen(crystal.to_pymatgen())):
        np.testing.assert_array_equal(there_and_back.numbers, crystal.numbers)
        np.testing.assert_allclose(there_and_back.lattice, crystal.lattice, atol=1e-12)
        np.testing.assert_allclose(there_and_back.frac_coords, crystal.frac_coords, atol=1e-12)


def test_densities_go_to_pymatgen_and_back():
    rho = smooth_density(spin=True, augmentation=("augmentation occupancies   1   1\n  0.1000000E+00\n", ""))
    again = Density.from_pymatgen(rho.to_pymatgen())
    np.testing.assert_allclose(again.values, rho.values, rtol=1e-12)
    np.testing.assert_allclose(again.magnetization, rho.magnetization, rtol=1e-12)
    assert again.augmentation == rho.augmentation
    assert rho.to_ase().get_chemical_formula() == "MgO2"


def test_partial_occupancies_are_refused():
    from pymatgen.core import Lattice, Structure

    with pytest.raises(ValueError, match="partial occupancies"):
        Crystal.from_pymatgen(Structure(Lattice.cubic(3), [{"Fe": 0.5, "Ni": 0.5}], [[0, 0, 0]]))


@pytest.mark.parametrize(
    ("lattice", "numbers", "coords"),
    [
        (np.zeros((3, 3)), [1], [[0, 0, 0]]),
        (np.eye(3), [119], [[0, 0, 0]]),
        (np.eye(3), [14.5], [[0, 0, 0]]),
        (np.eye(3), [1], [[np.nan, 0, 0]]),
        (np.eye(3), [6, 6], np.transpose([[0, 0, 0], [0.25, 0.25, 0.25]])),  # as many numbers, of which [2, 3] is made
        (np.eye(3), [6], [[[0, 0, 0]]]),
    ],
)
def test_impossible_crystals_are_refused(lattice, numbers, coords):
    with pytest.raises(ValueError):
        Crystal(lattice, np.array(numbers), np.array(coords))


def test_formulas():
    crystal = Crystal(4 * np.eye(3), np.array([12, 8, 8, 12]), np.zeros((4, 3)))
    assert (crystal.formula, crystal.reduced_formula, crystal.elements) == ("Mg2O2", "MgO", ["Mg", "O"])


def test_wrapping_moves_atoms_into_the_home_cell():
    crystal = Crystal(np.eye(3) * 4, np.array([1, 1]), np.array([[-0.25, 1.5, -1e-18], [2.0, 0.1, 0.9]]))
    wrapped = crystal.wrap_atoms()
    assert (wrapped.frac_coords >= 0).all()
    assert (wrapped.frac_coords < 1).all()
    np.testing.assert_allclose((wrapped.frac_coords - crystal.frac_coords) % 1 % 1, 0, atol=1e-12)
