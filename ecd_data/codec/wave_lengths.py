"""The lengths of plane waves in integers, so that no floating point decides their order."""

from __future__ import annotations

import numpy as np

from ecd_data.codec.operations import Ints, Shape
from ecd_data.crystal import Floats

METRIC_BITS = 24
LATTICE_BITS = 20

Metric = tuple[int, int, int, int, int, int]


def integer_metric(lattice: Floats) -> Metric:
    """The reciprocal lattice's Gram matrix (aa, bb, cc, bc, ac, ab), in integers whose largest has METRIC_BITS bits.

    Exact from the lattice [3, 3] rounded to LATTICE_BITS bits, so that every machine gets the same.
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
    """|k|^2 in the integer metric."""
    aa, bb, cc, bc, ac, ab = metric
    return aa * a**2 + bb * b**2 + cc * c**2 + 2 * (bc * b * c + ac * a * c + ab * a * b)


def direct_gram(metric: Metric) -> Floats | None:
    aa, bb, cc, bc, ac, ab = map(float, metric)
    gram = np.array([[aa, ab, ac], [ab, bb, bc], [ac, bc, cc]])
    volume = np.linalg.det(gram)
    return np.linalg.inv(gram) if volume > 1e-9 * max(aa, bb, cc) ** 3 else None


def limits(metric: Metric, largest: int) -> list[int]:
    """The largest |frequency| along each axis that |k|^2 <= largest allows."""
    direct = direct_gram(metric)
    if direct is None:
        return [1 << 30] * 3
    return [int(np.sqrt(largest * direct[i, i]) * (1 + 1e-9) + 1e-6) for i in range(3)]


def largest_norm(shape: Shape, metric: Metric) -> int:
    aa, bb, cc, bc, ac, ab = map(abs, metric)
    a, b, c = (n // 2 for n in shape)
    return aa * a * a + bb * b * b + cc * c * c + 2 * (bc * b * c + ac * a * c + ab * a * b)


def norm_that_holds(waves: float, metric: Metric) -> int:
    """|k|^2 of the sphere with about so many plane waves."""
    direct = direct_gram(metric)
    if direct is None:
        return 1 << 60
    density = np.sqrt(np.linalg.det(direct))
    return int((3 * waves / (4 * np.pi * density)) ** (2 / 3)) + 1
