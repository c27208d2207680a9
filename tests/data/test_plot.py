"""Pictures: they appear, whole, for cells of any form."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest

from ecd_data import Crystal, Density
from ecd_data.errors import MissingDependencyError
from tests.conftest import smooth_density

pytest.importorskip("matplotlib")
from ecd_data.plot import plot_slices


@pytest.mark.parametrize("atoms", [0, 3])
@pytest.mark.parametrize("shape", [(12, 10, 15), (1, 4, 1)])
def test_a_picture_of_any_cell(tmp_path, atoms, shape):
    from matplotlib.image import imread

    rho = smooth_density(shape)
    crystal = Crystal(rho.lattice, rho.numbers[:atoms], rho.frac_coords[:atoms] - 2.5)
    rho = replace(rho, crystal=crystal)
    plot_slices(rho, replace(rho, values=1.1 * rho.values), tmp_path / "x.png")
    picture = imread(tmp_path / "x.png")
    assert picture.shape[0] > 300
    assert picture.std() > 0.05


def test_a_perfect_guess_has_a_picture_too(tmp_path):
    rho = smooth_density()
    plot_slices(rho, rho, tmp_path / "x.png", "same")
    assert (tmp_path / "x.png").stat().st_size > 5000


def test_other_grids_are_refused(tmp_path):
    rho = smooth_density()
    guess = Density(rho.crystal, np.ones((2, 2, 2)))
    with pytest.raises(ValueError, match="resample"):
        plot_slices(rho, guess, tmp_path / "x.png")
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependencyError, match="pip install"):
        plot_slices(smooth_density(), smooth_density(), tmp_path / "x.png")
