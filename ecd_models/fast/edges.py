"""The edges of a block of points, and functions of their distances from tables."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from ecd_models.fast.images import find_edges, near_images
from ecd_models.fast.simd import fma, load

SHORTEST = 1e-12  # Å: shorter edges have no direction


@njit(nogil=True)
def block_edges(points: Any, where: Any, intervals: int, scale: np.float32, chosen: Any) -> Any:
    """All edges to the points [p, 3] in Å from the images `where`: positions [i, 3], atoms [i], reach in Å.

    point and sender [e], ordered by sender; direction [3, e]; interval and t [e]: where they are in a table of
    `intervals`, `scale` of them per Å, see `ecd_models.fast.radial`. `chosen` [i] is written to.
    """
    positions, atoms, reach = where
    count = near_images(points, 0, len(points), positions, reach, chosen)
    most = count * len(points)
    vec = np.empty((3, most), np.float32)
    point, sender = np.empty(most, np.int32), np.empty(most, np.int32)
    _, edges = find_edges(
        points, 0, len(points), positions, atoms, reach, chosen, 0, count, vec, point, sender
    )  # fmt: skip
    interval, t = np.empty(edges, np.int32), np.empty(edges, np.float32)
    for e in range(edges):
        x, y, z = vec[0, e], vec[1, e], vec[2, e]
        r = np.sqrt(x * x + y * y + z * z)
        interval[e] = min(np.int32(r * scale), intervals - 1)
        t[e] = r * scale - np.float32(interval[e]) - np.float32(0.5)
        inverse = np.float32(1) / max(r, np.float32(SHORTEST))
        vec[0, e], vec[1, e], vec[2, e] = x * inverse, y * inverse, z * inverse
    return point[:edges], sender[:edges], vec, interval, t


@njit(nogil=True)
def cubic(table: Any, k: int, step: int, t: Any) -> Any:
    """The polynomials in t whose coefficients are at k, k + step, ... for 16 channels."""
    high = fma(load(table, k + 3 * step, 16), t, load(table, k + 2 * step, 16))
    return fma(fma(high, t, load(table, k + step, 16)), t, load(table, k, 16))
