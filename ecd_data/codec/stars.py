"""Stars: sets of plane waves that symmetry makes equivalent, each with one representative, in the order of |k|."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ecd_data.codec import kernels
from ecd_data.codec.operations import Ints, Operations, Shape
from ecd_data.codec.waves import (
    Complexes,
    Metric,
    Waves,
    find_waves,
    find_waves_compiled,
    frequency_limits,
    largest_norm,
    norm_of_sphere,
    squared_norm,
)

NUMPY_SECONDS = 3e-7  # what a plane wave takes without numba: decides whether loading numba pays


@dataclass(frozen=True, eq=False)
class Stars:
    """One plane wave of each star without the mean, sorted by |k|^2 in the integer metric, then by flat index.

    k [s, 3]: the signed frequencies; norm [s]: |k|^2; size [s]: the number of plane waves in the star with their
    conjugates; turn [s]: the coefficient of a self-conjugate star is a real amplitude times exp(-pi i turn / period),
    and turn is -1 for the other stars.
    """

    operations: Operations
    k: Ints
    norm: Ints
    size: Ints
    turn: Ints

    @classmethod
    def within(cls, operations: Operations, metric: Metric, largest: int | None = None) -> Stars:
        """All stars whose representative has |k|^2 <= largest; all of the grid without `largest`."""
        largest = largest_norm(operations.shape, metric) if largest is None else largest
        low, high = _frequency_box(operations.shape, metric, largest)
        waves = float(np.prod([h - l + 1 for l, h in zip(low, high, strict=True)]))
        compiled = kernels.compiled_kernels(NUMPY_SECONDS * waves)
        find = _find_representatives if compiled is None else partial(_find_representatives_compiled, compiled[0])
        k, norm, place, size, turn = find(operations, metric, largest)
        order = np.lexsort((place, norm))
        return cls(operations, k[order], norm[order], size[order], turn[order])

    @classmethod
    def first(cls, operations: Operations, metric: Metric, count: int) -> Stars:
        """The first `count` stars, or all where the grid has fewer."""
        everything = largest_norm(operations.shape, metric)
        guess = norm_of_sphere(1.1 * _estimate_waves(count, operations) + 30, metric)
        while True:
            stars = cls.within(operations, metric, min(guess, everything))
            if len(stars) >= count or guess >= everything:
                return stars.head(count)
            guess = 3 * guess // 2 + 1

    def head(self, count: int) -> Stars:
        """The first `count` stars."""
        return Stars(self.operations, self.k[:count], self.norm[:count], self.size[:count], self.turn[:count])

    def __len__(self) -> int:
        return len(self.k)

    @cached_property
    def real(self) -> NDArray[np.bool_]:
        """Whether each star is self-conjugate, so that its coefficient is a real amplitude times `phase` [s]."""
        return self.turn >= 0

    @cached_property
    def phase(self) -> Complexes:
        """The phase factor of each star: that of self-conjugate stars, one for the others [s]."""
        period = self.operations.period
        return np.where(self.real, np.exp(-1j * np.pi * (self.turn / period)), 1.0)

    def amplitudes(self, coefficients: Complexes) -> Complexes:
        """The amplitudes of the stars: the coefficients [s] of their representatives divided by `phase`."""
        turned = coefficients * self.phase.conj()
        return np.where(self.real, turned.real, turned)

    @cached_property
    def waves(self) -> Waves:
        """The plane waves of all stars in the half space kc >= 0."""
        compiled = kernels.compiled_kernels(NUMPY_SECONDS * len(self) * len(self.operations))
        if compiled is None:
            return find_waves(self.k, self.operations)
        return find_waves_compiled(compiled[1], self.k, self.operations)

    def project(self, half: Complexes) -> Complexes:
        """The amplitudes of a half spectrum [a, b, c//2+1], averaged over the plane waves of each star [s]."""
        waves = self.waves
        a, b, c = waves.limits
        rows, columns = (np.r_[0 : m + 1, -m:0] if m else np.zeros(1, int) for m in (a, b))
        values = half[rows[:, None], columns, : c + 1].reshape(-1)[waves.index] * waves.phases.conj()
        own = np.where(waves.star < len(self), waves.star, waves.star - len(self))
        values.imag[waves.star >= len(self)] *= -1
        height = waves.index % (c + 1)
        weight = np.where((height == 0) | (2 * height == self.operations.shape[2]), 1.0, 2.0)  # 2 counts the conjugate
        total = np.zeros(len(self), dtype=np.complex128)
        total.real = np.bincount(own, weight * values.real, len(self))
        total.imag = np.bincount(own, weight * values.imag, len(self))
        return self.amplitudes(total / np.bincount(own, weight, len(self)))

    def block(self, amplitudes: Complexes, dtype: DTypeLike = np.complex128) -> NDArray[np.complexfloating]:
        """The block of a `Spectrum` whose stars have these amplitudes [s]; its mean is zero."""
        waves = self.waves
        a, b, c = waves.limits
        block = np.zeros((2 * a + 1, 2 * b + 1, c + 1), dtype=dtype)
        coefficients = (amplitudes * self.phase).astype(dtype)
        values = np.concatenate([coefficients, coefficients.conj()])[waves.star]
        if not waves.symmorphic:
            values *= waves.phases if dtype == np.complex128 else waves.coarse_phases
        block.reshape(-1)[waves.index] = values
        return self._share_nyquist(block)

    def _share_nyquist(self, block: NDArray[np.complexfloating]) -> NDArray[np.complexfloating]:
        """The block with each Nyquist amplitude divided equally between +n/2 and -n/2."""
        a, b, c = (m // 2 for m in self.operations.shape)
        for axis, middle in ((0, a), (1, b)):
            if 2 * middle == self.operations.shape[axis] and block.shape[axis] == 2 * middle + 1:
                turned = np.moveaxis(block, axis, 0)
                turned[middle] *= 0.5
                turned[-middle] = turned[middle]
        if 2 * c == self.operations.shape[2] and block.shape[2] == c + 1:
            block[:, :, c] *= 0.5
        return block


def _frequency_box(shape: Shape, metric: Metric, largest: int) -> tuple[list[int], list[int]]:
    """The lowest and highest frequencies along each axis of the half space with |k|^2 <= largest."""
    most = [min(n // 2, m) for n, m in zip(shape, frequency_limits(metric, largest), strict=True)]
    low = [0] + [max(-m, -((n - 1) // 2)) for n, m in zip(shape[1:], most[1:], strict=True)]
    return low, most


def _find_representatives_compiled(
    kernel: Callable[..., int], operations: Operations, metric: Metric, largest: int
) -> tuple[Ints, ...]:
    shape = operations.shape
    low, high = _frequency_box(shape, metric, largest)
    turns, period = operations.turns, operations.period
    middle = 9 * (max(shape) // 2 + 1)
    strides = (shape[1] * shape[2], shape[2], 1)
    offsets = np.array([np.arange(-middle, middle + 1) % n * s for n, s in zip(shape, strides, strict=True)])
    room = int(np.prod([h - l + 1 for l, h in zip(low, high, strict=True)]))
    k = np.empty((room, 3), dtype=np.int64)
    rest = [np.empty(room, dtype=np.int64) for _ in range(4)]
    count = kernel(
        np.array(low), np.array(high), np.array(metric), largest, operations.rotations, turns, period, offsets, middle,
        k, *rest,
    )  # fmt: skip
    return (k[:count].copy(), *(r[:count].copy() for r in rest))


def _find_representatives(operations: Operations, metric: Metric, largest: int) -> tuple[Ints, ...]:
    k, norm = _half_space(operations.shape, metric, largest)
    place = _flat_index(k, operations.shape)
    for rotation in operations.rotations:
        image = k @ rotation
        keep = (_flat_index(image, operations.shape) >= place) & (_flat_index(-image, operations.shape) >= place)
        if not keep.all():
            k, norm, place = k[keep], norm[keep], place[keep]
    fixed, turned, turn, absent = _find_stabiliser(operations, k, place)
    present = ~absent & (place > 0)
    size = 2 * len(operations) // (fixed + turned)
    return tuple(x[present] for x in (k, norm, place, size, np.where(turned > 0, turn, -1)))


def _half_space(shape: Shape, metric: Metric, largest: int) -> tuple[Ints, Ints]:
    """The frequencies [m, 3] of the half space with |k|^2 <= largest, and their |k|^2 [m]."""
    low, high = _frequency_box(shape, metric, largest)
    a, b, c = (np.arange(l, h + 1) for l, h in zip(low, high, strict=True))
    norm = squared_norm(metric, a[:, None, None], b[:, None], c)
    i, j, l = np.nonzero(norm <= largest)
    return np.stack([a[i], b[j], c[l]], axis=1), norm[i, j, l]


def _estimate_waves(count: int, operations: Operations) -> float:
    """The approximate number of plane waves of the first `count` stars, by Burnside's lemma for a sphere."""
    proper = np.rint(np.linalg.det(operations.rotations)) * operations.rotations.trace(axis1=1, axis2=2)
    mirrors, axes = np.count_nonzero(proper == -1), np.count_nonzero(proper != 3)
    target = 2.0 * len(operations) * count
    waves = target
    for _ in range(20):
        waves = max(1.0, target - 1.2 * mirrors * waves ** (2 / 3) - 1.2 * axes * waves ** (1 / 3)) * 0.5 + 0.5 * waves
    return waves


def _flat_index(k: Ints, shape: Shape) -> Ints:
    """The flat indices of frequencies [..., 3] in the full box [a, b, c]."""
    return (k[..., 0] % shape[0] * shape[1] + k[..., 1] % shape[1]) * shape[2] + k[..., 2] % shape[2]


def _find_stabiliser(operations: Operations, k: Ints, place: Ints) -> tuple[Ints, Ints, Ints, NDArray[np.bool_]]:
    """The numbers of operations that keep and that reverse each k, the turn of a reversing one, and where F(k) = 0."""
    shape = operations.shape
    fixed, turned, turn = (np.zeros(len(k), dtype=np.int64) for _ in range(3))
    absent = np.zeros(len(k), dtype=bool)
    shifts, period = operations.turns, operations.period
    for rotation, shift in zip(operations.rotations, shifts, strict=True):
        image = k @ rotation
        same, reverse = _flat_index(image, shape) == place, _flat_index(-image, shape) == place
        turns = k @ shift % period
        fixed += same
        turned += reverse
        absent |= same & (turns != 0)
        turn[reverse] = turns[reverse]
    return fixed, turned, turn, absent
