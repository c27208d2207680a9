"""Tables of radial functions: polynomials on equal intervals, as many as the functions need."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ecd_data.crystal import Floats

DEGREE = 3  # of the polynomials by default
TOLERANCE = 2e-7  # largest error, of the largest value of each function: about the rounding of float32
MIN_INTERVALS, MAX_INTERVALS = 64, 8192  # functions that need more are not smooth enough for a table
PROBES = 7  # distances in each interval at which the table is compared with the function


class RadialTable(NamedTuple):
    """A table of c functions of the distance r, from 0 to `cutoff` Å.

    coefficients [intervals, degree + 1, c]: of 1, t, t^2, ... with t = r * scale - (k + 1/2) on interval
    k = floor(r * scale).
    error: the largest deviation at the compared distances, relative to the largest value of the function.
    """

    coefficients: Floats
    cutoff: float
    error: float

    @property
    def intervals(self) -> int:
        """The number of intervals."""
        return len(self.coefficients)

    @property
    def scale(self) -> float:
        """Intervals per Å."""
        return self.intervals / self.cutoff

    def __call__(self, r: Floats) -> Floats:
        """The values [n, c] of the functions at distances r [n] in Å."""
        x = np.asarray(r, dtype=np.float64) * self.scale
        k = np.clip(x.astype(np.int64), 0, self.intervals - 1)
        t = (x - k - 0.5)[:, None]
        values = self.coefficients[k, -1]
        for power in range(self.coefficients.shape[1] - 2, -1, -1):
            values = self.coefficients[k, power] + t * values
        return values


def tabulate(
    functions: Callable[[Floats], Floats],
    cutoff: float,
    tolerance: float = TOLERANCE,
    degree: int = DEGREE,
) -> RadialTable:
    """A table of functions; the number of its intervals is doubled until the error is at most `tolerance`.

    At MAX_INTERVALS intervals the table is returned with a larger error, since the functions are not smooth enough; the
    caller decides by its `error` whether to use it.

    Parameters
    ----------
    functions : map distances in Å [n] to values [n, c].
    cutoff : the largest distance in Å.
    tolerance : the error relative to the largest value of each function.
    degree : the degree of the polynomials.
    """
    intervals = MIN_INTERVALS
    while True:
        table = _fit(functions, cutoff, intervals, degree)
        if table.error <= tolerance or 2 * intervals > MAX_INTERVALS:
            return table
        intervals *= 2


def _fit(functions: Callable[[Floats], Floats], cutoff: float, intervals: int, degree: int) -> RadialTable:
    # Chebyshev nodes give nearly the best polynomial
    nodes = np.cos(np.pi * (np.arange(degree + 1) + 0.5) / (degree + 1)) / 2
    probes = np.linspace(-0.5, 0.5, PROBES)

    def values(t: NDArray[np.float64]) -> Floats:
        r = (np.arange(intervals)[:, None] + 0.5 + t) * (cutoff / intervals)
        return functions(np.clip(r, 0, cutoff).ravel()).reshape(intervals, len(t), -1)

    inverse = np.linalg.inv(np.vander(nodes, increasing=True))
    coefficients = inverse @ values(nodes)
    exact = values(probes)
    powers = np.vander(probes, degree + 1, increasing=True)
    deviation = np.abs(powers @ coefficients - exact).max(axis=(0, 1))
    largest = np.abs(exact).max(axis=(0, 1))
    error = float((deviation / np.where(largest > 0, largest, 1)).max(initial=0))
    return RadialTable(coefficients, cutoff, error)
