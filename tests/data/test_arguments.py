"""Wrong arguments of the public functions of ecd_data: one UsageError says what is wanted, nothing is written."""

from __future__ import annotations

import numpy as np
import pytest

from ecd_data import check, convert, load_split, open_store, read, write
from ecd_data.arguments import fractional_points, grid_shape, real_number, whole_number
from ecd_data.errors import EcdError, UsageError
from ecd_data.release.own_splits import make_split
from tests.conftest import smooth_density

NO_NUMBERS = ("x", "3", None, True, [3], float("nan"), 3 + 0j)


@pytest.fixture
def chgcar(tmp_path):
    write(tmp_path / "CHGCAR", smooth_density())
    return tmp_path / "CHGCAR"


@pytest.mark.parametrize("value", [*NO_NUMBERS, 1.5, -1, 0])
def test_a_positive_whole_number_is_one(value):
    with pytest.raises(UsageError, match="n is a positive whole number, not"):
        whole_number(value, "n", 1)
    assert whole_number(np.int32(7), "n", 1) == 7


@pytest.mark.parametrize("value", [*NO_NUMBERS, float("inf")])
def test_a_number_is_finite(value):
    with pytest.raises(UsageError, match="x is a number such as 2"):
        real_number(value, "x", "2")
    assert real_number(np.float32(1.5), "x", "2") == 1.5


@pytest.mark.parametrize(
    "shape", ["888", "abc", 8, None, (8, 8), (8, 8, 8, 8), (8, 8, 8.5), (8, 8, -8), (0, 8, 8), ("8", 8, 8), {"a": 8}]
)
def test_a_grid_is_three_positive_whole_numbers(shape):
    for act in (grid_shape, smooth_density().resample):
        with pytest.raises(UsageError, match="a grid is three positive whole numbers"):
            act(shape)
    assert grid_shape(np.array([4, 5, 6])) == (4, 5, 6)


def test_a_grid_that_no_memory_holds_is_refused():
    with pytest.raises(UsageError, match="at most 2,147,483,648 points"):
        smooth_density().resample((10**5, 10**5, 10**5))


@pytest.mark.parametrize(
    "points", ["x", None, 5, [0, 0], [[0, 0]], np.zeros((2, 2, 3)), [[0, np.nan, 0]], [[1j, 0, 0]], [0] * 6]
)
def test_points_are_fractional_coordinates(points):
    for act in (fractional_points, smooth_density().at):
        with pytest.raises(UsageError, match=r"points are fractional coordinates \[n, 3\]"):
            act(points)
    rho = smooth_density()
    np.testing.assert_allclose(rho.at([0, 0, 0]), rho.values[0, 0, 0])


@pytest.mark.parametrize("path", [7, None, "", b"CHGCAR", [], float("nan")])
def test_a_path_is_a_path(tmp_path, path):
    for act in (lambda: read(path), lambda: write(path, smooth_density()), lambda: convert(tmp_path, path)):
        with pytest.raises(UsageError, match="is a path, not"):
            act()


@pytest.mark.parametrize("step", ["x", 1.5, None, True])
def test_a_step_is_a_whole_number(chgcar, step):
    with pytest.raises(UsageError, match="step is a whole number"):
        read(chgcar, step=step)


def test_what_is_no_density_is_neither_written_nor_checked(tmp_path):
    for other in ("x", None, smooth_density().crystal, smooth_density().values):
        with pytest.raises(UsageError, match="is a Density"):
            write(tmp_path / "CHGCAR", other)
        with pytest.raises(UsageError, match="wants a Density"):
            check(other)
    with pytest.raises(UsageError, match="there is no folder"):
        write(tmp_path / "no" / "CHGCAR", smooth_density())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "options",
    [
        *({"bound": bound} for bound in ("x", None, 0, -1, 2, float("nan"))),
        *({"workers": workers} for workers in ("x", None, 0, -1, 1.5, True)),
        {"pipeline": 5},
        {"pipeline": "zip"},
        {"cluster": "x"},
    ],
)
def test_options_of_a_conversion_are_refused_before_anything_is_written(chgcar, tmp_path, options):
    with pytest.raises(UsageError):
        convert(chgcar, tmp_path / "x.ecd", **options)
    assert not (tmp_path / "x.ecd").exists()


@pytest.mark.parametrize("sources", [7, None, [], [7], [None], "", [""], float("nan"), "@nothing"])
def test_sources_of_a_conversion_are_paths(tmp_path, sources):
    with pytest.raises(UsageError):
        convert(sources, tmp_path / "x.ecd")
    assert not (tmp_path / "x.ecd").exists()


def test_names_and_numbers_of_stores_and_splits(tmp_path):
    store = open_store("pbe")
    for options in ({"n": "x"}, {"n": 1.5}, {"n": 0}, {"seed": -1}, {"seed": "x"}, {"epoch": 1.5}, {"epoch": None}):
        with pytest.raises(UsageError):
            store.probes("MgO_rs", **options)
    for ids in (7, None, [7]):
        with pytest.raises(UsageError, match="ids are a list of names"):
            store.probes(ids)
    for id in (7, None, ("MgO_rs",)):
        with pytest.raises(KeyError, match="ids are texts"):
            store[id]
    for fractions, seed in (({"train": "x", "test": 1}, 0), ({"train": 0.5, "test": 0.5}, "x")):
        with pytest.raises(UsageError):
            make_split(store, fractions, seed=seed)
    for name in (7, None, ""):
        with pytest.raises(EcdError):
            load_split(name)
