"""Whether two crystals are one crystal: the same cell and atoms, written with other images, orders or axes."""

from __future__ import annotations

from itertools import permutations

import numpy as np

from ecd_data.crystal import SYMBOLS, Crystal, Floats
from ecd_data.errors import EcdError

CELL_TOLERANCE = 5e-4  # relative difference of two cells that count as equal: files round to six decimals or to bohr
POSITION_TOLERANCE = 0.05  # Å between an atom and its partner; files of one calculation agree to 1e-5 Å
SAME_CELL = 1e-2  # of two calculations: relative to a lattice vector's length, and of fractional coordinates
SAME_ORDER = (0, 1, 2)  # of the axes a, b, c


class DifferentCrystalsError(EcdError):
    """Two densities have different cells or atoms, so they cannot be added or subtracted."""


def match_atoms(one: Crystal, two: Crystal) -> float:
    """The largest distance in Å between partners, the atoms of two crystals matched in any order.

    The orientation of the cell in space does not matter. An atom without an element (0) is a partner of any.

    Raises
    ------
    DifferentCrystalsError : the cells differ by more than 5e-4, or an atom has no partner within 0.05 Å.
    """
    _refuse_other_cell(one, two)
    if len(one) != len(two):
        raise DifferentCrystalsError(_explain_mismatch(one, two, f"{len(one)} and {len(two)} atoms"))
    free, largest = list(range(len(two))), 0.0  # atoms of the second crystal without a partner yet
    for number, position in zip(one.numbers, one.frac_coords, strict=True):
        candidates = [k for k in free if number in (0, two.numbers[k]) or two.numbers[k] == 0]
        distances = periodic_distances(two.lattice, two.frac_coords[candidates], position)
        if not candidates or distances.min() > POSITION_TOLERANCE:
            at = ", ".join(f"{x:.4f}" for x in position)
            raise DifferentCrystalsError(_explain_mismatch(one, two, f"the second has no {SYMBOLS[number]} at ({at})"))
        free.remove(candidates[int(distances.argmin())])
        largest = max(largest, float(distances.min()))
    return largest


def _refuse_other_cell(one: Crystal, two: Crystal) -> None:
    lengths = np.linalg.norm(two.lattice, axis=1)
    apart = np.abs(one.lattice @ one.lattice.T - two.lattice @ two.lattice.T)
    if (apart <= 2 * CELL_TOLERANCE * np.outer(lengths, lengths)).all():
        return
    order = order_of_axes(one, two) if len(one) == len(two) else None
    if order not in (None, SAME_ORDER):  # in the same order they differ by a little strain
        letters = "".join("abc"[axis] for axis in order)
        reason = f"the axes of the first in the order {letters} are those of the second"
        raise DifferentCrystalsError(_explain_mismatch(one, two, reason))
    sides = [" ".join(f"{x:.3f}" for x in np.linalg.norm(c.lattice, axis=1)) for c in (one, two)]
    angles = " or angles" if sides[0] == sides[1] else ""
    reason = f"the cells have sides{angles} of {sides[0]} and {sides[1]} Å"
    raise DifferentCrystalsError(_explain_mismatch(one, two, reason))


def _explain_mismatch(one: Crystal, two: Crystal, reason: str) -> str:
    return (
        f"{one.formula} and {two.formula} are not one crystal in one cell ({reason}), so their densities cannot be "
        "added or subtracted: give two densities of the same cell and atoms"
    )


def periodic_distances(lattice: Floats, frac_coords: Floats, point: Floats) -> Floats:
    """The distances in Å [n] of fractional positions [n, 3] from a point, each to its nearest periodic image."""
    vectors = frac_coords.reshape(-1, 3) - point
    vectors -= np.round(vectors)
    reach = np.linalg.norm(vectors @ lattice, axis=1).max(initial=0)  # no nearest image is farther away
    planes = 1 / np.linalg.norm(np.linalg.inv(lattice), axis=0)  # the distances of the lattice planes along a, b, c
    counts = np.floor(reach / planes + 0.5).astype(int)  # a skewed cell has nearest images behind several others
    shifts = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in counts), indexing="ij"), axis=-1).reshape(-1, 3)
    images: Floats = np.linalg.norm((vectors[:, None] + shifts) @ lattice, axis=2)
    return images.min(axis=1)


def same_orientation(one: Crystal, two: Crystal) -> bool:
    """Whether two crystals of one cell have it in the same orientation in space, within CELL_TOLERANCE."""
    lengths = np.linalg.norm(two.lattice, axis=1, keepdims=True)
    return bool((np.abs(one.lattice - two.lattice) <= 2 * CELL_TOLERANCE * lengths).all())


def same_crystal(one: Crystal, two: Crystal, tolerance: float = SAME_CELL) -> bool:
    """Whether two crystals have the same cell and the same atoms in the same order, within a tolerance as SAME_CELL."""
    if len(one) != len(two) or not (one.numbers == two.numbers).all():
        return False
    lengths = np.linalg.norm(two.lattice, axis=1, keepdims=True)
    shift = one.frac_coords - two.frac_coords
    return bool(
        (np.abs(one.lattice - two.lattice) <= tolerance * lengths).all()
        and (np.abs(shift - np.round(shift)) <= tolerance).all()
    )


def order_of_axes(pbe: Crystal, hse: Crystal) -> tuple[int, ...] | None:
    """The order of the first crystal's axes that makes it equal to the second; None where no order does.

    The orientation in space does not matter: SAME_ORDER is also that of a crystal that was turned.
    """
    for order in permutations(range(3)):
        lattice = pbe.lattice[list(order)]
        metric = np.abs(lattice @ lattice.T - hse.lattice @ hse.lattice.T)
        lengths = np.linalg.norm(hse.lattice, axis=1)
        moved = Crystal(hse.lattice, pbe.numbers, pbe.frac_coords[:, list(order)])
        if (metric <= 2 * SAME_CELL * np.outer(lengths, lengths)).all() and same_crystal(moved, hse):
            return order
    return None
