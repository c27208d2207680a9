"""The plane waves of stars: their positions in a block of Fourier coefficients, and their squared lengths."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ecd_data.codec.operations import Ints, Operations, Shape
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


Complexes = NDArray[np.complex128]


@dataclass(frozen=True, eq=False)
class Waves:
    """The positions of plane waves in a block of a `Spectrum` with frequencies up to `limits` (A, B, C).

    index [w]: the flat index in the block; star [w]: the number of the star, plus the number of all stars where the
    coefficient is the conjugate; turn [w]: the coefficient is that of the star times exp(2 pi i turn / period).
    """

    limits: Shape
    index: NDArray[np.int32]
    star: NDArray[np.int32]
    turn: NDArray[np.int32]
    period: int

    @cached_property
    def symmorphic(self) -> bool:
        """Whether all turns are zero, so that no phases are needed."""
        return not self.turn.any()

    @cached_property
    def phases(self) -> Complexes:
        """exp(2 pi i turn / period) [w]."""
        return np.exp(2j * np.pi / self.period * np.arange(self.period))[self.turn]

    @cached_property
    def coarse_phases(self) -> NDArray[np.complex64]:
        """`phases` in single precision."""
        return self.phases.astype(np.complex64)


def _sign_frequencies(k: Ints, shape: Shape) -> Ints:
    """The frequencies [..., 3] modulo the grid, in the range -n/2 < k <= n/2."""
    n = np.array(shape)
    return (k + (n - 1) // 2) % n - (n - 1) // 2


def find_waves_compiled(kernel: Callable[..., int], k: Ints, operations: Operations) -> Waves:
    """The plane waves of the stars with representatives k [s, 3], by the compiled kernel `waves`."""
    turns, period = operations.turns, operations.period
    shape = operations.shape
    middle = 9 * (max(shape) // 2 + 1)
    axis = np.arange(-middle, middle + 1)
    signed = np.stack([(axis + (n - 1) // 2) % n - (n - 1) // 2 for n in shape])
    limits = np.zeros(3, dtype=np.int64)
    nothing = np.empty(0, dtype=np.int32)
    fixed = (k, operations.rotations, turns, period, signed, middle, np.array(shape), limits)
    kernel(*fixed, np.empty(0, dtype=np.bool_), nothing, nothing, nothing)
    a, b, c = limits.tolist()
    room = (2 * a + 1) * (2 * b + 1) * (c + 1)
    index, star, turn = (np.empty(room, dtype=np.int32) for _ in range(3))
    count = kernel(*fixed, np.zeros(room, dtype=np.bool_), index, star, turn)
    return Waves((a, b, c), index[:count].copy(), star[:count].copy(), turn[:count].copy(), period)


def find_waves(k: Ints, operations: Operations) -> Waves:
    """The plane waves of the stars with representatives k [s, 3], by NumPy."""
    turns, period = operations.turns, operations.period
    plus = _sign_frequencies(np.einsum("sj,hjk->hsk", k, operations.rotations), operations.shape)
    minus = np.where(2 * plus == np.array(operations.shape), plus, -plus)
    x, y, z = np.moveaxis(np.stack([plus, minus], axis=2), -1, 0)  # [h, s, 2] each
    a, b, c = np.abs(plus).reshape(-1, 3).max(axis=0, initial=0).tolist()
    index = ((x % (2 * a + 1)) * (2 * b + 1) + y % (2 * b + 1)) * (c + 1) + z
    steps = (turns @ k.T) % period
    turn = np.stack([steps, -steps % period], axis=-1)
    star = np.broadcast_to(np.arange(len(k))[:, None] + [0, len(k)], index.shape)
    up = z >= 0
    _, first = np.unique(index[up], return_index=True)
    first.sort()  # the order of `find_waves_compiled`: the order of sums decides their last bits
    columns = [m[up][first].astype(np.int32) for m in (index, star, turn)]
    return Waves((a, b, c), columns[0], columns[1], columns[2], period)
