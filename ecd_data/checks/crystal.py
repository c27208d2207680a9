"""Checks of the crystal: the distances of its atoms."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ecd_data.checks.report import Report, flag
from ecd_data.density import Density
from ecd_data.formats.structure import MIN_THICKNESS, closest_pair

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
