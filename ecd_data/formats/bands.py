"""Band edges and gaps from the levels of a finished run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ecd_data.crystal import Floats


@dataclass(frozen=True)
class BandEdges:
    """The levels beside the gap on some k points, in eV.

    Attributes
    ----------
    top, bottom : the highest occupied and the lowest empty level.
    direct : the smallest distance of the two at one k point.
    """

    top: float
    bottom: float
    direct: float

    @property
    def gap(self) -> float:
        """The gap; 0 for a metal."""
        return max(0.0, self.bottom - self.top)

    @property
    def direct_gap(self) -> float:
        """The smallest direct gap; 0 for a metal."""
        return max(0.0, self.direct)

    def join(self, other: BandEdges) -> BandEdges:
        """The edges on the k points of both, whose levels must be those of the same density."""
        top, bottom = max(self.top, other.top), min(self.bottom, other.bottom)
        return BandEdges(top, bottom, min(self.direct, other.direct))


METAL = BandEdges(np.inf, -np.inf, -np.inf)  # also with whatever it is joined


def find_edges(tops: Floats, bottoms: Floats) -> BandEdges:
    """The BandEdges of the highest occupied and the lowest empty level of each k point [k] in eV."""
    return BandEdges(float(tops.max()), float(bottoms.min()), float((bottoms - tops).min()))


def find_band_edges(energies: Floats, occupations: Floats) -> BandEdges | None:
    """The BandEdges of a run; None where no band is empty or none occupied.

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
    if (counts != counts[:, :1]).any():
        return METAL
    tops = np.where(occupied, energies, -np.inf).max(axis=2)
    bottoms = np.where(occupied, np.inf, energies).min(axis=2)
    return find_edges(tops.max(axis=0), bottoms.min(axis=0))


def band_gaps(energies: Floats, occupations: Floats) -> tuple[float, float] | None:
    """The band gap and the smallest direct gap in eV, as in `find_band_edges`."""
    edges = find_band_edges(energies, occupations)
    return None if edges is None else (edges.gap, edges.direct_gap)
