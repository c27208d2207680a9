"""Averages of a density over planes, along the normal of the planes, and running averages of these."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ecd_data.arguments import real_number
from ecd_data.crystal import Floats
from ecd_data.density import Density
from ecd_data.errors import UsageError


@dataclass(frozen=True, eq=False)
class PlanarAverage:
    """The averages of a field over the planes of a grid that the lattice vector `axis` crosses.

    Attributes
    ----------
    axis : "a", "b" or "c".
    heights [n] : the heights of the planes in Å above the origin, along the normal of the planes.
    values [n] : the average over each plane in e/Å^3.
    period : the distance in Å after which the values repeat: the height of the cell along the normal.
    area : the area of one plane of the cell in Å^2.
    """

    axis: str
    heights: Floats
    values: Floats
    period: float
    area: float

    @property
    def electrons_per_length(self) -> Floats:
        """The averages times the area: electrons per Å along the normal [n]. Their mean times `period` is the count."""
        return self.values * self.area


def planar_average(rho: Density, axis: str = "c", field: str = "density") -> PlanarAverage:
    """The PlanarAverage of a density or magnetization over the planes that a lattice vector crosses.

    In an oblique cell the heights are those along the normal, which are shorter than the lattice vector.

    Parameters
    ----------
    rho : the density.
    axis : the lattice vector, "a", "b" or "c"; the planes contain the other two.
    field : "density" or "magnetization", which has to be collinear.

    Raises
    ------
    UsageError : there is no such axis or field, or the density has no collinear magnetization.
    """
    if axis not in ("a", "b", "c"):
        raise UsageError(f"there is no axis {axis!r}: give a, b or c")
    number = "abc".index(axis)
    others = tuple(k for k in range(3) if k != number)
    area = float(np.linalg.norm(np.cross(*rho.lattice[list(others)])))
    period = rho.crystal.volume / area
    values = _choose_field(rho, field).mean(axis=others)
    return PlanarAverage(axis, period * np.arange(len(values)) / len(values), values, period, area)


def macroscopic_average(rho: Density, *widths: float, axis: str = "c", field: str = "density") -> PlanarAverage:
    """The macroscopic average: the planar average, averaged once more over a length around each height.

    With one width w it is the running mean of the planar average p over w,

        m(z) = 1/w * integral of p(z') from z - w/2 to z + w/2,

    which removes the oscillations of a crystal whose planes repeat after w. At the interface of two crystals each
    side has its own period: with two widths the running mean over the second is taken of that over the first
    (Baldereschi, Baroni and Resta, Phys. Rev. Lett. 61, 734, 1988). The integral is exact for the Fourier
    interpolant of the grid, also for widths that are no multiple of the grid spacing.

    Parameters
    ----------
    rho : the density.
    widths : one or more lengths in Å along the normal of the planes, such as the distance of equal layers.
    axis, field : as for `planar_average`.

    Raises
    ------
    UsageError : as for `planar_average`; or there is no width, or one is not positive.
    """
    average = planar_average(rho, axis, field)
    if not widths:
        raise UsageError("a macroscopic average needs a width in Å, such as the distance of two equal layers")
    waves = np.fft.rfft(average.values)
    for width in widths:
        if real_number(width, "the width", "2.1") <= 0:
            raise UsageError(f"the width of a macroscopic average is a positive length in Å, not {width}")
        waves *= np.sinc(np.arange(len(waves)) * width / average.period)  # the Fourier transform of the box
    return replace(average, values=np.fft.irfft(waves, n=len(average.values)))


def _choose_field(rho: Density, field: str) -> Floats:
    if field == "density":
        return rho.values
    if field != "magnetization":
        raise UsageError(f"there is no field {field!r}: give 'density' or 'magnetization'")
    if rho.magnetization is None or rho.magnetization.ndim != 3:
        has = "no magnetization" if rho.magnetization is None else "three components of the magnetization"
        raise UsageError(f"the density has {has}: an average needs one with a collinear magnetization")
    return rho.magnetization
