"""The edges to a block of points, and where their distances lie in a table of functions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from ecd_models.kernels.images import find_edges, near_images
from ecd_models.kernels.simd import fma

DEGREE = 5  # of the polynomials in a table; with a lower one the table would need more intervals and not fit the cache
SHORTEST = 1e-12  # Å: shorter edges have no direction


@njit(nogil=True)
def block_edges(points: Any, where: Any, intervals: int, scale: np.float32, chosen: Any) -> Any:
    """All edges to points [p, 3] in Å: point [e], sender [e], direction [3, e], interval [e] and t [e].

    They are ordered by sender. interval and t are their places in a table of `intervals`, `scale` per Å, see
    `ecd_models.kernels.radial`. where: positions in Å [i, 3], atoms [i] and largest distance in Å of the images;
    chosen [i] is overwritten.
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
        interval[e] = min(int(r * scale), intervals - 1)
        t[e] = r * scale - np.float32(interval[e]) - np.float32(0.5)
        inverse = np.float32(1) / max(np.float32(r), np.float32(SHORTEST))
        vec[0, e], vec[1, e], vec[2, e] = x * inverse, y * inverse, z * inverse
    return point[:edges], sender[:edges], vec, interval, t


@njit(nogil=True)
def by_interval(edges: Any, intervals: int) -> Any:
    """The edges ordered by interval, so that the coefficients of an interval are loaded once for all its edges.

    In place of the interval of each edge: the intervals that have edges [n], and where these begin and end [n + 1].
    """
    point, sender, vec, interval, t = edges
    to = np.zeros(intervals + 1, np.int64)
    for k in interval:
        to[k + 1] += 1
    for k in range(intervals):
        to[k + 1] += to[k]
    used, begins, runs = np.empty(intervals, np.int64), np.empty(intervals + 1, np.int64), 0
    for k in range(intervals):
        if to[k + 1] > to[k]:
            used[runs], begins[runs] = k, to[k]
            runs += 1
    begins[runs] = len(point)
    new_vec, new_t = np.empty((3, len(point)), np.float32), np.empty_like(t)
    new_point, new_sender = np.empty_like(point), np.empty_like(sender)
    for e in range(len(point)):
        k = to[interval[e]]
        to[interval[e]] += 1
        new_point[k], new_sender[k], new_t[k] = point[e], sender[e], t[e]
        for axis in range(3):
            new_vec[axis, k] = vec[axis, e]
    return new_point, new_sender, new_vec, used[:runs], begins[: runs + 1], new_t


@njit(nogil=True)
def quintic(a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, t: Any) -> Any:
    """a + b t + c t^2 + d t^3 + e t^4 + f t^5."""
    return fma(fma(fma(fma(fma(f, t, e), t, d), t, c), t, b), t, a)
