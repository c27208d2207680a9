"""Pictures: they appear, whole, for cells of any form; atoms are where they are; what is beyond the colours is told."""

from __future__ import annotations

import re
import sys
from dataclasses import replace

import numpy as np
import pytest

from ecd_data import Crystal, Density
from ecd_data.errors import MissingDependencyError, UsageError
from ecd_data.plots.colours import choose_colours
from ecd_data.plots.plane import choose_plane
from tests.conftest import smooth_density

pytest.importorskip("matplotlib")
from ecd_data.plots.picture import plot_density, plot_slices


def picture_of(path):
    from matplotlib.image import imread

    return imread(path)


def marked_points(path) -> int:
    """Points in red (above the colours) or magenta (below), which nothing else in a picture has."""
    red, green = picture_of(path)[..., 0], picture_of(path)[..., 1]
    return int(((red > 0.98) & (green < 0.02)).sum())


@pytest.mark.parametrize("atoms", [0, 3])
@pytest.mark.parametrize("shape", [(12, 10, 15), (1, 4, 1)])
def test_a_picture_of_any_cell(tmp_path, atoms, shape):
    rho = smooth_density(shape)
    crystal = Crystal(rho.lattice, rho.numbers[:atoms], rho.frac_coords[:atoms] - 2.5)
    rho = replace(rho, crystal=crystal)
    plot_slices(rho, replace(rho, values=1.1 * rho.values), tmp_path / "x.png")
    for axis in "abc":
        plot_density(rho, tmp_path / f"{axis}.png", axis=axis)
    for file in tmp_path.iterdir():
        assert picture_of(file).shape[0] > 300
        assert picture_of(file).std() > 0.05


def test_a_perfect_guess_has_a_picture_and_no_notes(tmp_path):
    rho = smooth_density()
    assert plot_slices(rho, rho, tmp_path / "x.png", "same $1") == []
    assert (tmp_path / "x.png").stat().st_size > 5000


@pytest.mark.parametrize("ending", ["pdf", "svg"])
def test_pictures_to_print(tmp_path, ending):
    plot_density(smooth_density(), tmp_path / f"x.{ending}")
    assert (tmp_path / f"x.{ending}").stat().st_size > 5000


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: 33 * v, "prediction: .* is above the colours, up to"),
        (lambda v: v - v.max(), "prediction: .* is below 0, down to -"),
        (lambda v: np.where(v == v.max(), 50 * v, v), "prediction: "),
    ],
)
def test_what_is_beyond_the_colours_is_told_and_marked(tmp_path, change, words):
    rho = smooth_density()
    plane = choose_plane(rho).index
    values = rho.values.copy()
    values[:, :, plane] = change(values[:, :, plane])
    [note] = plot_slices(rho, replace(rho, values=values), tmp_path / "x.png")
    assert re.match(words, note)
    plot_slices(rho, rho, tmp_path / "same.png")
    assert marked_points(tmp_path / "x.png") > marked_points(tmp_path / "same.png") + 100


def test_a_scale_is_logarithmic_where_it_must_be():
    flat, peaked = np.linspace(0.2, 1, 100).reshape(10, 10), np.full((10, 10), 1e-3)
    peaked[5, 5] = 30.0
    assert not choose_colours(flat).log
    assert choose_colours(peaked).log
    assert choose_colours(flat, "log").log
    assert not choose_colours(peaked, "linear").log
    for values in (flat, peaked, -peaked, peaked - 1, np.zeros((4, 4)), np.full((4, 4), 1e-30)):
        for scale in ("auto", "linear", "log"):
            colours = choose_colours(values, scale)
            assert colours.describe_clipped(values) == ""
            assert np.isfinite(np.ma.filled(colours.norm()(values), 0.0)).all()
    assert "logarithmic" in choose_colours(peaked).label
    assert "e/Å" in choose_colours(flat).label


def test_a_difference_density_has_a_signed_scale(tmp_path):
    rho = smooth_density()
    difference = replace(rho, values=rho.values - rho.values.mean())
    assert choose_colours(difference.values[:, :, 0]).signed
    assert not choose_colours(np.array([[1.0, -1e-3]])).signed  # noise around zero
    assert plot_density(difference, tmp_path / "x.png") == []


def test_atoms_are_drawn_where_they_are():
    lattice = np.array([[4.0, 0, 0], [1.0, 5.0, 0], [0.7, -0.4, 6.0]])
    crystal = Crystal(lattice, [14, 8, 1], [[0.25, 0.5, 0.5], [0.0, 0.0, 0.55], [0.1, 0.1, 0.9]])
    plane = choose_plane(Density(crystal, np.ones((8, 8, 10))))
    assert plane.name == "plane c = 0.5"
    atoms = list(plane.atoms())
    assert {symbol for symbol, _, _ in atoms} == {"Si", "O"}
    places = np.array([place for symbol, place, _ in atoms if symbol == "Si"])
    assert len(places) == 4
    in_cell = (crystal.frac_coords[0] * [1, 1, 0]) @ lattice
    assert np.abs(places - in_cell[:2]).max(axis=1).min() < 1e-9
    above = next(height for symbol, _, height in atoms if symbol == "O")
    assert above == pytest.approx(0.05 * 6.0)
    feet = np.array([place for symbol, place, _ in atoms if symbol == "O"])
    foot = (crystal.frac_coords[1] @ lattice - 0.5 * lattice[2])[:2]  # where it stands above the plane's origin
    cells = np.linalg.solve(lattice[:2, :2].T, (feet - foot).T)
    assert np.abs(cells - np.round(cells)).max() < 1e-9


@pytest.mark.parametrize("axis", "abc")
def test_the_corners_span_two_cells_each_way(axis):
    rho = smooth_density((6, 8, 10))
    plane = choose_plane(rho, axis, 0.5)
    x, y = plane.corners(plane.slice_values(rho.values).shape)
    sides = [rho.lattice["abc".index(other)] for other in "abc" if other != axis]
    area = 4 * np.linalg.norm(np.cross(*sides))
    one = np.array([x[-1, 0] - x[0, 0], y[-1, 0] - y[0, 0]])
    two = np.array([x[0, -1] - x[0, 0], y[0, -1] - y[0, 0]])
    assert abs(one[0] * two[1] - one[1] * two[0]) == pytest.approx(area)


def test_the_plane_is_chosen_by_axis_and_place():
    rho = smooth_density((6, 8, 10))
    assert choose_plane(rho, "b", 0.5).index == 4
    for outside in (-0.5, 1.01, 7.5, float("nan"), "x"):
        with pytest.raises(UsageError, match="position is a"):
            choose_plane(rho, "a", outside)
    assert choose_plane(rho, "a", 1.0).index == 0
    assert np.array_equal(choose_plane(rho, "b", 0.5).slice_values(rho.values)[:6, :10], rho.values[:, 4, :])
    for axis, at in (("x", None), ("c", float("nan"))):
        with pytest.raises(UsageError):
            choose_plane(rho, axis, at)
    with pytest.raises(UsageError, match="auto, linear, log"):
        choose_colours(rho.values, "ln")


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
