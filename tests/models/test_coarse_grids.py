"""Grids that do not resolve a density have the waves that resampling a finer one keeps."""

from __future__ import annotations

import numpy as np
import pytest

from ecd_data import Crystal, open_store
from ecd_models import load_model, predict
from ecd_models.atoms.coarse_grids import find_resolving_grid

FINE = (42, 42, 42)


@pytest.fixture(scope="module")
def crystal() -> Crystal:
    return open_store("pbe")["MgO_rs"].crystal


@pytest.mark.parametrize("name", ["pair_density", "fourier_density"])
@pytest.mark.parametrize("fast", [None, False])
@pytest.mark.parametrize("coarse", [(10, 10, 10), (16, 9, 12)])
def test_a_coarse_prediction_is_the_fine_one_resampled(name, fast, coarse, crystal):
    """Also at half the sampling rate, where two waves are one on the grid."""
    model = load_model(name)
    found = predict(model, crystal, shape=coarse, fast=fast).values
    expected = predict(model, crystal, shape=FINE, fast=fast).resample(coarse).values
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * expected.max())


def test_superposed_atoms_of_a_coarse_grid_are_the_fine_ones_resampled(crystal):
    atoms = load_model("charge3net-sample").atoms
    expected = atoms(crystal, FINE).resample((10, 12, 14)).values
    found = atoms(crystal, (10, 12, 14)).values
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * expected.max())
    assert found.mean() * crystal.volume == pytest.approx(16, abs=1e-6)


def test_grids_of_calculations_are_taken_as_they_are(crystal):
    assert find_resolving_grid(crystal, (36, 36, 36)) == (36, 36, 36)
    assert find_resolving_grid(crystal, (15, 15, 15)) == (15, 15, 15)
    assert min(np.subtract(find_resolving_grid(crystal, (16, 15, 8)), (16, 15, 8))) == 0
    assert all(m > 16 for m in find_resolving_grid(crystal, (16, 16, 16)))
