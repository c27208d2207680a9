"""ChargE3Net and invChargE3Net at many points: all that an edge adds to a point goes through registers only.

The radial functions of all layers are read from one table. The edges of a block of points are sorted by its intervals,
so that an interval's coefficients are loaded once for all of them, and 32 channels are summed for the whole block
before the next 32, so that what they need stays in the cache next to the processor. Then follow the layers, block by
block. Per edge that is about (3 + 2l+1 + 1) multiplications a channel instead of the radial perceptron.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from ecd_data.crystal import Crystal, Floats
from ecd_models.fast import Decoder
from ecd_models.fast.dense import COLUMNS, ROWS, add_product, aligned, odd_stride, padded, round_up
from ecd_models.fast.harmonics import LMAX, harmonics
from ecd_models.fast.images import Images, find_edges, near_images
from ecd_models.fast.parallel import share
from ecd_models.fast.radial import DEGREE, RadialTable, tabulate
from ecd_models.fast.simd import add, broadcast, div, exp, fma, load, mul, splat, store, sub
from ecd_models.networks.charge3net import ChargE3Net
from ecd_models.networks.layers import SILU_SCALE

BLOCK = 128  # points that go through all steps together
PIECE = 16 * BLOCK  # points that a thread takes at a time
CAPACITY = 4096 + 16  # edges that are summed together; not a power of two, whose multiples share places in the cache
TOLERANCE, ACCEPTED = 2e-6, 2e-5  # of the largest value of a radial function


class Tiles(NamedTuple):
    """Channels of one l side by side: 32, or 16 where no more are left.

    where [tiles, 5]: l, channels, first column of the sums, first numbers in `table` and `field`;
    table: per tile [intervals, 4, channels]; field: per tile [atoms, 2l+1, channels].
    """

    where: NDArray[np.int64]
    table: NDArray[np.float32]
    field: NDArray[np.float32]
    stride: int


class Layers(NamedTuple):
    """What follows the sums; k layers with s scalars in `columns` columns, a row every `width` numbers.

    blocks [k, lmax + 1, 2]: first column of the sums and number of channels of each l; lin2 [k, channels, width] with
    a tenth of lin3 in column s; sc [k, s, width], zero for the first layer; readout [outputs, columns].
    """

    blocks: NDArray[np.int64]
    lin2: NDArray[np.float32]
    sc: NDArray[np.float32]
    readout: NDArray[np.float32]
    outputs: int
    channels: int
    scalars: int
    columns: int
    width: int


def decoder(network: ChargE3Net, features: list[Tensor], crystal: Crystal) -> Decoder | None:
    """Fractional points [n, 3] to densities in e/Å^3 [n], or with more outputs [n, outputs]; None for l > 4."""
    if network.config.lmax > LMAX:
        return None
    table = _radial_table(network)
    if table.error > ACCEPTED:
        return None
    channels = network.config.channels
    columns = [round_up(mul * len(features), COLUMNS) for mul in channels]
    first = np.concatenate([[0], np.cumsum(columns)])
    tiles = _tiles(network, features, table, first)
    layers = _layers(network, first)
    images = Images.of(crystal, network.cutoff)
    outputs = layers.outputs

    def decode(frac_points: Floats) -> NDArray[np.float32]:
        points = images.points(frac_points)
        result = np.empty((len(points), outputs), np.float32)

        def worker() -> Callable[[int, int], None]:
            space = _workspace(tiles, layers, len(images.positions), table.intervals)
            where = points, images.positions, images.atoms, images.reach
            return lambda start, stop: _decode(start, stop, where, table.scale, tiles, layers, space, result)

        share(len(points), PIECE, worker)
        return result[:, 0] if outputs == 1 else result

    return decode


def _radial_table(network: Any) -> RadialTable:
    """The radial functions of all layers, layer by layer."""
    basis = copy.deepcopy(network.basis).double()
    perceptrons = [copy.deepcopy(layer.radial).double() for layer in network.decoder.layers]

    @torch.no_grad()
    def functions(r: Floats) -> Floats:
        values = basis(torch.from_numpy(r))
        return torch.cat([perceptron(values) for perceptron in perceptrons], dim=1).numpy()

    return tabulate(functions, network.cutoff, TOLERANCE)


def _tiles(network: Any, features: list[Tensor], radial: RadialTable, first: NDArray[np.int64]) -> Tiles:
    channels = network.config.channels
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
    table, field = aligned(table_size), aligned(field_size)
    np.concatenate(tables, out=table)
    np.concatenate(sent_tiles, out=field)
    return Tiles(np.array(where, np.int64), table, field, odd_stride(int(first[-1])))


def _layers(network: Any, first: NDArray[np.int64]) -> Layers:
    channels, layers = network.config.channels, list(network.decoder.layers)
    scalars, total = channels[0], sum(channels)
    columns = round_up(scalars + 1, COLUMNS)
    width = odd_stride(columns)
    lin2, sc = aligned(len(layers) * total * width), aligned(len(layers) * scalars * width)
    for k, layer in enumerate(layers):
        both = np.concatenate([_array(layer.lin2), 0.1 * _array(layer.lin3)[:, None]], axis=1) / np.sqrt(total)
        lin2.reshape(-1, total, width)[k] = padded(both, width)
        if layer.sc is not None:
            sc.reshape(-1, scalars, width)[k] = padded(_array(layer.sc) * (SILU_SCALE / np.sqrt(scalars)), width)
    blocks = np.array([[(first[l] + k * n, n) for l, n in enumerate(channels)] for k in range(len(layers))])
    readout = _array(network.decoder.readout).reshape(scalars, -1) * (SILU_SCALE / np.sqrt(scalars))
    return Layers(
        blocks, lin2, sc, padded(readout.T, columns).ravel(), readout.shape[1], total, scalars, columns, width
    )


def _array(weight: Any) -> Floats:
    return weight.detach().double().numpy()


class Workspace(NamedTuple):
    """What a thread writes to, see `_decode`."""

    chosen: NDArray[np.int64]
    vec: NDArray[np.float32]
    point: NDArray[np.int32]
    sender: NDArray[np.int32]
    interval: NDArray[np.int32]
    offset: NDArray[np.float32]
    counts: NDArray[np.int64]
    runs: NDArray[np.int64]
    sorted_vec: NDArray[np.float32]
    sorted_point: NDArray[np.int32]
    sorted_sender: NDArray[np.int32]
    sorted_offset: NDArray[np.float32]
    y: NDArray[np.float32]
    sums: NDArray[np.float32]
    new: NDArray[np.float32]
    kept: NDArray[np.float32]
    state: NDArray[np.float32]


def _workspace(tiles: Tiles, layers: Layers, images: int, intervals: int) -> Workspace:
    def ints() -> NDArray[np.int32]:
        return aligned(CAPACITY, np.int32)

    def vectors(rows: int) -> NDArray[np.float32]:
        return aligned(rows * CAPACITY).reshape(rows, CAPACITY)

    return Workspace(
        chosen=np.empty(images, np.int64),
        vec=vectors(3),
        point=ints(),
        sender=ints(),
        interval=ints(),
        offset=aligned(CAPACITY),
        counts=np.empty(intervals + 1, np.int64),
        runs=np.empty((min(intervals, CAPACITY) + 1, 2), np.int64),
        sorted_vec=vectors(3),
        sorted_point=ints(),
        sorted_sender=ints(),
        sorted_offset=aligned(CAPACITY),
        y=aligned((int(tiles.where[:, 0].max()) + 1) ** 2 * CAPACITY),
        sums=aligned(BLOCK * tiles.stride),
        new=aligned(BLOCK * layers.width),
        kept=aligned(BLOCK * layers.width),
        state=aligned(BLOCK * layers.width),
    )


@njit(nogil=True)
def _sort(scale: float, intervals: int, stride: int, edges: int, space: Any) -> int:
    """Sort edges by interval of the radial table; how many intervals have any, listed in `space.runs`."""
    vec, counts = space.vec, space.counts
    counts[:] = 0
    for e in range(edges):
        x, y, z = np.float64(vec[0, e]), np.float64(vec[1, e]), np.float64(vec[2, e])
        r = np.sqrt(x * x + y * y + z * z)
        k = min(int(r * scale), intervals - 1)
        space.interval[e] = k
        space.offset[e] = r * scale - k - 0.5
        counts[k] += 1
        inverse = 1 / max(r, 1e-12)
        vec[0, e], vec[1, e], vec[2, e] = x * inverse, y * inverse, z * inverse
    runs, start = 0, 0
    for k in range(intervals):
        count = counts[k]
        counts[k] = start
        if count:
            space.runs[runs, 0], space.runs[runs, 1] = k, start
            runs += 1
        start += count
    space.runs[runs, 1] = edges
    for e in range(edges):
        k = space.interval[e]
        to = counts[k]
        counts[k] += 1
        space.sorted_point[to], space.sorted_sender[to] = space.point[e] * stride, space.sender[e]
        space.sorted_offset[to] = space.offset[e]
        for axis in range(3):
            space.sorted_vec[axis, to] = vec[axis, e]
    return runs


def _accumulator(l: int, width: int) -> Callable[..., Any]:
    first, components = l * l, 2 * l + 1

    @njit(nogil=True)
    def accumulate(runs: int, tiles: Any, column: int, table: int, field: int, space: Any) -> None:
        senders, points, offsets, y, sums = (
            space.sorted_sender,
            space.sorted_point,
            space.sorted_offset,
            space.y,
            space.sums,
        )
        for run in range(runs):
            at = table + space.runs[run, 0] * (4 * width)
            a, b = load(tiles.table, at, width), load(tiles.table, at + width, width)
            c, d = load(tiles.table, at + 2 * width, width), load(tiles.table, at + 3 * width, width)
            for e in range(space.runs[run, 1], space.runs[run + 1, 1]):
                t = broadcast(offsets, e, width)
                radial = fma(fma(fma(d, t, c), t, b), t, a)
                x = field + senders[e] * (components * width)
                sent = load(tiles.field, x, width)
                if l > 0:
                    sent = mul(sent, broadcast(y, first * CAPACITY + e, width))
                    for m in range(1, components):
                        part = load(tiles.field, x + m * width, width)
                        sent = fma(part, broadcast(y, (first + m) * CAPACITY + e, width), sent)
                to = points[e] + column
                store(sums, to, fma(sent, radial, load(sums, to, width)))

    return accumulate


_wide0, _wide1, _wide2, _wide3, _wide4 = (_accumulator(l, 32) for l in range(LMAX + 1))
_narrow0, _narrow1, _narrow2, _narrow3, _narrow4 = (_accumulator(l, 16) for l in range(LMAX + 1))


@njit(nogil=True)
def _accumulate(runs: int, tiles: Any, space: Any) -> None:
    """Add what the sorted edges give to the sums of their points, tile by tile."""
    for tile in range(len(tiles.where)):
        l, width, column, table, field = tiles.where[tile]
        if width == 32:
            if l == 0:
                _wide0(runs, tiles, column, table, field, space)
            elif l == 1:
                _wide1(runs, tiles, column, table, field, space)
            elif l == 2:
                _wide2(runs, tiles, column, table, field, space)
            elif l == 3:
                _wide3(runs, tiles, column, table, field, space)
            else:
                _wide4(runs, tiles, column, table, field, space)
        elif l == 0:
            _narrow0(runs, tiles, column, table, field, space)
        elif l == 1:
            _narrow1(runs, tiles, column, table, field, space)
        elif l == 2:
            _narrow2(runs, tiles, column, table, field, space)
        elif l == 3:
            _narrow3(runs, tiles, column, table, field, space)
        else:
            _narrow4(runs, tiles, column, table, field, space)


@njit(nogil=True)
def _mix(row: int, layers: Any, first: bool, space: Any) -> None:
    """The state of a point: SiLU of the messages rotated with the state before, without its scale."""
    angle = np.float64(space.new[row + layers.scalars])
    sin, cos = splat(np.float32(np.sin(angle)), 16), splat(np.float32(np.cos(angle)), 16)
    zero, one = splat(np.float32(0), 16), splat(np.float32(1), 16)
    for column in range(row, row + layers.columns, 16):
        value = mul(sin, load(space.new, column, 16))
        if not first:
            value = fma(cos, load(space.kept, column, 16), value)
        store(space.state, column, div(value, add(one, exp(sub(zero, value)))))


@njit(nogil=True)
def _read_out(points: int, start: int, layers: Any, space: Any, result: Any) -> None:
    for p in range(points):
        for output in range(result.shape[1]):
            total = splat(np.float32(0), 16)
            for s in range(0, layers.columns, 16):
                weight = load(layers.readout, output * layers.columns + s, 16)
                total = fma(weight, load(space.state, p * layers.width + s, 16), total)
            store(space.new, 0, total)
            result[start + p, output] = space.new[:16].sum()


@njit(nogil=True)
def _dense(points: int, start: int, stride: int, layers: Any, space: Any, result: Any) -> None:
    """The layers and the readout, from the sums of a block of points."""
    width, columns, scalars = layers.width, layers.columns, layers.scalars
    rows = -(-points // ROWS) * ROWS
    for k in range(len(layers.blocks)):
        space.new[: rows * width] = 0
        before = k * layers.channels * width
        for l in range(layers.blocks.shape[1]):
            column, count = layers.blocks[k, l]
            add_product(
                space.sums, column, stride, layers.lin2, before, width, space.new, 0, width, rows, count, columns
            )
            before += count * width
        if k > 0:
            space.kept[: rows * width] = 0
            sc = k * scalars * width
            add_product(space.state, 0, width, layers.sc, sc, width, space.kept, 0, width, rows, scalars, columns)
        for p in range(rows):
            _mix(p * width, layers, k == 0, space)
    _read_out(points, start, layers, space, result)


@njit(nogil=True, cache=True)
def _decode(start: int, stop: int, where: Any, scale: float, tiles: Any, layers: Any, space: Any, result: Any) -> None:
    """Set result[start:stop] for the points start..stop."""
    points, positions, atoms, reach = where
    lmax = layers.blocks.shape[1] - 1
    y = space.y.reshape(-1, CAPACITY)
    for first in range(start, stop, BLOCK):
        last = min(first + BLOCK, stop)
        space.sums[:] = 0
        count = near_images(points, first, last, positions, reach, space.chosen)
        begin = 0
        while begin < count:
            begin, edges = find_edges(
                points,
                first,
                last,
                positions,
                atoms,
                reach,
                space.chosen,
                begin,
                count,
                space.vec,
                space.point,
                space.sender,
            )
            runs = _sort(scale, len(space.counts) - 1, tiles.stride, edges, space)
            if lmax > 0:
                harmonics(lmax, space.sorted_vec, edges, y)
            _accumulate(runs, tiles, space)
        _dense(last - first, first, tiles.stride, layers, space, result)
