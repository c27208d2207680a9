"""The check of an HSE density against the PBE density of the same crystal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ecd_data.checks.report import Report, combine_reports, flag, problem
from ecd_data.crystal import Crystal
from ecd_data.crystal_match import SAME_ORDER, DifferentCrystalsError, match_atoms, order_of_axes, same_crystal
from ecd_data.density import Density
from ecd_data.density_error import eps_mae

SAME_DENSITY = 1e-3  # eps_mae: PBE and HSE06 differ by 0.4 to 1.9 %, rounding in a store by 1e-4 or less


def check_pair(pbe: Density, hse: Density) -> Report:
    """The Report on an HSE density from a comparison with the PBE density of the same crystal.

    Problems: "pair-crystal" (another crystal or cell) and "pair-axes" (the same cell in another order of the axes).
    The orientation of the cell in space and the order of the atoms do not matter.
    Flags: "pair-grid" (another grid), "frozen-density" (eps_mae between the two is below 1e-3), and "pair-missing" (the
    PBE density has values that are not finite, so nothing is compared).
    """
    return combine_reports(_compare_pair(pbe, hse))


def _compare_pair(pbe: Density, hse: Density) -> Iterator[Report]:
    if not np.isfinite(pbe.values).all():
        yield flag("pair-missing", "the PBE density has values that are not finite")
        return
    if not _are_one_crystal(pbe.crystal, hse.crystal):
        order = order_of_axes(pbe.crystal, hse.crystal)
        if order is None:
            reason = f"the PBE density has another crystal ({pbe.crystal.formula}) or cell"
            yield problem("pair-crystal", reason)
            return
        if order != SAME_ORDER:
            letters = "".join("abc"[axis] for axis in order)
            yield problem("pair-axes", f"the PBE density has the axes of this density in the order {letters}")
            pbe = _permute_axes(pbe, order)
    if pbe.shape != hse.shape:
        if sorted(pbe.shape) == sorted(hse.shape):
            yield problem("pair-axes", f"the PBE density has {pbe.shape} points in the same cell, this one {hse.shape}")
            return
        yield flag("pair-grid", f"the PBE density has {pbe.shape} points, this one {hse.shape}")
        pbe = pbe.resample(hse.shape)
    eps = eps_mae(pbe, hse)
    if eps < SAME_DENSITY:
        yield flag("frozen-density", f"it differs from the PBE density by only {100 * eps:.2g} %")


def _are_one_crystal(pbe: Crystal, hse: Crystal) -> bool:
    """Whether two crystals are the same in one cell, whatever the order of their atoms."""
    if same_crystal(pbe, hse):
        return True
    try:
        match_atoms(pbe, hse)
    except DifferentCrystalsError:
        return False
    return True


def _permute_axes(rho: Density, order: tuple[int, ...]) -> Density:
    crystal = Crystal(rho.lattice[list(order)], rho.numbers, rho.frac_coords[:, list(order)])
    return replace(rho, crystal=crystal, values=rho.values.transpose(order), magnetization=None, augmentation=None)
