"""Compiled kernels of DeepDFT: all layers for one block of points, whose states stay in the cache.

A message is what an atom sends times functions of the distance. These are tabulated, so that an edge costs a few
multiplications for each channel and layer. The rest are matrix products on the block.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit
from torch import Tensor

from ecd_data.crystal import Crystal, Floats
from ecd_models.kernels import Decoder
from ecd_models.kernels.dense import (
    ROWS,
    Array,
    Channels,
    add_product,
    affine,
    flatten,
    make_aligned,
    read_out,
    sigmoid,
    split_into_tiles,
)
from ecd_models.kernels.edges import DEGREE, find_block_edges, quintic, sort_by_interval
from ecd_models.kernels.images import Images
from ecd_models.kernels.parallel import make_parallel_decoder
from ecd_models.kernels.radial import RadialTable
from ecd_models.kernels.simd import add, broadcast, div, fma, load, mul, splat, sqrt, store, sub
from ecd_models.networks.deepdft.model import BOUND, DeepDFT
from ecd_models.networks.deepdft.radial_table import radial_table

POINTS = 128  # in a block, whose states and intermediate results fit the cache of one core
INVERSE_BOUND = np.float32(1 / BOUND)
INEXACT = 1e-5  # largest error of a table that is used, of the largest value of a function


class Layers(NamedTuple):
    """The weights of the probe model of k layers with h channels, in flat arrays; names in _b are biases.

    table [k, h / 16, intervals, 6, 3, 16], `scale` intervals per Å: the functions that messages are multiplied by;
    sent [k, h / 16, atoms, 5, 16]; gate [k, h, 2h], gates [k, 2h, 2h]: scalar messages to gates;
    mixed [k, h, 2h]: vectors to Uv and Vv; combined [k, 2h, h], changes [k, h, 3h]: scalars and lengths to the changes
    of the states; readout [h, h], last [outputs, h].
    """

    depth: int
    channels: int
    table: Array
    scale: np.float32
    sent: Array
    gate: Array
    gate_b: Array
    gates: Array
    gates_b: Array
    mixed: Array
    combined: Array
    combined_b: Array
    changes: Array
    changes_b: Array
    readout: Array
    readout_b: Array
    last: Array
    last_b: Array
    bounded: bool


class Space(NamedTuple):
    """The working memory for a block of p points.

    state, message [4, p, h]: scalars and vectors; mixed [3, p, 2h]: Uv and Vv; product [p, h]: Uv.Vv;
    paired [p, 2h]: scalars and |Vv|; hidden [p, 2h]; change [p, 3h]; tile [p, 4, 16]: the messages of some channels.
    """

    state: Array
    message: Array
    mixed: Array
    product: Array
    paired: Array
    hidden: Array
    change: Array
    tile: Array

    @classmethod
    def of(cls, h: int) -> Space:
        """Memory for h channels, filled with zeros."""
        return cls(*(make_aligned(size * POINTS) for size in (4 * h, 4 * h, 6 * h, h, 2 * h, 2 * h, 3 * h, 4 * 16)))


def decoder(network: DeepDFT, sent: list[Tensor], crystal: Crystal) -> Decoder | None:
    """The outputs at fractional points; None where the radial functions are too steep for a table."""
    table = radial_table(network, degree=DEGREE)
    if table.error > INEXACT:
        return None
    layers = pack_layers(network, table, sent)
    images = Images.of(crystal, network.cutoff)

    def decode(points: Floats, space: Space, outputs: Array) -> None:
        _decode(points, images.sources, layers, space, outputs)

    return make_parallel_decoder(images, network.config.outputs, lambda: Space.of(layers.channels), decode)


def pack_layers(network: DeepDFT, table: RadialTable, sent: list[Tensor]) -> Layers:
    """The weights of the probe model and what the atoms send to it."""
    probe, count = network.probe_model, network.config.num_interactions
    channels = Channels.of(network.config.hidden_state_size)
    updates: list[Any] = list(probe.scalar_vector_update)
    return Layers(
        count,
        channels.padded_width,
        split_into_tiles(channels.pad(table.coefficients).reshape(table.intervals, DEGREE + 1, count, 3, -1), 2),
        np.float32(table.scale),
        split_into_tiles(channels.pad(torch.stack(sent)), 0),
        *channels.perceptrons([layer.update_gate_mlp for layer in probe.message_layers]),
        channels.matrices(torch.cat([update.linearU.weight, update.linearV.weight]) for update in updates),
        *channels.perceptrons([update.combined_mlp for update in updates]),
        channels.matrices([probe.readout_function[0].weight]),
        channels.vectors([probe.readout_function[0].bias]),
        channels.vectors([probe.readout_function[2].weight]),
        flatten([probe.readout_function[2].bias.detach().numpy()]),
        network.config.bounded,
    )


@njit(nogil=True, cache=True)
def _decode(points: Any, where: Any, layers: Any, space: Any, outputs: Any) -> None:
    chosen, h = np.empty(len(where[0]), np.int32), layers.channels
    table, sent = layers.table.reshape(layers.depth, -1), layers.sent.reshape(layers.depth, -1)
    intervals = table.shape[1] // (3 * (DEGREE + 1) * h)
    for first in range(0, len(points), POINTS):
        block = points[first : first + POINTS]
        edges = sort_by_interval(find_block_edges(block, where, intervals, layers.scale, chosen), intervals)
        rows = -(-len(block) // ROWS) * ROWS
        space.state[:] = 0
        for k in range(layers.depth):
            _receive(edges, table[k], sent[k], space, rows, h)
            _mix_messages(space, layers, k, rows, h)
            _update(space, layers, k, rows, h)
        _read_out(space, layers, rows, h, outputs[first : first + POINTS])


@njit(nogil=True)
def _receive(edges: Any, table: Any, sent: Any, x: Any, rows: int, h: int) -> None:
    """Set the messages [4, rows, h] to sums over all edges, 16 channels at a time."""
    table_at, sent_at = 0, 0
    for column in range(0, h, 16):
        x.tile[: rows * 64] = 0
        _add_messages(edges, table, table_at, sent, sent_at, x.tile)
        for part in range(4):
            for row in range(rows):
                store(x.message, (part * rows + row) * h + column, load(x.tile, row * 64 + part * 16, 16))
        table_at, sent_at = table_at + len(table) * 16 // h, sent_at + len(sent) * 16 // h


@njit(nogil=True)
def _load_coefficients(table: Any, k: int) -> Any:
    return (
        load(table, k, 16),
        load(table, k + 48, 16),
        load(table, k + 96, 16),
        load(table, k + 144, 16),
        load(table, k + 192, 16),
        load(table, k + 240, 16),
    )


@njit(nogil=True)
def _evaluate(c: Any, t: Any) -> Any:
    return quintic(c[0], c[1], c[2], c[3], c[4], c[5], t)


@njit(nogil=True)
def _add_messages(edges: Any, table: Any, table_at: int, sent: Any, sent_at: int, sums: Any) -> None:
    """Add the messages of all edges to the sums [rows, 4, 16]; table_at, sent_at: first numbers of these channels."""
    point, sender, vec, used, begins, ts = edges
    dx, dy, dz = vec[0], vec[1], vec[2]
    for run in range(len(used)):
        k = table_at + used[run] * 288
        a, b, c = _load_coefficients(table, k), _load_coefficients(table, k + 16), _load_coefficients(table, k + 32)
        for e in range(begins[run], begins[run + 1]):
            j, i, t = sent_at + sender[e] * 80, point[e] * 64, broadcast(ts, e, 16)
            vector, scalar = _evaluate(a, t), _evaluate(c, t)
            along = mul(_evaluate(b, t), load(sent, j + 64, 16))
            store(sums, i, fma(load(sent, j, 16), scalar, load(sums, i, 16)))
            x = fma(along, broadcast(dx, e, 16), load(sums, i + 16, 16))
            y = fma(along, broadcast(dy, e, 16), load(sums, i + 32, 16))
            z = fma(along, broadcast(dz, e, 16), load(sums, i + 48, 16))
            store(sums, i + 16, fma(load(sent, j + 16, 16), vector, x))
            store(sums, i + 32, fma(load(sent, j + 32, 16), vector, y))
            store(sums, i + 48, fma(load(sent, j + 48, 16), vector, z))


@njit(nogil=True)
def _silu(x: Any, count: int) -> None:
    for i in range(0, count, 16):
        value = load(x, i, 16)
        store(x, i, mul(value, sigmoid(value)))


@njit(nogil=True)
def _mix_messages(x: Any, w: Any, layer: int, rows: int, h: int) -> None:
    """Mix the states with the messages by gates."""
    affine(x.message, w.gate, w.gate_b, layer, x.hidden, rows, h, 2 * h)
    _silu(x.hidden, rows * 2 * h)
    affine(x.hidden, w.gates, w.gates_b, layer, x.change, rows, 2 * h, 2 * h)
    plane = rows * h
    for row in range(rows):
        for c in range(0, h, 16):
            i, k = row * h + c, row * 2 * h + c
            new = load(x.message, i, 16)
            store(x.state, i, fma(sigmoid(load(x.change, k, 16)), sub(load(x.state, i, 16), new), new))
            gate = sigmoid(load(x.change, k + h, 16))
            for _ in range(3):
                i += plane
                new = load(x.message, i, 16)
                store(x.state, i, fma(gate, sub(load(x.state, i, 16), new), new))


@njit(nogil=True)
def _update(x: Any, w: Any, layer: int, rows: int, h: int) -> None:
    """Update the states of each point from its own scalars and vectors."""
    plane, scalars_only = rows * h, layer == w.depth - 1
    x.mixed[: 6 * plane] = 0
    add_product(x.state, plane, h, w.mixed, layer * 2 * h * h, 2 * h, x.mixed, 0, 2 * h, 3 * rows, h, 2 * h)
    if w.bounded:
        _contract_softly(x, rows, h)
    else:
        _contract(x, rows, h)
    affine(x.paired, w.combined, w.combined_b, layer, x.hidden, rows, 2 * h, h)
    _silu(x.hidden, plane)
    affine(x.hidden, w.changes, w.changes_b, layer, x.change, rows, h, 3 * h)
    for row in range(rows):
        for c in range(0, h, 16):
            i, k = row * h + c, row * 3 * h + c
            s = add(load(x.state, i, 16), load(x.change, k, 16))
            store(x.state, i, fma(load(x.change, k + h, 16), load(x.product, i, 16), s))
            if not scalars_only:
                stretch, u = load(x.change, k + 2 * h, 16), row * 2 * h + c
                for d in range(3):
                    i += plane
                    store(x.state, i, fma(stretch, load(x.mixed, u + 2 * d * plane, 16), load(x.state, i, 16)))


@njit(nogil=True)
def _contract(x: Any, rows: int, h: int) -> None:
    """Set the products Uv.Vv, and the scalars and lengths |Vv| next to each other."""
    for row in range(rows):
        for c in range(0, h, 16):
            dot = square = splat(np.float32(0), 16)
            for d in range(3):
                u = (d * rows + row) * 2 * h + c
                v = load(x.mixed, u + h, 16)
                dot, square = fma(load(x.mixed, u, 16), v, dot), fma(v, v, square)
            store(x.product, row * h + c, dot)
            store(x.paired, row * 2 * h + c, load(x.state, row * h + c, 16))
            store(x.paired, row * 2 * h + h + c, sqrt(square))


@njit(nogil=True)
def _soften(value: Any, size: Any) -> Any:
    return div(value, fma(size, splat(INVERSE_BOUND, 16), splat(np.float32(1), 16)))


@njit(nogil=True)
def _contract_softly(x: Any, rows: int, h: int) -> None:
    """Like `_contract`, with softened products and lengths, and soften Uv."""
    for row in range(rows):
        for c in range(0, h, 16):
            dot = square = u_square = splat(np.float32(0), 16)
            for d in range(3):
                i = (d * rows + row) * 2 * h + c
                u, v = load(x.mixed, i, 16), load(x.mixed, i + h, 16)
                dot, square, u_square = fma(u, v, dot), fma(v, v, square), fma(u, u, u_square)
            stretch, length = sqrt(u_square), sqrt(square)
            store(x.product, row * h + c, _soften(dot, mul(stretch, length)))
            store(x.paired, row * 2 * h + c, load(x.state, row * h + c, 16))
            store(x.paired, row * 2 * h + h + c, _soften(length, length))
            for d in range(3):
                i = (d * rows + row) * 2 * h + c
                store(x.mixed, i, _soften(load(x.mixed, i, 16), stretch))


@njit(nogil=True)
def _read_out(x: Any, w: Any, rows: int, h: int, outputs: Any) -> None:
    affine(x.state, w.readout, w.readout_b, 0, x.hidden, rows, h, h)
    _silu(x.hidden, rows * h)
    read_out(x.hidden, w.last, w.last_b, h, outputs)
