"""Compiled kernels of ChargE3Net and invChargE3Net: all layers for one block of points, which fits the cache.

The module `messages` sums over edges for all layers at once. The layers follow, block by block.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from ecd_data.crystal import Crystal, Floats
from ecd_models.kernels import Decoder
from ecd_models.kernels.dense import COLUMNS, ROWS, Array, add_product, make_aligned, odd_stride, pad_columns, round_up
from ecd_models.kernels.edges import find_block_edges, sort_by_interval
from ecd_models.kernels.harmonics import LMAX
from ecd_models.kernels.images import Images
from ecd_models.kernels.parallel import make_parallel_decoder
from ecd_models.kernels.simd import add, div, exp, fma, load, mul, splat, store, sub
from ecd_models.networks.charge3net.layers import SILU_SCALE
from ecd_models.networks.charge3net.messages import add_messages, split_into_tiles
from ecd_models.networks.charge3net.model import ChargE3Net
from ecd_models.networks.charge3net.radial_table import radial_table

POINTS = 128  # in a block, which goes through all steps together
EDGES = 64  # of a point, for whose harmonics there is space; a block with more allocates memory
# Error of the table that is aimed at, and that is accepted, of the largest value of a radial function
TOLERANCE, ACCEPTED = 2e-6, 2e-5


class Layers(NamedTuple):
    """The weights of k layers after the sums, with s scalars in `columns` columns, and `width` numbers from row to row.

    blocks [k, lmax + 1, 2]: first column of the sums and number of channels of each l; lin2 [k, channels, width] with
    a tenth of lin3 in column s; sc [k, s, width], zero for the first layer; readout [outputs, columns].
    """

    blocks: NDArray[np.int64]
    lin2: NDArray[np.float32]
    sc: NDArray[np.float32]
    readout: NDArray[np.float32]
    channels: int
    scalars: int
    columns: int
    width: int


class Space(NamedTuple):
    """The working memory for a block of p points: harmonics, sums of all layers [p, stride], and [p, width] each of

    new: the new part of a state, from messages; kept: the part kept of the state before; state: the state.
    """

    harmonics: Array
    sums: Array
    new: Array
    kept: Array
    state: Array


def decoder(network: ChargE3Net, features: list[Tensor], crystal: Crystal) -> Decoder | None:
    """A function from fractional points to outputs; None for lmax > 4 or radial functions too steep for a table.

    features: what `encode` of the network returned for the atoms of the crystal.
    """
    if network.config.lmax > LMAX:
        return None
    table = radial_table(network, tolerance=TOLERANCE)
    if table.error > ACCEPTED:
        return None
    channels = network.config.channels
    first = np.cumsum([0, *(round_up(mul * len(features), COLUMNS) for mul in channels)])
    tiles, layers = split_into_tiles(channels, features, table, first), _layers(network, first)
    images = Images.of(crystal, network.cutoff)

    def space() -> Space:
        sizes = (len(channels) ** 2 * EDGES, tiles.stride, layers.width, layers.width, layers.width)
        return Space(*(make_aligned(POINTS * size) for size in sizes))

    def decode(points: Floats, space: Space, outputs: Array) -> None:
        _decode(points, images.sources, table.intervals, np.float32(table.scale), tiles, layers, space, outputs)

    return make_parallel_decoder(images, network.config.outputs, space, decode)


def _layers(network: Any, first: NDArray[np.int64]) -> Layers:
    channels, layers = network.config.channels, list(network.decoder.layers)
    scalars, total = channels[0], sum(channels)
    columns = round_up(scalars + 1, COLUMNS)
    width = odd_stride(columns)
    lin2, sc = make_aligned(len(layers) * total * width), make_aligned(len(layers) * scalars * width)
    for k, layer in enumerate(layers):
        both = np.concatenate([_to_numpy(layer.lin2), 0.1 * _to_numpy(layer.lin3)[:, None]], axis=1) / np.sqrt(total)
        lin2.reshape(-1, total, width)[k] = pad_columns(both, width)
        if layer.sc is not None:
            sc.reshape(-1, scalars, width)[k] = pad_columns(
                _to_numpy(layer.sc) * (SILU_SCALE / np.sqrt(scalars)), width
            )
    blocks = np.array([[(first[l] + k * n, n) for l, n in enumerate(channels)] for k in range(len(layers))])
    readout = _to_numpy(network.decoder.readout).reshape(scalars, -1) * (SILU_SCALE / np.sqrt(scalars))
    return Layers(blocks, lin2, sc, pad_columns(readout.T, columns).ravel(), total, scalars, columns, width)


def _to_numpy(weight: Any) -> Floats:
    return weight.detach().double().numpy()


@njit(nogil=True)
def _mix_states(row: int, layers: Any, first: bool, space: Any) -> None:
    """Set the state of a point to SiLU(sin(angle) new + cos(angle) kept), without the scale of the SiLU."""
    angle = np.float64(space.new[row + layers.scalars])
    sin, cos = splat(np.float32(np.sin(angle)), 16), splat(np.float32(np.cos(angle)), 16)
    zero, one = splat(np.float32(0), 16), splat(np.float32(1), 16)
    for column in range(row, row + layers.columns, 16):
        value = mul(sin, load(space.new, column, 16))
        if not first:
            value = fma(cos, load(space.kept, column, 16), value)
        store(space.state, column, div(value, add(one, exp(sub(zero, value)))))


@njit(nogil=True)
def _read_out(layers: Any, space: Any, outputs: Any) -> None:
    for p in range(len(outputs)):
        for output in range(outputs.shape[1]):
            total = splat(np.float32(0), 16)
            for s in range(0, layers.columns, 16):
                weight = load(layers.readout, output * layers.columns + s, 16)
                total = fma(weight, load(space.state, p * layers.width + s, 16), total)
            store(space.new, 0, total)
            outputs[p, output] = space.new[:16].sum()


@njit(nogil=True)
def _dense(points: int, stride: int, layers: Any, space: Any) -> None:
    """Set the states after the last layer from the sums of a block of points."""
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
            _mix_states(p * width, layers, k == 0, space)


@njit(nogil=True, cache=True)
def _decode(
    points: Any, where: Any, intervals: int, scale: Any, tiles: Any, layers: Any, space: Any, outputs: Any
) -> None:
    """Set the outputs [p, k] at the points [p, 3] in Å."""
    chosen = np.empty(len(where[0]), np.int32)
    for first in range(0, len(points), POINTS):
        block = points[first : first + POINTS]
        space.sums[:] = 0
        edges = sort_by_interval(find_block_edges(block, where, intervals, scale, chosen), intervals)
        add_messages(edges, tiles, space.harmonics, space.sums)
        _dense(len(block), tiles.stride, layers, space)
        _read_out(layers, space, outputs[first : first + POINTS])
