"""The squared lengths |k|^2 of wave vectors in integers, so that rounding cannot change their order."""

from __future__ import annotations

import numpy as np

from ecd_data.codec.operations import Ints, Shape
from ecd_data.crystal import Floats

METRIC_BITS = 24  # of the largest entry of the metric: sums of |k|^2 fit 64-bit integers
LATTICE_BITS = 20  # to which the lattice is rounded first

Metric = tuple[int, int, int, int, int, int]


def integer_metric(lattice: Floats) -> Metric:
    """The Gram matrix (aa, bb, cc, bc, ac, ab) of the reciprocal lattice, as integers of up to METRIC_BITS bits.

    It is computed in integers from the lattice [3, 3] rounded to LATTICE_BITS bits, so every machine gets the same.
    """
    scaled = np.rint(lattice / np.abs(lattice).max() * 2.0**LATTICE_BITS).astype(np.int64).tolist()
    a, b, c = scaled
    cross = [_cross(b, c), _cross(c, a), _cross(a, b)]
    pairs = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
    gram = [sum(x * y for x, y in zip(cross[i], cross[j], strict=True)) for i, j in pairs]
    shift = max(0, max(map(abs, gram)).bit_length() - METRIC_BITS)
    return tuple((g + (1 << shift >> 1)) >> shift for g in gram)  # type: ignore[return-value]


def _cross(u: list[int], v: list[int]) -> list[int]:
    return [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]]


def squared_norm(metric: Metric, a: Ints, b: Ints, c: Ints) -> Ints:
    """|k|^2 of the frequencies (a, b, c) in the integer metric."""
    aa, bb, cc, bc, ac, ab = metric
    return aa * a**2 + bb * b**2 + cc * c**2 + 2 * (bc * b * c + ac * a * c + ab * a * b)


def invert_metric(metric: Metric) -> Floats | None:
    """The Gram matrix [3, 3] of the direct lattice; None where the metric is singular."""
    aa, bb, cc, bc, ac, ab = map(float, metric)
    gram = np.array([[aa, ab, ac], [ab, bb, bc], [ac, bc, cc]])
    volume = np.linalg.det(gram)
    return np.linalg.inv(gram) if volume > 1e-9 * max(aa, bb, cc) ** 3 else None


def frequency_limits(metric: Metric, largest: int) -> list[int]:
    """The largest |frequency| along each axis of all k with |k|^2 <= largest."""
    direct = invert_metric(metric)
    if direct is None:
        return [1 << 30] * 3
    return [int(np.sqrt(largest * direct[i, i]) * (1 + 1e-9) + 1e-6) for i in range(3)]


def largest_norm(shape: Shape, metric: Metric) -> int:
    """An upper bound of |k|^2 for all frequencies of a grid."""
    aa, bb, cc, bc, ac, ab = map(abs, metric)
    a, b, c = (n // 2 for n in shape)
    return aa * a * a + bb * b * b + cc * c * c + 2 * (bc * b * c + ac * a * c + ab * a * b)


def norm_of_sphere(waves: float, metric: Metric) -> int:
    """The |k|^2 of a sphere that holds about `waves` plane waves."""
    direct = invert_metric(metric)
    if direct is None:
        return 1 << 60
    density = np.sqrt(np.linalg.det(direct))
    return int((3 * waves / (4 * np.pi * density)) ** (2 / 3)) + 1
