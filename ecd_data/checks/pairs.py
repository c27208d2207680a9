"""The PBE and the HSE density of one crystal, side by side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations

import numpy as np

from ecd_data.checks.report import Report, combined, flag, problem
from ecd_data.crystal import Crystal
from ecd_data.density import Density
from ecd_data.density_error import eps_mae

SAME_DENSITY = 1e-3  # eps_mae; PBE and HSE06 of one crystal differ by 0.4 to 1.9 %, a store's bounds by 1e-4 or less
SAME_CELL = 1e-2  # of a lattice vector's length, and of fractional coordinates


def check_pair(pbe: Density, hse: Density) -> Report:
    """What the PBE density of the same crystal tells about an HSE density: one crystal, one grid, two densities.

    "pair-crystal", "pair-axes" (the same cell in another order of the axes), "pair-grid", and "frozen-density" where
    eps_mae between them is below 1e-3.
    """
    return combined(_findings(pbe, hse))


def _findings(pbe: Density, hse: Density) -> Iterator[Report]:
    if not same_crystal(pbe.crystal, hse.crystal):
        order = order_of_axes(pbe.crystal, hse.crystal)
        if order is None:
            yield problem("pair-crystal", f"the PBE density is of another crystal, {pbe.crystal.formula}, or cell")
            return
        letters = "".join("abc"[axis] for axis in order)
        yield problem("pair-axes", f"the axes of the PBE density are this one's in the order {letters}")
        pbe = _permuted(pbe, order)
    if pbe.shape != hse.shape:
        if sorted(pbe.shape) == sorted(hse.shape):
            yield problem("pair-axes", f"the same cell with {pbe.shape} points for PBE and {hse.shape} here")
            return
        yield flag("pair-grid", f"{pbe.shape} points for PBE and {hse.shape} here")
        pbe = pbe.resample(hse.shape)
    eps = eps_mae(pbe, hse)
    if eps < SAME_DENSITY:
        yield flag("frozen-density", f"the PBE density is the same to {100 * eps:.2g} %")


def same_crystal(one: Crystal, two: Crystal) -> bool:
    """Whether two crystals have the same cell and the same atoms in the same order, to a hundredth."""
    if len(one) != len(two) or not (one.numbers == two.numbers).all():
        return False
    lengths = np.linalg.norm(two.lattice, axis=1, keepdims=True)
    shift = one.frac_coords - two.frac_coords
    return bool(
        (np.abs(one.lattice - two.lattice) <= SAME_CELL * lengths).all()
        and (np.abs(shift - np.round(shift)) <= SAME_CELL).all()
    )


def order_of_axes(pbe: Crystal, hse: Crystal) -> tuple[int, ...] | None:
    """The order of the first crystal's axes that makes its cell that of the second, by lengths, angles and atoms."""
    for order in permutations(range(3)):
        turned = pbe.lattice[list(order)]
        metric = np.abs(turned @ turned.T - hse.lattice @ hse.lattice.T)
        lengths = np.linalg.norm(hse.lattice, axis=1)
        moved = Crystal(hse.lattice, pbe.numbers, pbe.frac_coords[:, list(order)])
        if (metric <= 2 * SAME_CELL * np.outer(lengths, lengths)).all() and same_crystal(moved, hse):
            return order
    return None


def _permuted(rho: Density, order: tuple[int, ...]) -> Density:
    crystal = Crystal(rho.lattice[list(order)], rho.numbers, rho.frac_coords[:, list(order)])
    return replace(rho, crystal=crystal, values=rho.values.transpose(order), magnetization=None, augmentation=None)
