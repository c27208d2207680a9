"""Compiled kernels of invDeepDFT: all layers for one block of points, whose states stay in the cache.

A message is a function of its sender and its receiver times a filter of their distance. Filters are tabulated. The
function is evaluated once for each pair of an atom and a point, for all images of the atom together, in matrix products
on some hundred pairs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit

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
from ecd_models.kernels.simd import add, broadcast, fma, load, mul, shifted_softplus, splat, store, sub
from ecd_models.networks.invdeepdft.model import InvDeepDFT, Sent
from ecd_models.networks.invdeepdft.radial_table import radial_table

POINTS = 128  # in a block, whose intermediate results fit the cache of one core
PAIRS = 256  # of an atom and a point in one matrix product
INEXACT = 1e-5  # largest error of a table that is used, of the largest value of a function


class Layers(NamedTuple):
    """The weights of the probe model of k layers with h channels, in flat arrays; names in _b are biases.

    table, scale : the filters [k, h / 16, intervals, 6, 16], and the intervals per Å.
    first_messages : the messages of the first layer without their filters [atoms, h].
    sent, receiver_weights, message_weights : the parts of the later messages: of atoms [k, atoms, 2h], the map of the
        points' states [k, h, 2h], and the last map [k, 2h, h].
    gate, gates, change, changes : the perceptrons of the old states and of the sums [k, h, h].
    first_gates : the gates of the first layer [h].
    readout, last : the perceptron of the output [h, h] and [outputs, h].
    """

    depth: int
    channels: int
    table: Array
    scale: np.float32
    first_messages: Array
    sent: Array
    receiver_weights: Array
    message_weights: Array
    message_weights_b: Array
    gate: Array
    gate_b: Array
    gates: Array
    gates_b: Array
    change: Array
    change_b: Array
    changes: Array
    changes_b: Array
    first_gates: Array
    readout: Array
    readout_b: Array
    last: Array
    last_b: Array


class Space(NamedTuple):
    """The working memory for a block of p points, with q pairs at a time.

    state, sums, hidden, new [p, h]; receiver_part [p, 2h]; pair_hidden [q, 2h]; messages [q, h].
    """

    state: Array
    sums: Array
    hidden: Array
    new: Array
    receiver_part: Array
    pair_hidden: Array
    messages: Array

    @classmethod
    def of(cls, h: int) -> Space:
        """Memory for h channels, filled with zeros."""
        sizes = (POINTS, POINTS, POINTS, POINTS, 2 * POINTS, 2 * PAIRS, PAIRS)
        return cls(*(make_aligned(size * h) for size in sizes))


def decoder(network: InvDeepDFT, sent: list[Sent], crystal: Crystal) -> Decoder | None:
    """The outputs at fractional points; None where the filters are too steep for a table."""
    table = radial_table(network, degree=DEGREE)
    if table.error > INEXACT:
        return None
    layers = _pack_layers(network, table, sent)
    images = Images.of(crystal, network.cutoff)

    def decode(points: Floats, space: Space, outputs: Array) -> None:
        _decode(points, images.sources, layers, space, outputs)

    return make_parallel_decoder(images, network.config.outputs, lambda: Space.of(layers.channels), decode)


@torch.no_grad()
def _pack_layers(network: InvDeepDFT, table: RadialTable, sent: list[Sent]) -> Layers:
    """The weights of the probe model and what the atoms send to it."""
    probe, config = network.probe_model, network.config
    width, channels = config.hidden_state_size, Channels.of(config.hidden_state_size)
    nodes: list[Any] = [message.msg_function_node for message in probe.messages]
    gates: list[Any] = list(probe.probe_state_gate_functions)
    messages = nodes[0][2](nodes[0][1](sent[0].state))
    first_gates = torch.sigmoid(gates[0](messages.new_zeros(width)))
    return Layers(
        config.num_interactions,
        channels.padded_width,
        split_into_tiles(
            channels.pad(table.coefficients).reshape(table.intervals, DEGREE + 1, config.num_interactions, -1), 2
        ),
        np.float32(table.scale),
        channels.vectors([messages]),
        channels.vectors(x.state for x in sent),
        channels.matrices(node[0].weight[:, width:] for node in nodes),
        channels.matrices(node[2].weight for node in nodes),
        channels.vectors(node[2].bias for node in nodes),
        *channels.perceptrons(gates),
        *channels.perceptrons(list(probe.probe_state_transition_functions)),
        channels.vectors([first_gates]),
        channels.matrices([probe.readout_function[0].weight]),
        channels.vectors([probe.readout_function[0].bias]),
        channels.vectors([probe.readout_function[2].weight]),
        flatten([probe.readout_function[2].bias.numpy()]),
    )


@njit(nogil=True, cache=True)
def _decode(points: Any, where: Any, layers: Any, space: Any, outputs: Any) -> None:
    chosen, h = np.empty(len(where[0]), np.int32), layers.channels
    table, sent = layers.table.reshape(layers.depth, -1), layers.sent.reshape(layers.depth, -1)
    intervals = table.shape[1] // ((DEGREE + 1) * h)
    for first in range(0, len(points), POINTS):
        block = points[first : first + POINTS]
        edges = find_block_edges(block, where, intervals, layers.scale, chosen)
        pair, pairs = _pairs(edges, len(block))
        edges = sort_by_interval((pair, *edges[1:]), intervals)
        filters = np.empty(pairs[2] * h, np.float32)
        rows = -(-len(block) // ROWS) * ROWS
        for k in range(layers.depth):
            _filter(edges, table[k], filters, h)
            space.sums[:] = 0
            if k == 0:
                _receive_first(pairs, filters, layers, space, h)
            else:
                _receive(pairs, filters, sent[k], layers, k, space, rows, h)
            _change(layers, k, space, rows, h)
        affine(space.state, layers.readout, layers.readout_b, 0, space.hidden, rows, h, h)
        _softplus(space.hidden, rows * h)
        read_out(space.hidden, layers.last, layers.last_b, h, outputs[first : first + POINTS])


@njit(nogil=True)
def _pairs(edges: Any, points: int) -> Any:
    """The pair of each edge [e]; the points [q] and the atoms [q] of the pairs, and their number q.

    The edges must be ordered by their atoms.
    """
    point, sender = edges[0], edges[1]
    pair, points_of, atoms_of = np.empty_like(point), np.empty_like(point), np.empty_like(point)
    pair_of, count, atom = np.empty(points, np.int32), 0, -1
    for e in range(len(point)):
        if sender[e] != atom:
            atom = sender[e]
            pair_of[:] = -1
        p = point[e]
        if pair_of[p] < 0:
            pair_of[p] = count
            points_of[count], atoms_of[count] = p, atom
            count += 1
        pair[e] = pair_of[p]
    return pair, (points_of, atoms_of, count)


@njit(nogil=True)
def _filter(edges: Any, table: Any, filters: Any, h: int) -> None:
    """Set the filters [h / 16, pairs, 16] to the sums over the edges of each pair."""
    pair, _, _, used, begins, ts = edges
    filters[:] = 0
    for tile in range(h // 16):
        near, to = tile * (len(table) * 16 // h), tile * (len(filters) * 16 // h)
        for run in range(len(used)):
            k = near + used[run] * 96
            a, b, c = load(table, k, 16), load(table, k + 16, 16), load(table, k + 32, 16)
            d, e, f = load(table, k + 48, 16), load(table, k + 64, 16), load(table, k + 80, 16)
            for edge in range(begins[run], begins[run + 1]):
                i = to + pair[edge] * 16
                value = quintic(a, b, c, d, e, f, broadcast(ts, edge, 16))
                store(filters, i, add(load(filters, i, 16), value))


@njit(nogil=True)
def _receive_first(pairs: Any, filters: Any, w: Any, x: Any, h: int) -> None:
    """Add the messages of the first layer, in which an atom sends the same to all points."""
    points, atoms, count = pairs
    for q in range(count):
        p, a = points[q] * h, atoms[q] * h
        for c in range(0, h, 16):
            message = mul(load(filters, c * count + q * 16, 16), load(w.first_messages, a + c, 16))
            store(x.sums, p + c, add(load(x.sums, p + c, 16), message))


@njit(nogil=True)
def _receive(pairs: Any, filters: Any, sent: Any, w: Any, layer: int, x: Any, rows: int, h: int) -> None:
    """Add the messages of a layer after the first."""
    points, atoms, count = pairs
    x.receiver_part[:] = 0
    add_product(x.state, 0, h, w.receiver_weights, layer * 2 * h * h, 2 * h, x.receiver_part, 0, 2 * h, rows, h, 2 * h)
    for first in range(0, count, PAIRS):
        last = min(first + PAIRS, count)
        for q in range(first, last):
            i, a, p = (q - first) * 2 * h, atoms[q] * 2 * h, points[q] * 2 * h
            for c in range(0, 2 * h, 16):
                both = add(load(sent, a + c, 16), load(x.receiver_part, p + c, 16))
                store(x.pair_hidden, i + c, shifted_softplus(both))
        rounded = -(-(last - first) // ROWS) * ROWS
        affine(x.pair_hidden, w.message_weights, w.message_weights_b, layer, x.messages, rounded, 2 * h, h)
        for q in range(first, last):
            i, p = (q - first) * h, points[q] * h
            for c in range(0, h, 16):
                total = fma(load(filters, c * count + q * 16, 16), load(x.messages, i + c, 16), load(x.sums, p + c, 16))
                store(x.sums, p + c, total)


@njit(nogil=True)
def _softplus(x: Any, count: int) -> None:
    for i in range(0, count, 16):
        store(x, i, shifted_softplus(load(x, i, 16)))


@njit(nogil=True)
def _change(w: Any, layer: int, x: Any, rows: int, h: int) -> None:
    """Set the states from the sums and, by gates, from the old states, which are zero in the first layer."""
    affine(x.sums, w.change, w.change_b, layer, x.hidden, rows, h, h)
    _softplus(x.hidden, rows * h)
    affine(x.hidden, w.changes, w.changes_b, layer, x.new, rows, h, h)
    if layer == 0:
        for row in range(0, rows * h, h):
            for c in range(0, h, 16):
                new = load(x.new, row + c, 16)
                store(x.state, row + c, fma(load(w.first_gates, c, 16), sub(splat(np.float32(0), 16), new), new))
        return
    affine(x.state, w.gate, w.gate_b, layer, x.hidden, rows, h, h)
    _softplus(x.hidden, rows * h)
    affine(x.hidden, w.gates, w.gates_b, layer, x.sums, rows, h, h)
    for i in range(0, rows * h, 16):
        new = load(x.new, i, 16)
        store(x.state, i, fma(sigmoid(load(x.sums, i, 16)), sub(load(x.state, i, 16), new), new))
