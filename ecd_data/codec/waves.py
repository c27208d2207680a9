"""The positions of the plane waves of stars in a block of Fourier coefficients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ecd_data.codec.operations import Ints, Operations, Shape

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
