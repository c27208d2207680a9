"""The edges to a block of points, and the intervals of a table of functions in which their distances lie."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from ecd_models.kernels.images import find_edges, find_near_images
from ecd_models.kernels.simd import fma

DEGREE = 5  # of the polynomials in a table; with a lower one the table would need more intervals and not fit the cache
SHORTEST = 1e-12  # Å: shorter edges have no direction


@njit(nogil=True)
def find_block_edges(points: Any, where: Any, intervals: int, scale: np.float32, chosen: Any) -> Any:
    """All edges to points [p, 3] in Å: point [e], sender [e], direction [3, e], interval [e] and t [e].

    They are ordered by sender.

    Parameters
    ----------
    points : positions in Å [p, 3].
    where : positions in Å [i, 3], atoms [i] and largest distance in Å of the images.
    intervals, scale : the number of intervals of the table, and intervals per Å, see `ecd_models.kernels.radial`.
    chosen : working memory [i].
    """
    positions, atoms, reach = where
    count = find_near_images(points, 0, len(points), positions, reach, chosen)
    capacity = count * len(points)
    vec = np.empty((3, capacity), np.float32)
    point, sender = np.empty(capacity, np.int32), np.empty(capacity, np.int32)
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
def sort_by_interval(edges: Any, intervals: int) -> Any:
    """The edges ordered by interval, so that the coefficients of an interval are loaded once for all its edges.

    The interval of each edge is replaced by the intervals that have edges [n] and the positions of these [n + 1].
    """
    point, sender, vec, interval, t = edges
    to = np.zeros(intervals + 1, np.int64)
    for k in interval:
        to[k + 1] += 1
    for k in range(intervals):
        to[k + 1] += to[k]
    used, begins, count = np.empty(intervals, np.int64), np.empty(intervals + 1, np.int64), 0
    for k in range(intervals):
        if to[k + 1] > to[k]:
            used[count], begins[count] = k, to[k]
            count += 1
    begins[count] = len(point)
    new_vec, new_t = np.empty((3, len(point)), np.float32), np.empty_like(t)
    new_point, new_sender = np.empty_like(point), np.empty_like(sender)
    for e in range(len(point)):
        k = to[interval[e]]
        to[interval[e]] += 1
        new_point[k], new_sender[k], new_t[k] = point[e], sender[e], t[e]
        for axis in range(3):
            new_vec[axis, k] = vec[axis, e]
    return new_point, new_sender, new_vec, used[:count], begins[: count + 1], new_t


@njit(nogil=True)
def quintic(a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, t: Any) -> Any:
    """a + b t + c t^2 + d t^3 + e t^4 + f t^5."""
    return fma(fma(fma(fma(fma(f, t, e), t, d), t, c), t, b), t, a)
