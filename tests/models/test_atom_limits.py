"""No network of fourier_density adds more than the free atoms hold, whatever its weights and the crystal."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.spatial.transform import Rotation

from ecd_data import Crystal, open_store
from ecd_models import load_model, predict
from ecd_models.atoms.fitted import EXPONENTS, SuperposedAtoms
from ecd_models.model import DensityModel
from ecd_models.networks.fourier_density.atom_limits import hold, measure_atoms
from ecd_models.networks.fourier_density.model import FourierDensity, FourierDensityConfig

SMALL = FourierDensityConfig(functions=4, widest=0.5, sharpest=5.0, channels=4, layers=2, neighbors=4.0)
LATTICE = np.array([[3.1, 0.2, 0.0], [0.1, 3.4, 0.3], [0.0, -0.2, 2.9]])
FRACTIONS = np.array([[0.1, 0.2, 0.3], [0.55, 0.62, 0.71], [0.8, 0.1, 0.75]])
NUMBERS = np.array([12, 8, 26])
SHAPE = (32, 36, 30)


def crystal(lattice=LATTICE) -> Crystal:
    return Crystal(np.asarray(lattice), NUMBERS, FRACTIONS, (True, True, True))


def atoms() -> SuperposedAtoms:
    """Atoms of two Gaussians each."""
    coefficients = np.full((119, len(EXPONENTS)), np.nan)
    coefficients[NUMBERS] = 0
    coefficients[NUMBERS, 3], coefficients[NUMBERS, 6] = [1.5, 4, 3], [0.5, 2, 5]
    return SuperposedAtoms(coefficients)


def model(size: float, config: FourierDensityConfig = SMALL) -> DensityModel:
    """A model whose last maps have weights of this size; after a training it is below 1."""
    torch.manual_seed(0)
    network = FourierDensity(config)
    for weight in network.parameters():
        if not weight.abs().max():
            torch.nn.init.normal_(weight, std=size)
    return DensityModel(network.eval(), atoms())


def norms_and_charges(one: DensityModel, cell: Crystal) -> tuple[np.ndarray, np.ndarray]:
    """Of what each atom adds: the norm without its charge, and the charge."""
    found, monopoles = one.network.coefficients(cell).double().numpy(), one.network.radial.monopoles
    charges = found[:, :, 0] @ monopoles
    found[:, :, 0] -= charges[:, None] * monopoles / (monopoles @ monopoles)
    return np.sqrt((found**2).sum((1, 2))), charges


def test_the_norm_of_an_atom_is_that_of_its_density():
    norms, electrons = measure_atoms(atoms())
    alpha, parts = EXPONENTS[[3, 6]], np.array([4, 2])

    def density(r: float) -> float:
        return float((parts * (alpha / np.pi) ** 1.5 * np.exp(-alpha * r * r)).sum())

    square = quad(lambda r: 4 * np.pi * r * r * density(r) ** 2, 0, 20)[0]
    assert norms[8] == pytest.approx(square**0.5, rel=1e-6)
    assert electrons[8] == pytest.approx(6)
    assert np.isnan(norms[1])


@pytest.mark.parametrize("size", [1e4, 1e6])
def test_no_atom_adds_more_than_the_free_one_holds(size):
    limits, electrons = measure_atoms(atoms())
    free = model(size)
    free.network.norms.fill_(torch.inf)
    free.network.electrons.fill_(torch.inf)
    norms, charges = norms_and_charges(free, crystal())
    assert (norms > limits[NUMBERS]).any()
    assert (np.abs(charges) > electrons[NUMBERS]).any()
    norms, charges = norms_and_charges(model(size), crystal())
    assert (norms <= limits[NUMBERS] * (1 + 1e-5)).all()
    assert (np.abs(charges) <= electrons[NUMBERS] * (1 + 1e-5)).all()
    assert charges.sum() == pytest.approx(0, abs=1e-4)


def test_held_densities_turn_with_the_crystal_and_keep_the_electrons():
    turn = Rotation.from_euler("xyz", [0.3, -0.8, 1.2]).as_matrix()
    one = model(1e3)
    values = one.network.on_grid(crystal(), SHAPE)
    turned = one.network.on_grid(crystal(LATTICE @ turn.T), SHAPE)
    np.testing.assert_allclose(turned, values, atol=1e-4 * np.abs(values).max())
    assert values.mean() * crystal().volume == pytest.approx(0, abs=1e-4)


def test_below_half_of_the_limit_nothing_changes_and_beyond_it_is_smooth():
    share = torch.tensor([0.0, 0.1, 0.5, 0.50001, 0.7, 3.0, 1e9], dtype=torch.float64, requires_grad=True)
    held = share * hold(share)
    assert held[:3].tolist() == share[:3].tolist()
    assert (held[1:].diff() >= 0).all()
    assert held[-1] <= 1
    (slopes,) = torch.autograd.grad(held.sum(), share)
    np.testing.assert_allclose(slopes[:4].numpy(), 1, atol=1e-3)
    one, other = model(0.01), model(0.01)
    other.network.norms.fill_(torch.inf)
    other.network.electrons.fill_(torch.inf)
    assert torch.equal(one.network.coefficients(crystal()), other.network.coefficients(crystal()))


def test_a_training_starts_and_gets_back_from_beyond_the_limits():
    for size in (0.0, 1e3):
        one = model(size)
        coefficients = one.network.encode(one.network._atoms(crystal()))
        coefficients.square().sum().backward()
        gradients = [weight.grad for weight in one.network.parameters() if weight.grad is not None]
        assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_a_magnetization_is_held_too_and_so_are_the_members_of_a_mean():
    config = FourierDensityConfig(**{**vars(SMALL), "outputs": 2, "members": 2})
    one = model(1e4, config)
    both = one.network.encode(one.network._atoms(crystal()))
    limits = measure_atoms(atoms())[0][NUMBERS]
    assert (both[:, 1].square().sum((1, 2)).sqrt().detach().numpy() <= limits * (1 + 1e-5)).all()
    members = one.network.encode_members(one.network._atoms(crystal()), ("",))
    assert (members[:, :, 1].square().sum((2, 3)).sqrt().detach().numpy() <= limits * (1 + 1e-5)).all()


def test_nothing_of_the_default_model_comes_near_its_limits_on_the_sample():
    one, store = load_model("fourier_density"), open_store("pbe")
    limits, electrons = measure_atoms(one.atoms.free)
    for id in store.ids:
        cell = store.crystal(id)
        norms, charges = norms_and_charges(one, cell)
        assert (norms < 0.09 * limits[cell.numbers]).all(), id
        assert (np.abs(charges) < 0.09 * electrons[cell.numbers]).all(), id


def test_the_default_model_is_limited_by_its_free_atoms():
    one = load_model("fourier_density")
    norms, electrons = measure_atoms(one.atoms.free)
    held = np.isfinite(norms)
    np.testing.assert_allclose(one.network.norms[held].numpy(), norms[held], rtol=1e-6)
    np.testing.assert_allclose(one.network.electrons[held].numpy(), electrons[held], rtol=1e-6)
    for member in one.network.others:
        assert torch.equal(member.norms, one.network.norms)
    for weight in one.network.parameters():
        weight.data *= 100
    cell = Crystal(4.2 * (1 - np.eye(3)) / 2, np.array([12, 8]), np.array([[0, 0, 0], [0.5, 0.5, 0.5]]))
    rho = predict(one, cell, shape=(24, 24, 24), refuse=False)
    free = one.atoms(cell, (24, 24, 24))
    beyond = np.abs(rho.values - free.values)
    assert 0 < beyond.max() < 20 * free.values.max()
