"""Trigonometric polynomials: regridding, shifted grids, values anywhere."""

from __future__ import annotations

import numpy as np
import pytest

from ecd_data import read
from ecd_data.fourier import Spectrum, evaluate, outer_share, resample
from tests.conftest import smooth_density

SHAPES = [(1, 1, 1), (1, 1, 2)]
SHAPES += [(2, 1, 1), (1, 5, 1), (2, 2, 2), (3, 3, 3), (4, 6, 9), (7, 8, 6), (12, 10, 15), (3, 40, 2)]


@pytest.mark.parametrize("shape", [(24, 20, 30), (25, 21, 31), (13, 10, 16)])
def test_regridding_is_exact_for_what_is_band_limited(shape):
    rho = smooth_density()
    fine = rho.resample(shape)
    assert fine.nelect == pytest.approx(rho.nelect, rel=1e-13)
    np.testing.assert_allclose(resample(fine.values, rho.shape), rho.values, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_interpolant_goes_through_every_point_of_any_grid(shape):
    values = np.random.default_rng(sum(shape)).normal(size=shape)
    points = np.stack(np.meshgrid(*(np.arange(n) / n for n in shape), indexing="ij"), axis=-1).reshape(-1, 3)
    np.testing.assert_allclose(evaluate(values, points), values.ravel(), atol=1e-12)
    spectrum = Spectrum.of_grid(values)
    np.testing.assert_allclose(spectrum.grid(shape), values, atol=1e-12)
    np.testing.assert_allclose(resample(resample(values, tuple(2 * n for n in shape)), shape), values, atol=1e-12)


def test_impossible_grids_and_points_are_refused():
    spectrum = Spectrum.of_grid(smooth_density().values)
    for shape in ((0, 1, 1), (2, 2), (-1, 3, 3)):
        with pytest.raises(ValueError, match="three positive"):
            spectrum.grid(shape)
    with pytest.raises(ValueError, match=r"\[n, 3\]"):
        spectrum.at(np.zeros(3))


def test_what_is_not_band_limited_is_told_from_what_is(shared):
    assert outer_share(read(shared / "real" / "Si_AECCAR2.AECCAR2.gz").values) > 0.02
    assert outer_share(np.random.default_rng(0).normal(size=(32, 32, 32))) > 0.3
    for name in ("Al_atomate", "LiH_scan", "Si_static", "pyiron_spin", "mv_NiO_SOC"):
        assert outer_share(read(shared / "real" / f"{name}.CHGCAR.gz").values) < 0.005
    assert outer_share(np.zeros((4, 4, 4))) == 0
