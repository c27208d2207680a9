from __future__ import annotations

import numpy as np
import pytest

from ecd_data import Crystal, Density, eps_mae
from ecd_data.errors import UsageError
from ecd_models.atoms.fitted import SuperposedAtoms, fit_superposed_atoms


def cell(seed: int, numbers=(3, 9, 9)) -> Crystal:
    rng = np.random.default_rng(seed)
    lattice = np.diag([4.0, 4.4, 3.8]) + rng.normal(scale=0.2, size=(3, 3))
    return Crystal(lattice, np.array(numbers), rng.random((len(numbers), 3)))


def true_atoms() -> SuperposedAtoms:
    """Lithium with 1 and fluorine with 7 electrons, both spread over two Gaussians."""
    exponents = np.array([0.9, 2.5])
    coefficients = np.full((119, 2), np.nan)
    coefficients[3], coefficients[9] = [0.4, 0.6], [3.0, 4.0]
    return SuperposedAtoms(coefficients, exponents)


SHAPE = (24, 26, 22)


def test_the_fit_finds_atoms_that_the_crystals_are_made_of():
    atoms = true_atoms()
    contents = [(3, 9, 9), (3, 3, 9), (3, 9)]  # one stoichiometry alone could not tell the atoms' electrons apart
    fitted = fit_superposed_atoms(atoms(cell(seed, numbers), SHAPE) for seed, numbers in enumerate(contents))
    unseen = atoms(cell(7, (9, 3, 3, 9)), SHAPE)
    guess = fitted(unseen.crystal, SHAPE)
    assert eps_mae(guess, unseen) < 1e-3
    assert guess.nelect == pytest.approx(unseen.nelect, rel=1e-5)
    assert fitted.elements == ["Li", "F"]


def test_the_density_is_that_of_gaussians_in_real_space():
    atoms, crystal = true_atoms(), cell(1, (3,))
    rho = atoms(crystal, (48, 52, 46))
    shifts = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3, indexing="ij"), -1).reshape(-1, 3)
    point = np.array([0.25, 0.5, 0.0])
    r2 = (((point - crystal.frac_coords[0] + shifts) @ crystal.lattice) ** 2).sum(axis=1)
    expected = sum(c * (a / np.pi) ** 1.5 * np.exp(-a * r2).sum() for c, a in zip([0.4, 0.6], [0.9, 2.5], strict=True))
    assert rho.at(point[None])[0] == pytest.approx(expected, rel=1e-5)


def test_translation_permutation_and_supercell():
    atoms, crystal = true_atoms(), cell(2)
    values = atoms(crystal, (24, 24, 24)).values
    moved = Crystal(crystal.lattice, crystal.numbers, crystal.frac_coords + np.array([3, 5, 7]) / 24)
    np.testing.assert_allclose(atoms(moved, (24, 24, 24)).values, np.roll(values, (3, 5, 7), (0, 1, 2)), atol=1e-9)
    order = [2, 0, 1]
    permuted = Crystal(crystal.lattice, crystal.numbers[order], crystal.frac_coords[order])
    np.testing.assert_allclose(atoms(permuted, (24, 24, 24)).values, values, atol=1e-9)
    double = Crystal(
        crystal.lattice * [[2], [1], [1]],
        np.tile(crystal.numbers, 2),
        np.concatenate([crystal.frac_coords, crystal.frac_coords + [1, 0, 0]]) / [2, 1, 1],
    )
    np.testing.assert_allclose(atoms(double, (48, 24, 24)).values, np.tile(values, (2, 1, 1)), atol=1e-5)


def test_an_element_without_a_fit_is_named():
    with pytest.raises(UsageError, match="Cs"):
        true_atoms()(cell(0, (55, 9)), (8, 8, 8))


def test_nothing_to_fit_on():
    with pytest.raises(UsageError, match="training split is empty"):
        fit_superposed_atoms([])


def test_real_crystals_keep_their_electrons(small_root):
    from ecd_data import open_store

    store = open_store(small_root / "pbe.ecd")
    densities = [store[id] for id in store]
    fitted = fit_superposed_atoms(densities)
    for rho in densities:
        guess: Density = fitted(rho.crystal, rho.shape)
        assert guess.nelect == pytest.approx(rho.nelect, rel=1e-4)
        assert eps_mae(guess, rho) < 0.2
