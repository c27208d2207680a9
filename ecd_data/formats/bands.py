"""Band gaps from the eigenvalues and occupations of a finished run."""

from __future__ import annotations

import numpy as np

from ecd_data.crystal import Floats


def band_gaps(energies: Floats, occupations: Floats) -> tuple[float, float] | None:
    """The band gap and the smallest direct gap in eV, both 0 for a metal; None where no band is empty or none occupied.

    A state counts as occupied if it is more than half full.

    Parameters
    ----------
    energies : energies in eV [spins, k-points, bands].
    occupations : occupations [spins, k-points, bands], up to 1, or up to 2 in a run without spin.
    """
    full = 2.0 if len(energies) == 1 and occupations.max(initial=0) > 1.01 else 1.0
    occupied = occupations > full / 2
    counts = occupied.sum(axis=2)
    if not occupied.any() or occupied.all(axis=2).any():
        return None
    tops = np.where(occupied, energies, -np.inf).max(axis=2)
    bottoms = np.where(occupied, np.inf, energies).min(axis=2)
    if (counts != counts[:, :1]).any():
        return 0.0, 0.0
    direct = float((bottoms.min(axis=0) - tops.max(axis=0)).min())
    return max(0.0, float(bottoms.min() - tops.max())), max(0.0, direct)
