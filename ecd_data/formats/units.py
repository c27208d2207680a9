"""Which unit a file's densities are in, where its format leaves that open."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ecd_data.crystal import Floats

BOHR = 0.529177210903  # Å, CODATA 2018
PER_BOHR3, PER_ANGSTROM3 = "e/bohr^3", "e/Å^3"
WHOLE = 0.01  # how near to a whole number an electron count is on a fine grid


def density_unit(values: Floats, volume: float, numbers: NDArray) -> str:
    """PER_BOHR3 or PER_ANGSTROM3: the one that makes the more plausible electron count.

    A count is plausible if it is at most the nuclear charge, more so if it is whole, and then the larger one, since
    the smaller is 6.7 times less.
    """
    electrons = float(values.mean()) * volume
    counts = {PER_ANGSTROM3: electrons, PER_BOHR3: electrons / BOHR**3}
    nuclear = 1.05 * float(np.sum(numbers)) + 1

    def plausible(unit: str) -> tuple[bool, bool, float]:
        count = counts[unit]
        held = not numbers.all() or count <= nuclear
        return held, held and count > 0.5 and abs(count - round(count)) < WHOLE, count if held else -count

    return max(counts, key=plausible)
