"""Checks of the cell: distances of atoms, and the grid against the run, the cutoff, and the order of the axes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

import numpy as np

from ecd_data.checks.report import Report, flag, problem
from ecd_data.crystal import Floats
from ecd_data.density import Density
from ecd_data.errors import UsageError
from ecd_data.formats.structure import MIN_THICKNESS, closest_pair
from ecd_data.vasp_grid import Shape, fits_some_cutoff, vasp_fine_grid

MIN_DISTANCE = 0.6  # Å: atoms that are nearer are flagged; the shortest bond, H-H, has 0.74


def check_atoms(rho: Density) -> Iterator[Report]:
    """A flag where two atoms, periodic images included, are nearer than MIN_DISTANCE."""
    crystal = rho.crystal
    if not len(crystal):
        return
    thickness = 1 / np.linalg.norm(np.linalg.inv(crystal.lattice), axis=0)
    if thickness.min() < MIN_THICKNESS:
        yield flag("close-atoms", f"the cell is {thickness.min():.2g} Å thick")
        return
    pair = closest_pair(crystal)
    if pair is not None and pair[2] < MIN_DISTANCE:
        first, second, distance = pair
        names = f"{crystal.symbols[first]}{first + 1} and {crystal.symbols[second]}{second + 1}"
        reason = "the unit may be wrong, or several elements share a site"
        yield flag("close-atoms", f"{names} are {distance:.2f} Å apart: {reason}")


MAX_UNEVENNESS = 1.6  # ratio of the points per Å along two axes; rounding to FFT sizes gives up to 1.5 in small cells
EVEN_ENOUGH = 1.35  # the same ratio, below which another order of the axes counts as even


def check_grid(rho: Density) -> Iterator[Report]:
    """Problems and flags of the grid, compared with that of the run, else ENCUT and PREC, else the cell.

    A grid to which the density was interpolated is flagged, whatever its size.
    """
    settings = rho.meta.get("settings", {})
    stated = settings.get("fine_grid")
    if before := rho.meta.get("resampled"):
        source = _format_shape(before) if tuple(before) != rho.shape else "another grid, on which waves may be lost"
        yield flag("other-grid", f"{_format_shape(rho.shape)} points, by interpolation from {source}")
        return
    if stated:
        if tuple(stated) != rho.shape:
            yield _report_other_grid(rho.shape, tuple(stated))
        return
    expected = _grid_of_cutoff(rho, settings)
    if expected is not None and expected != rho.shape and sorted(expected) == sorted(rho.shape):
        yield problem(
            "axes-permuted", f"{_format_shape(rho.shape)} points where the cutoff makes {_format_shape(expected)}"
        )
    elif expected is not None and expected != rho.shape:
        yield flag("other-grid", f"{_format_shape(rho.shape)} points where the cutoff makes {_format_shape(expected)}")
    if expected is None:
        yield from _check_axes(rho.lattice, rho.shape)


def _report_other_grid(shape: Shape, stated: Shape) -> Report:
    name = "axes-permuted" if sorted(stated) == sorted(shape) else "grid-mismatch"
    return problem(name, f"{_format_shape(shape)} points where the run states {_format_shape(stated)}")


def _grid_of_cutoff(rho: Density, settings: dict) -> Shape | None:
    if not settings.get("encut_eV") or not settings.get("prec"):
        return None
    try:
        return vasp_fine_grid(rho.lattice, settings["encut_eV"], settings["prec"], settings.get("enaug_eV"))
    except UsageError:
        return None


def _check_axes(lattice: Floats, shape: Shape) -> Iterator[Report]:
    """Reports where the density of points differs between the axes by more than any cutoff causes."""
    ratio = _unevenness(lattice, shape)
    if ratio <= MAX_UNEVENNESS or fits_some_cutoff(lattice, shape):
        return
    orders = [o for o in permutations(range(3)) if _unevenness(lattice, _reorder(shape, o)) < EVEN_ENOUGH]
    if orders:
        better = _reorder(shape, min(orders, key=lambda o: _unevenness(lattice, _reorder(shape, o))))
        yield problem(
            "axes-permuted", f"{_format_shape(shape)} points do not fit the cell, {_format_shape(better)} would"
        )
    else:
        yield flag("uneven-grid", f"the points along the axes are up to {ratio:.1f} times as dense as along others")


def _unevenness(lattice: Floats, shape: Shape) -> float:
    density = np.array(shape) / np.linalg.norm(lattice, axis=1)
    return float(density.max() / density.min())


def _reorder(shape: Shape, order: tuple[int, ...]) -> Shape:
    return shape[order[0]], shape[order[1]], shape[order[2]]


def _format_shape(shape: Shape) -> str:
    return "x".join(map(str, shape))
