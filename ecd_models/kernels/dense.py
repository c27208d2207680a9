"""Matrix products on blocks of points that stay in the cache, for compiled functions.

A matrix is a part of a one-dimensional array: the array, the index of its first number, the step from row to row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ecd_models.kernels.simd import add, broadcast, div, exp, fma, load, splat, store, sub

ROWS = 8  # of the left matrix that are processed together: the sums of 8 rows by 32 columns fill the registers
COLUMNS = 16  # the number of columns is a multiple of this
INNER = 192  # rows of the right matrix that are processed together: with 32 columns they fit the first-level cache


def make_aligned(size: int) -> NDArray[np.float32]:
    """An array of zeros [size] that begins at a cache line."""
    count = 4 * size
    raw = np.zeros(count + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + count].view(np.float32)


def pad_columns(matrix: NDArray[Any], columns: int | None = None) -> NDArray[np.float32]:
    """A matrix padded with zeros to `columns` columns or the next multiple of COLUMNS, aligned [rows, columns]."""
    width = columns or round_up(matrix.shape[1], COLUMNS)
    result = make_aligned(matrix.shape[0] * width).reshape(matrix.shape[0], width)
    result[:, : matrix.shape[1]] = matrix
    return result


def round_up(number: int, multiple: int) -> int:
    """The smallest multiple of `multiple` that is not less than the number."""
    return -(-number // multiple) * multiple


def odd_stride(columns: int) -> int:
    """A step from row to row of at least `columns`, an odd number of cache lines, so that rows use different sets."""
    lines = round_up(columns, COLUMNS) // COLUMNS
    return (lines + 1 - lines % 2) * COLUMNS


def _make_multiplier(width: int) -> Callable[..., Any]:
    """A compiled function that adds the product of 8 rows and `width` columns to a matrix."""

    @njit(nogil=True)
    def multiply(a: Any, i: int, lda: int, b: Any, j: int, ldb: int, c: Any, k: int, ldc: int, inner: int) -> None:
        c0, c1 = load(c, k, width), load(c, k + ldc, width)
        c2, c3 = load(c, k + 2 * ldc, width), load(c, k + 3 * ldc, width)
        c4, c5 = load(c, k + 4 * ldc, width), load(c, k + 5 * ldc, width)
        c6, c7 = load(c, k + 6 * ldc, width), load(c, k + 7 * ldc, width)
        for n in range(inner):
            row = load(b, j + n * ldb, width)
            c0 = fma(broadcast(a, i + n, width), row, c0)
            c1 = fma(broadcast(a, i + n + lda, width), row, c1)
            c2 = fma(broadcast(a, i + n + 2 * lda, width), row, c2)
            c3 = fma(broadcast(a, i + n + 3 * lda, width), row, c3)
            c4 = fma(broadcast(a, i + n + 4 * lda, width), row, c4)
            c5 = fma(broadcast(a, i + n + 5 * lda, width), row, c5)
            c6 = fma(broadcast(a, i + n + 6 * lda, width), row, c6)
            c7 = fma(broadcast(a, i + n + 7 * lda, width), row, c7)
        store(c, k, c0)
        store(c, k + ldc, c1)
        store(c, k + 2 * ldc, c2)
        store(c, k + 3 * ldc, c3)
        store(c, k + 4 * ldc, c4)
        store(c, k + 5 * ldc, c5)
        store(c, k + 6 * ldc, c6)
        store(c, k + 7 * ldc, c7)

    return multiply


_wide, _narrow = _make_multiplier(32), _make_multiplier(16)


@njit(nogil=True)
def add_product(
    a: Any, i: int, lda: int, b: Any, j: int, ldb: int, c: Any, k: int, ldc: int, rows: int, inner: int, columns: int
) -> None:
    """Add a b to c [rows, columns] for a [rows, inner] and b [inner, columns].

    `rows` is a multiple of ROWS, `columns` of COLUMNS. Each matrix is an array, the index of its first number and its
    step from row to row, which is best an `odd_stride`.
    """
    wide = columns // 32 * 32
    for begin in range(0, inner, INNER):
        depth = min(INNER, inner - begin)
        left, right = i + begin, j + begin * ldb
        for column in range(0, wide, 32):
            for row in range(0, rows, ROWS):
                _wide(a, left + row * lda, lda, b, right + column, ldb, c, k + row * ldc + column, ldc, depth)
        if wide < columns:
            for row in range(0, rows, ROWS):
                _narrow(a, left + row * lda, lda, b, right + wide, ldb, c, k + row * ldc + wide, ldc, depth)


Array = NDArray[np.float32]


class Channels(NamedTuple):
    """The layout of arrays whose last axis has groups of `width` channels, each padded to `padded_width`."""

    width: int
    padded_width: int

    @classmethod
    def of(cls, width: int) -> Channels:
        """The layout that pads `width` channels to the next multiple of the width of a register."""
        return cls(width, round_up(width, COLUMNS))

    def pad(self, array: ArrayLike) -> NDArray[Any]:
        """The array with its last axis padded."""
        array = np.asarray(array)
        parts = array.reshape(*array.shape[:-1], -1, self.width)
        parts = np.pad(parts, [(0, 0)] * (parts.ndim - 1) + [(0, self.padded_width - self.width)])
        return parts.reshape(*array.shape[:-1], -1)

    def vectors(self, tensors: Iterable[Tensor]) -> Array:
        """The values of tensors of one shape, one after the other, with their last axes padded."""
        return flatten([self.pad(t.detach().numpy()) for t in tensors])

    def matrices(self, tensors: Iterable[Tensor]) -> Array:
        """The values of weights [out, in], one after the other, each as [in, out] with both axes padded."""
        return flatten([self.pad(self.pad(t.detach().numpy()).T) for t in tensors])

    def perceptrons(self, sequences: Sequence[Any]) -> tuple[Array, Array, Array, Array]:
        """Weights and biases of the first, then of the last linear map of each perceptron."""
        maps = [[sequence[k] for sequence in sequences] for k in (0, -1)]
        first, last = ((self.matrices(x.weight for x in each), self.vectors(x.bias for x in each)) for each in maps)
        return *first, *last


def flatten(arrays: Sequence[NDArray[Any]] | NDArray[Any]) -> Array:
    """The values of arrays of one shape, one after the other, as aligned float32."""
    numbers = np.stack(list(arrays)).ravel()
    result = make_aligned(numbers.size)
    result[:] = numbers
    return result


def split_into_tiles(array: NDArray[Any], layer: int) -> Array:
    """The values of an array [..., h] in the order [layers, h / 16, ..., 16]; `layer` is the axis of its layers."""
    tiles = np.stack(np.split(array, array.shape[-1] // 16, axis=-1))
    return flatten(np.moveaxis(tiles, layer + 1, 0))


@njit(nogil=True)
def affine(x: Any, weights: Any, biases: Any, k: int, y: Any, rows: int, inner: int, columns: int) -> None:
    """Set y [rows, columns] to x w + b for x [rows, inner], with the k-th of several weights w and biases b."""
    for row in range(rows):
        for column in range(0, columns, 16):
            store(y, row * columns + column, load(biases, k * columns + column, 16))
    add_product(x, 0, inner, weights, k * inner * columns, columns, y, 0, columns, rows, inner, columns)


@njit(nogil=True)
def read_out(x: Any, weights: Any, biases: Any, h: int, outputs: Any) -> None:
    """Set outputs [p, k] to w x + b for x [p, h] and w [k, h]."""
    for p in range(len(outputs)):
        for k in range(len(biases)):
            total = np.float64(biases[k])
            for c in range(h):
                total += x[p * h + c] * weights[k * h + c]
            outputs[p, k] = total


@njit(nogil=True)
def sigmoid(x: Any) -> Any:
    """1 / (1 + e^-x) of a vector of 16."""
    one = splat(np.float32(1), 16)
    return div(one, add(one, exp(sub(splat(np.float32(0), 16), x))))
