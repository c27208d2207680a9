"""Compiled sums of spherical atoms for all plane waves of a grid: one table of |G| for each element."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ecd_data.crystal import Crystal, Floats
from ecd_models.networks.fourier_density.kernel import Array, in_threads
from ecd_models.networks.fourier_density.plane_waves import Shape


@njit(nogil=True, fastmath=True)
def _add_rows(
    begin: int, end: int, shape: Any, reciprocal: Any, longest: float, pa: Any, pb: Any, real: Any, imag: Any,
    starts: Any, table: Any, per_q: float, out: Any,
) -> None:  # fmt: skip
    """Add the atoms to out [a, b, c // 2 + 1, 2] for rows of waves; atoms of element z are starts[z]..starts[z + 1]."""
    count, last = shape[2] // 2 + 1, table.shape[1] - 2
    at, part = np.zeros(count, np.int64), np.zeros(count, np.float32)
    sums = np.zeros((2, count), np.float32)
    for place in range(begin, end):
        ia, ib = place // shape[1], place % shape[1]
        ka = ia if 2 * ia < shape[0] else ia - shape[0]
        kb = ib if 2 * ib < shape[1] else ib - shape[1]
        inside = 0
        for kc in range(count):
            x = ka * reciprocal[0, 0] + kb * reciprocal[1, 0] + kc * reciprocal[2, 0]
            y = ka * reciprocal[0, 1] + kb * reciprocal[1, 1] + kc * reciprocal[2, 1]
            z = ka * reciprocal[0, 2] + kb * reciprocal[1, 2] + kc * reciprocal[2, 2]
            q = np.sqrt(x * x + y * y + z * z)
            t = q * per_q if q < longest else np.float64(last)
            inside += q < longest
            at[kc] = min(int(t), last)
            part[kc] = np.float32(t - at[kc])
        if not inside:
            continue
        for z in range(len(starts) - 1):
            sums[:, :] = 0
            for a in range(starts[z], starts[z + 1]):
                re = pa[ia, a, 0] * pb[ib, a, 0] - pa[ia, a, 1] * pb[ib, a, 1]
                im = pa[ia, a, 0] * pb[ib, a, 1] + pa[ia, a, 1] * pb[ib, a, 0]
                for kc in range(count):
                    sums[0, kc] += re * real[a, kc] - im * imag[a, kc]
                    sums[1, kc] += re * imag[a, kc] + im * real[a, kc]
            for kc in range(count):
                low = table[z, at[kc]]
                f = low + part[kc] * (table[z, at[kc] + 1] - low)
                out[ia, ib, kc, 0] += f * sums[0, kc]
                out[ia, ib, kc, 1] += f * sums[1, kc]


def add_spherical(crystal: Crystal, shape: Shape, table: Floats, longest: float, out: Array) -> None:
    """Add spherical atoms to the plane waves of a grid, out [a, b, c // 2 + 1, 2].

    Of waves at half the sampling rate, G and -G are one: what they share is the real part.

    Parameters
    ----------
    crystal : the crystal, whose atoms are taken element by element.
    shape : points of the grid along a, b and c.
    table : the transform of each element in the order of np.unique(crystal.numbers), for |G| from 0 to `longest`, where
        it ends with zeros [elements, rows].
    longest : |G| in 1/Å beyond which nothing is added.
    out : what is added to.
    """
    order = np.argsort(crystal.numbers, kind="stable")
    starts = np.append(0, np.cumsum(np.unique(crystal.numbers, return_counts=True)[1]))
    pa, pb, pc = (_phases(crystal.frac_coords[order, axis], shape[axis], half=axis == 2) for axis in range(3))
    real, imag = (np.ascontiguousarray(pc[:, :, part].T) for part in range(2))
    single: NDArray[np.float32] = table.astype(np.float32)
    per_q = (table.shape[1] - 1) / longest

    def work(begin: int, end: int) -> None:
        _add_rows(begin, end, shape, crystal.reciprocal, longest, pa, pb, real, imag, starts, single, per_q, out)

    in_threads(shape[0] * shape[1], work)


def _phases(positions: Floats, points: int, half: bool) -> Array:
    """Cosine and sine of -G.a along an axis, or its half [points, n, 2]."""
    k = np.arange(points // 2 + 1) if half else np.rint(np.fft.fftfreq(points, 1 / points))
    angle = -2 * np.pi * np.outer(k, positions)
    phases = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    phases[2 * abs(k) == points, :, 1] = 0
    return phases.astype(np.float32)
