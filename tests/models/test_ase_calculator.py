"""The ASE calculator: GPAW's name, units and spins; a new prediction where the atoms have changed; no energies."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ecd_data import open_store
from ecd_data.errors import UsageError
from ecd_data.vasp_grid import vasp_fine_grid
from ecd_models import load_model, predict
from ecd_models.model import DensityModel
from ecd_models.networks import build_model
from tests.models.conftest import SMALL

pytest.importorskip("ase")
from ase.calculators.calculator import PropertyNotImplementedError

from ecd_models.prediction.ase_calculator import DensityCalculator

SHAPE = (12, 12, 12)


@pytest.fixture(scope="module")
def model() -> DensityModel:
    return load_model("charge3net-sample")


@pytest.fixture
def atoms():
    return open_store("pbe")["MgO_rs"].to_ase()


def test_it_gives_the_prediction(model, atoms):
    DensityCalculator(model, shape=SHAPE, atoms=atoms)
    density = atoms.calc.get_pseudo_density()
    exact = predict(model, atoms, shape=SHAPE)
    assert np.array_equal(density, exact.values)
    assert density.mean() * atoms.get_volume() == pytest.approx(exact.nelect)  # electrons per Å^3
    for spin in (0, 1):
        assert np.array_equal(atoms.calc.get_pseudo_density(spin=spin), 0.5 * density)
    assert atoms.calc.get_number_of_grid_points() == SHAPE
    assert (atoms.calc.get_number_of_spins(), atoms.calc.get_spin_polarized()) == (1, False)


def test_it_predicts_again_where_the_atoms_moved(model, atoms):
    calculator = atoms.calc = DensityCalculator(model, shape=SHAPE)
    before = calculator.get_density(atoms)
    assert calculator.get_density(atoms) is before
    atoms.rattle(0.05, seed=1)
    after = calculator.get_pseudo_density()
    assert not np.array_equal(after, before.values)
    assert np.array_equal(after, predict(model, atoms, shape=SHAPE).values)


def test_the_caller_may_change_the_array(model, atoms):
    calculator = DensityCalculator(model, shape=SHAPE)
    calculator.get_density(atoms)
    calculator.get_pseudo_density()[:] = 0
    assert calculator.get_pseudo_density().any()


def test_spins_of_a_model_with_magnetization(atoms):
    torch.manual_seed(0)
    spin = DensityModel(build_model("charge3net", **SMALL, outputs=2))
    calculator = DensityCalculator(spin, shape=SHAPE)
    rho = calculator.get_density(atoms)
    up, down = (calculator.get_pseudo_density(spin=k) for k in (0, 1))
    assert np.allclose(up + down, rho.values)
    assert np.allclose(up - down, rho.magnetization)
    assert calculator.get_number_of_spins() == 2


def test_padding_concerns_axes_without_periodicity(model, atoms):
    calculator = DensityCalculator(model, shape=SHAPE)
    rho = calculator.get_density(atoms)
    assert np.array_equal(calculator.get_pseudo_density(pad=False), rho.values)
    atoms.pbc = (True, True, False)
    assert calculator.get_pseudo_density(pad=False).shape == (12, 12, 11)
    assert calculator.get_pseudo_density().shape == SHAPE


def test_the_grid_of_a_cutoff(model, atoms):
    calculator = DensityCalculator(model, encut=100)
    assert calculator.get_density(atoms).shape == vasp_fine_grid(atoms.cell.array, 100)


def test_it_has_no_energy(model, atoms):
    atoms.calc = DensityCalculator(model, shape=SHAPE)
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_potential_energy()
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_forces()


def test_wrong_arguments_are_refused(model, atoms):
    for options in ({}, {"shape": SHAPE, "encut": 100}, {"shape": (1, 2)}, {"encut": "x"}):
        with pytest.raises(UsageError):
            DensityCalculator(model, **options)
    with pytest.raises(UsageError, match="needs a model"):
        DensityCalculator("charge3net-sample", shape=SHAPE)
    calculator = DensityCalculator(model, shape=SHAPE)
    with pytest.raises(UsageError, match="no atoms yet"):
        calculator.get_pseudo_density()
    calculator.get_density(atoms)
    for spin in (2, -1, True, "up"):
        with pytest.raises(UsageError, match="spin is None"):
            calculator.get_pseudo_density(spin=spin)
