"""Sums, differences, multiples and supercells of densities, and what each of them is called afterwards.

The difference of two densities, or twice a density, is no density of a calculation any more. Its `meta["kind"]` is
"difference", "sum" or "multiple", its comment begins with this word, and `ecd_data.check` calls it a problem, so that
it does not get into a data set. Two all-electron densities (AECCAR0 and AECCAR2) make an all-electron one.
"""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from ecd_data.arguments import describe_value, grid_shape
from ecd_data.crystal import Crystal, Floats
from ecd_data.crystal_match import match_atoms, same_orientation
from ecd_data.errors import UsageError
from ecd_data.io.density_names import PREDICTED_BY

if TYPE_CHECKING:
    from ecd_data.density import Density

DIFFERENCE, SUM, MULTIPLE = "difference", "sum", "multiple"
DERIVED_KINDS = (DIFFERENCE, SUM, MULTIPLE)
ALL_ELECTRON = "all-electron"
LONGEST_NAME = 80  # characters of a density's own comment within that of a sum
# Of the meta: how the density came about, and what is not certain of it; the rest is of the small cell
KEPT_IN_SUPERCELLS = ("kind", "functional", "source", "provenance", "guesses", "never_seen")


def combine(a: Density, b: Density, sign: int) -> dict[str, Any]:
    """The changed fields of a + b (`sign` 1) or a - b (-1), two densities of one crystal on one grid.

    Raises
    ------
    UsageError : the grids differ.
    DifferentCrystalsError : the cells or atoms differ.
    """
    if a.shape != b.shape:
        one, two = ("x".join(map(str, rho.shape)) for rho in (a, b))
        raise UsageError(
            f"the densities are on grids of {one} and {two} points: bring one to the other's grid with "
            "resample(shape) first, to the finer grid where nothing may be lost"
        )
    match_atoms(a.crystal, b.crystal)
    kind = choose_kind(a.meta.get("kind"), b.meta.get("kind"), sign)
    return {
        "values": a.values + sign * b.values,
        "magnetization": combine_magnetizations(a, b, sign),
        "augmentation": None,
        "meta": describe(kind, f"{name_of(a)} {'+' if sign > 0 else '-'} {name_of(b)}"),
    }


def combine_magnetizations(a: Density, b: Density, sign: int) -> Floats | None:
    """The sum or difference of two magnetizations; None where one is missing or they cannot be compared.

    Vectors of two orientations of the cell cannot: whether the moments turned with the cell is not known.
    """
    one, two = a.magnetization, b.magnetization
    if one is None or two is None or one.shape != two.shape:
        return None
    return one + sign * two if one.ndim == 3 or same_orientation(a.crystal, b.crystal) else None


def choose_kind(one: str | None, two: str | None, sign: int) -> str:
    """What a sum or difference of two kinds of densities is; None is the density of the valence electrons."""
    if sign < 0:
        return DIFFERENCE
    return one if one == two and one in (ALL_ELECTRON, DIFFERENCE) else SUM


def multiply(rho: Density, factor: Any) -> dict[str, Any]:
    """The changed fields of a density times a number. Raises UsageError for anything but a finite real number."""
    factor = read_factor(factor)
    kind = DIFFERENCE if rho.meta.get("kind") == DIFFERENCE else MULTIPLE
    return {
        "values": factor * rho.values,
        "magnetization": None if rho.magnetization is None else factor * rho.magnetization,
        "augmentation": None,
        "meta": describe(kind, f"{factor:.12g} * {name_of(rho)}"),
    }


def read_factor(factor: Any) -> float:
    """The number that a density is multiplied by or divided by; UsageError for anything but a finite real number."""
    real = isinstance(factor, Real | np.integer | np.floating) and not isinstance(factor, bool)
    if not real or not np.isfinite(float(factor)):
        raise UsageError(f"a density is multiplied and divided by finite numbers, not by {describe_value(factor)}")
    return float(factor)


def repeat(rho: Density, counts: Any) -> dict[str, Any]:
    """The changed fields of a density repeated along a, b and c; the images of an atom follow each other."""
    repeats = grid_shape(counts)
    grid_shape(np.multiply(repeats, rho.shape).tolist())  # refuses grids that no memory holds
    images = np.array(list(np.ndindex(*repeats)), dtype=float)
    frac = (rho.frac_coords[:, None] + images).reshape(-1, 3) / repeats
    crystal = Crystal(
        rho.lattice * np.array(repeats)[:, None], np.repeat(rho.numbers, len(images)), frac, rho.crystal.pbc
    )
    meta = {key: rho.meta[key] for key in KEPT_IN_SUPERCELLS if key in rho.meta}
    name, kind = f"{'x'.join(map(str, repeats))} supercell", f"{meta['kind']}: " if _is_derived(rho) else ""
    predicted = _cut(rho).startswith(PREDICTED_BY)  # a file of it is recognized by the first words
    return {
        "crystal": crystal,
        "values": np.tile(rho.values, repeats),
        "magnetization": _tile(rho.magnetization, repeats),
        "augmentation": None,
        "meta": {**meta, "comment": f"{_cut(rho)}, {name}" if predicted else f"{kind}{name} of {_cut(rho)}"},
    }


def describe(kind: str, formula: str) -> dict[str, str]:
    """The meta of a result: its kind, and a comment by which a file of it is recognized."""
    return {"kind": kind, "comment": f"{SUM if kind == ALL_ELECTRON else kind}: {formula}"}


def name_of(rho: Density) -> str:
    """How the comment of a result calls one of its densities."""
    text = _cut(rho)
    return f"({text.partition(': ')[2]})" if _is_derived(rho) and ": " in text else text


def _is_derived(rho: Density) -> bool:
    return rho.meta.get("kind") in DERIVED_KINDS


def _cut(rho: Density) -> str:
    return str(rho.meta.get("comment") or rho.crystal.formula).strip()[:LONGEST_NAME]


def _tile(magnetization: Floats | None, repeats: tuple[int, int, int]) -> Floats | None:
    if magnetization is None:
        return None
    return np.tile(magnetization, repeats if magnetization.ndim == 3 else (1, *repeats))
