"""Linear maps with biases for compiled functions; channels are padded with zeros to the width of a register."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ecd_models.kernels.dense import COLUMNS, add_product, make_aligned, round_up
from ecd_models.kernels.simd import add, div, exp, load, splat, store, sub

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
