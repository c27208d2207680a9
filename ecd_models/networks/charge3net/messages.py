"""Messages of ChargE3Net from atoms to points, summed over edges in the registers of the processor.

The radial functions of all layers are read from one table. The edges of a block of points are ordered by its intervals,
so that an interval's coefficients are loaded once for all of them, and 32 channels are summed for the whole block
before the next 32, so that what they need stays in the cache next to the processor. Per edge that is about
(3 + 2l+1 + 1) multiplications a channel instead of the radial perceptron.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from ecd_models.kernels.dense import COLUMNS, make_aligned, odd_stride
from ecd_models.kernels.harmonics import LMAX, harmonics
from ecd_models.kernels.radial import DEGREE, RadialTable
from ecd_models.kernels.simd import broadcast, fma, load, mul, store


class Tiles(NamedTuple):
    """Tiles of 32 channels of one l, or of 16 where no more are left.

    where [tiles, 5]: l, channels, first column in the sums, first numbers in `table` and `field`;
    table: per tile [intervals, 4, channels]; field: per tile [atoms, 2l+1, channels].
    """

    where: NDArray[np.int64]
    table: NDArray[np.float32]
    field: NDArray[np.float32]
    stride: int


def split_into_tiles(
    channels: Sequence[int], features: list[Tensor], radial: RadialTable, first: NDArray[np.int64]
) -> Tiles:
    """The tiles of what atoms send, layer by layer.

    channels: the number of channels of each l; first: the first column in the sums for each l.
    """
    atoms, total = features[0].shape[0], sum(channels)
    coefficients = np.zeros((radial.intervals, DEGREE + 1, first[-1]), np.float32)
    fields = [np.zeros((atoms, 2 * l + 1, first[l + 1] - first[l]), np.float32) for l in range(len(channels))]
    for k, sent in enumerate(features):
        start = 0
        for l, count in enumerate(channels):
            own = slice(k * count, (k + 1) * count)
            coefficients[:, :, first[l] :][:, :, own] = radial.coefficients[:, :, k * total + start :][:, :, :count]
            fields[l][:, :, own] = sent[:, l * l : (l + 1) ** 2, start : start + count].detach().numpy()
            start += count
    where: list[tuple[int, ...]] = []
    tables, sent_tiles, table_size, field_size = [], [], 0, 0
    for l, field in enumerate(fields):
        column = 0
        while column < field.shape[2]:
            width = min(2 * COLUMNS, field.shape[2] - column)
            where.append((l, width, first[l] + column, table_size, field_size))
            tables.append(coefficients[:, :, first[l] + column :][:, :, :width].ravel())
            sent_tiles.append(field[:, :, column : column + width].ravel())
            table_size, field_size = table_size + tables[-1].size, field_size + sent_tiles[-1].size
            column += width
    table, field = make_aligned(table_size), make_aligned(field_size)
    np.concatenate(tables, out=table)
    np.concatenate(sent_tiles, out=field)
    return Tiles(np.array(where, np.int64), table, field, odd_stride(int(first[-1])))


def _accumulator(l: int, width: int) -> Callable[..., Any]:
    first, components = l * l, 2 * l + 1

    @njit(nogil=True)
    def accumulate(edges: Any, y: Any, tiles: Any, column: int, table: int, field: int, sums: Any) -> None:
        points, senders, _, used, begins, offsets = edges
        count = len(points)
        for run in range(len(used)):
            at = table + used[run] * (4 * width)
            a, b = load(tiles.table, at, width), load(tiles.table, at + width, width)
            c, d = load(tiles.table, at + 2 * width, width), load(tiles.table, at + 3 * width, width)
            for e in range(begins[run], begins[run + 1]):
                t = broadcast(offsets, e, width)
                radial = fma(fma(fma(d, t, c), t, b), t, a)
                x = field + senders[e] * (components * width)
                sent = load(tiles.field, x, width)
                if l > 0:
                    sent = mul(sent, broadcast(y, first * count + e, width))
                    for m in range(1, components):
                        part = load(tiles.field, x + m * width, width)
                        sent = fma(part, broadcast(y, (first + m) * count + e, width), sent)
                to = points[e] * tiles.stride + column
                store(sums, to, fma(sent, radial, load(sums, to, width)))

    return accumulate


_wide0, _wide1, _wide2, _wide3, _wide4 = (_accumulator(l, 32) for l in range(LMAX + 1))
_narrow0, _narrow1, _narrow2, _narrow3, _narrow4 = (_accumulator(l, 16) for l in range(LMAX + 1))


@njit(nogil=True)
def add_messages(edges: Any, tiles: Any, space: Any, sums: Any) -> None:
    """Add the messages of edges, ordered by interval, to the sums [points, stride] of their points, tile by tile.

    The harmonics are written to `space` where it is large enough.
    """
    lmax, vec = tiles.where[len(tiles.where) - 1, 0], edges[2]
    size = (lmax + 1) ** 2 * vec.shape[1]
    y = space[:size] if size <= len(space) else np.empty(size, np.float32)
    if lmax > 0:
        harmonics(lmax, vec, vec.shape[1], y.reshape(-1, vec.shape[1]))
    for tile in range(len(tiles.where)):
        l, width, column, table, field = tiles.where[tile]
        if width == 32:
            if l == 0:
                _wide0(edges, y, tiles, column, table, field, sums)
            elif l == 1:
                _wide1(edges, y, tiles, column, table, field, sums)
            elif l == 2:
                _wide2(edges, y, tiles, column, table, field, sums)
            elif l == 3:
                _wide3(edges, y, tiles, column, table, field, sums)
            else:
                _wide4(edges, y, tiles, column, table, field, sums)
        elif l == 0:
            _narrow0(edges, y, tiles, column, table, field, sums)
        elif l == 1:
            _narrow1(edges, y, tiles, column, table, field, sums)
        elif l == 2:
            _narrow2(edges, y, tiles, column, table, field, sums)
        elif l == 3:
            _narrow3(edges, y, tiles, column, table, field, sums)
        else:
            _narrow4(edges, y, tiles, column, table, field, sums)
