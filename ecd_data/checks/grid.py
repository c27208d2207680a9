"""Checks of the grid: that of the run, that of the cutoff, and whether it fits the cell's axes in this order."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

import numpy as np

from ecd_data.checks.report import Report, flag, problem
from ecd_data.crystal import Floats
from ecd_data.density import Density
from ecd_data.errors import UsageError
from ecd_data.vasp_grid import Shape, fits_a_cutoff, vasp_fine_grid

UNEVEN = 1.6  # times the points per Å along another axis; FFT sizes are up to 1.5 apart in small cells
EVEN = 1.35


def check_grid(rho: Density) -> Iterator[Report]:
    """The grid against the one that the run states, else against ENCUT and PREC, else against the cell alone."""
    settings = rho.meta.get("settings", {})
    stated = settings.get("fine_grid")
    if stated and not rho.meta.get("resampled"):
        if tuple(stated) != rho.shape:
            yield _other_grid(rho.shape, tuple(stated), "the run states")
        return
    expected = _of_cutoff(rho, settings)
    if expected is not None and expected != rho.shape and sorted(expected) == sorted(rho.shape):
        yield problem("axes-permuted", f"{_text(rho.shape)} points where the cutoff makes {_text(expected)}")
    elif expected is not None and expected != rho.shape:
        yield flag("other-grid", f"{_text(rho.shape)} points where the cutoff makes {_text(expected)}")
    if expected is None:
        yield from _check_axes(rho.lattice, rho.shape)


def _other_grid(shape: Shape, stated: Shape, who: str) -> Report:
    name = "axes-permuted" if sorted(stated) == sorted(shape) else "grid-mismatch"
    return problem(name, f"{_text(shape)} points where {who} {_text(stated)}")


def _of_cutoff(rho: Density, settings: dict) -> Shape | None:
    if not settings.get("encut_eV") or not settings.get("prec"):
        return None
    try:
        return vasp_fine_grid(rho.lattice, settings["encut_eV"], settings["prec"], settings.get("enaug_eV"))
    except UsageError:
        return None


def _check_axes(lattice: Floats, shape: Shape) -> Iterator[Report]:
    """Whether the points are about as dense along each axis; no cutoff makes what a factor of 1.6 lies between."""
    spread = _spread(lattice, shape)
    if spread <= UNEVEN or fits_a_cutoff(lattice, shape):
        return
    orders = [o for o in permutations(range(3)) if _spread(lattice, _reordered(shape, o)) < EVEN]
    if orders:
        better = _reordered(shape, min(orders, key=lambda o: _spread(lattice, _reordered(shape, o))))
        yield problem("axes-permuted", f"{_text(shape)} points do not fit the cell, {_text(better)} would")
    else:
        yield flag("uneven-grid", f"the points along the axes are up to {spread:.1f} times as dense as along others")


def _spread(lattice: Floats, shape: Shape) -> float:
    density = np.array(shape) / np.linalg.norm(lattice, axis=1)
    return float(density.max() / density.min())


def _reordered(shape: Shape, order: tuple[int, ...]) -> Shape:
    return shape[order[0]], shape[order[1]], shape[order[2]]


def _text(shape: Shape) -> str:
    return "x".join(map(str, shape))
