"""Checks of the crystal: whether its atoms lie apart as atoms do."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ecd_data.checks.report import Report, flag
from ecd_data.density import Density
from ecd_data.formats.structure import THINNEST, closest_pair

NEAREST = 0.6  # Å; the shortest bond there is, H-H, has 0.74


def check_atoms(rho: Density) -> Iterator[Report]:
    """The two atoms nearest to each other, images among them."""
    crystal = rho.crystal
    if not len(crystal):
        return
    thickness = 1 / np.linalg.norm(np.linalg.inv(crystal.lattice), axis=0)
    if thickness.min() < THINNEST:
        yield flag("close-atoms", f"the cell is {thickness.min():.2g} Å thick")
        return
    pair = closest_pair(crystal)
    if pair is not None and pair[2] < NEAREST:
        first, second, distance = pair
        names = f"{crystal.symbols[first]}{first + 1} and {crystal.symbols[second]}{second + 1}"
        yield flag("close-atoms", f"{names} are {distance:.2f} Å apart: another unit, or one site of several elements")
