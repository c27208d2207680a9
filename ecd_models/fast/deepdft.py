"""DeepDFT's densities on processors: all layers on a block of points, with everything between them in the cache.

What an atom sends is multiplied by functions of the distance, which are tabulated: an edge costs a handful of
multiplications for each channel and layer. The rest are matrix products on the block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from ecd_data.crystal import Crystal, Floats
from ecd_models.fast import Decoder
from ecd_models.fast.dense import COLUMNS, ROWS, add_product, aligned, round_up
from ecd_models.fast.images import Images, find_edges, near_images
from ecd_models.fast.parallel import share
from ecd_models.fast.radial import RadialTable, tabulate
from ecd_models.fast.simd import add, broadcast, div, exp, fma, load, mul, splat, sqrt, store, sub
from ecd_models.networks.deepdft import SHORTEST, DeepDFT, radial_functions

PIECE = 2048  # points that a thread takes at a time
POINTS = 128  # in a block: their states and what passes between layers fit the cache of one core
INEXACT = 1e-5  # tables of functions with larger errors are not used

Array = NDArray[np.float32]


class Layers(NamedTuple):
    """The probe model of k layers with h channels, in flat arrays; b: biases.

    table [k, intervals, 4, 3h], `scale` intervals per Å: what messages are multiplied by; sent [k, atoms, 5, h];
    gate [k, h, 2h], gates [k, 2h, 2h]: scalar messages to gates; mixed [k, h, 2h]: vectors to Uv and Vv;
    combined [k, 2h, h], changes [k, h, 3h]: scalars and lengths to what changes the states; readout [h, h], last [h].
    """

    count: int
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
    last_b: float


class Space(NamedTuple):
    """What one block of p points needs.

    state, message [4, p, h]: scalars and vectors; mixed [3, p, 2h]: Uv and Vv; length, product [p, h];
    hidden [p, 2h]; change [p, 3h].
    """

    state: Array
    message: Array
    mixed: Array
    length: Array
    product: Array
    hidden: Array
    change: Array


def decoder(network: DeepDFT, sent: list[Tensor], crystal: Crystal) -> Decoder | None:
    """The outputs at fractional points; None where the radial functions are too steep for a table."""
    table = filters(network)
    if table.error > INEXACT:
        return None
    layers = packed(network, table, sent)
    images = Images.of(crystal, network.cutoff)

    def decode(frac_points: Floats) -> NDArray[np.float32]:
        points = images.points(frac_points)
        outputs = np.empty(len(points), np.float32)

        def worker() -> Callable[[int, int], None]:
            space = Space(*(aligned(planes * POINTS * layers.channels) for planes in (4, 4, 6, 1, 1, 2, 3)))
            where = images.positions, images.atoms, images.reach
            return lambda start, stop: _decode(points[start:stop], *where, layers, space, outputs[start:stop])

        share(len(points), PIECE, worker)
        return outputs

    return decode


def filters(network: DeepDFT) -> RadialTable:
    """What the messages of all layers are multiplied by, as functions of the distance."""
    config = network.config
    with torch.no_grad():
        rows = torch.cat([layer.filters().double() for layer in network.probe_model.message_layers], dim=1)

        def functions(r: Floats) -> Floats:
            distances = torch.from_numpy(r).clamp(min=SHORTEST)
            return (radial_functions(distances, config.distance_embedding_size, config.cutoff) @ rows).numpy()

        return tabulate(functions, config.cutoff)


def fill(array: Any, width: int, padded: int) -> NDArray[Any]:
    """An array whose last axis is one or several times `width` channels, with zeros up to `padded` channels each."""
    array = np.asarray(array)
    parts = array.reshape(*array.shape[:-1], -1, width)
    parts = np.pad(parts, [(0, 0)] * (parts.ndim - 1) + [(0, padded - width)])
    return parts.reshape(*array.shape[:-1], -1)


def flat(array: NDArray[Any]) -> Array:
    """The numbers of an array as float32, aligned."""
    result = aligned(array.size)
    result[:] = array.ravel()
    return result


def packed(network: DeepDFT, table: RadialTable, sent: list[Tensor]) -> Layers:
    """The probe model with its channels filled up with zeros to a multiple of what a register holds."""
    probe, width, count = network.probe_model, network.config.hidden_state_size, network.config.num_interactions
    channels = round_up(width, COLUMNS)

    def vectors(tensors: Iterable[Tensor]) -> Array:
        return flat(np.stack([fill(t.detach().numpy(), width, channels) for t in tensors]))

    def matrices(tensors: Iterable[Tensor]) -> Array:
        return flat(np.stack([fill(fill(t.detach().numpy(), width, channels).T, width, channels) for t in tensors]))

    def both(perceptrons: Sequence[Any]) -> tuple[Array, Array, Array, Array]:
        ends = [[perceptron[k] for perceptron in perceptrons] for k in (0, 2)]
        first, last = ((matrices(x.weight for x in end), vectors(x.bias for x in end)) for end in ends)
        return *first, *last

    updates: list[Any] = list(probe.scalar_vector_update)
    return Layers(
        count,
        channels,
        flat(np.stack(np.split(fill(table.coefficients, width, channels), count, axis=2))),
        np.float32(table.scale),
        vectors(sent),
        *both([layer.update_gate_mlp for layer in probe.message_layers]),
        matrices(torch.cat([update.linearU.weight, update.linearV.weight]) for update in updates),
        *both([update.combined_mlp for update in updates]),
        matrices([probe.readout_function[0].weight]),
        vectors([probe.readout_function[0].bias]),
        vectors([probe.readout_function[2].weight]),
        float(probe.readout_function[2].bias),
    )


@njit(nogil=True)
def _decode(points: Any, positions: Any, atoms: Any, reach: float, layers: Any, space: Any, outputs: Any) -> None:
    chosen = np.empty(len(positions), np.int32)
    table, sent = layers.table.reshape(layers.count, -1), layers.sent.reshape(layers.count, -1)
    for first in range(0, len(points), POINTS):
        last = min(first + POINTS, len(points))
        count = near_images(points, first, last, positions, reach, chosen)
        vec = np.empty((3, count * (last - first)), np.float32)
        point, sender = np.empty(vec.shape[1], np.int32), np.empty(vec.shape[1], np.int32)
        found = points, first, last, positions, atoms, reach, chosen, 0, count, vec, point, sender
        _, edges = find_edges(*found)
        interval, t = np.empty(edges, np.int32), np.empty(edges, np.float32)
        _place(vec, edges, layers.scale, table.shape[1] // (12 * layers.channels), interval, t)
        rows = -(-(last - first) // ROWS) * ROWS
        space.state[:] = 0
        for k in range(layers.count):
            space.message[:] = 0
            _receive(vec, point, sender, interval, t, edges, table[k], sent[k], space.message, rows, layers.channels)
            _take_up(space, layers, k, rows, layers.channels)
            _update(space, layers, k, rows, layers.channels)
        _read_out(space, layers, rows, layers.channels, outputs[first:last])


@njit(nogil=True)
def _place(vec: Any, edges: int, scale: np.float32, intervals: int, interval: Any, t: Any) -> None:
    """Where in the table the edges are; their vectors become directions."""
    for e in range(edges):
        x, y, z = vec[0, e], vec[1, e], vec[2, e]
        r = np.sqrt(x * x + y * y + z * z)
        interval[e] = min(np.int32(r * scale), intervals - 1)
        t[e] = r * scale - np.float32(interval[e]) - np.float32(0.5)
        inverse = np.float32(1) / max(r, np.float32(SHORTEST))
        vec[0, e], vec[1, e], vec[2, e] = x * inverse, y * inverse, z * inverse


@njit(nogil=True)
def _cubic(table: Any, k: int, step: int, t: Any) -> Any:
    value = fma(load(table, k + 3 * step, 16), t, load(table, k + 2 * step, 16))
    return fma(fma(value, t, load(table, k + step, 16)), t, load(table, k, 16))


@njit(nogil=True)
def _receive(
    vec: Any, point: Any, sender: Any, interval: Any, ts: Any, edges: int,
    table: Any, sent: Any, sums: Any, rows: int, h: int,
) -> None:  # fmt: skip
    """Add the messages of all edges to the sums [4, rows, h]."""
    plane = rows * h
    dx, dy, dz = vec[0], vec[1], vec[2]
    for e in range(edges):
        j, k, q = sender[e] * 5 * h, interval[e] * 12 * h, point[e] * h
        t = broadcast(ts, e, 16)
        x, y, z = broadcast(dx, e, 16), broadcast(dy, e, 16), broadcast(dz, e, 16)
        for c in range(0, h, 16):
            vector = _cubic(table, k + c, 3 * h, t)
            along = mul(_cubic(table, k + h + c, 3 * h, t), load(sent, j + 4 * h + c, 16))
            scalar = _cubic(table, k + 2 * h + c, 3 * h, t)
            i = q + c
            store(sums, i, fma(load(sent, j + c, 16), scalar, load(sums, i, 16)))
            i += plane
            store(sums, i, fma(load(sent, j + h + c, 16), vector, fma(along, x, load(sums, i, 16))))
            i += plane
            store(sums, i, fma(load(sent, j + 2 * h + c, 16), vector, fma(along, y, load(sums, i, 16))))
            i += plane
            store(sums, i, fma(load(sent, j + 3 * h + c, 16), vector, fma(along, z, load(sums, i, 16))))


@njit(nogil=True)
def _set_rows(bias: Any, b: int, c: Any, rows: int, columns: int) -> None:
    for row in range(rows):
        for column in range(0, columns, 16):
            store(c, row * columns + column, load(bias, b + column, 16))


@njit(nogil=True)
def _sigmoid(x: Any) -> Any:
    one = splat(np.float32(1), 16)
    return div(one, add(one, exp(sub(splat(np.float32(0), 16), x))))


@njit(nogil=True)
def _silu(x: Any, count: int) -> None:
    for i in range(0, count, 16):
        value = load(x, i, 16)
        store(x, i, mul(value, _sigmoid(value)))


@njit(nogil=True)
def _take_up(x: Any, w: Any, layer: int, rows: int, h: int) -> None:
    """Gates mix the states with the messages."""
    _set_rows(w.gate_b, layer * 2 * h, x.hidden, rows, 2 * h)
    add_product(x.message, 0, h, w.gate, layer * 2 * h * h, 2 * h, x.hidden, 0, 2 * h, rows, h, 2 * h)
    _silu(x.hidden, rows * 2 * h)
    _set_rows(w.gates_b, layer * 2 * h, x.change, rows, 2 * h)
    add_product(x.hidden, 0, 2 * h, w.gates, layer * 4 * h * h, 2 * h, x.change, 0, 2 * h, rows, 2 * h, 2 * h)
    plane = rows * h
    for row in range(rows):
        for c in range(0, h, 16):
            i, k = row * h + c, row * 2 * h + c
            new = load(x.message, i, 16)
            store(x.state, i, fma(_sigmoid(load(x.change, k, 16)), sub(load(x.state, i, 16), new), new))
            gate = _sigmoid(load(x.change, k + h, 16))
            for _ in range(3):
                i += plane
                new = load(x.message, i, 16)
                store(x.state, i, fma(gate, sub(load(x.state, i, 16), new), new))


@njit(nogil=True)
def _update(x: Any, w: Any, layer: int, rows: int, h: int) -> None:
    """Scalars and vectors of a point act on each other."""
    plane, scalars_only = rows * h, layer == w.count - 1
    x.mixed[: 6 * plane] = 0
    add_product(x.state, plane, h, w.mixed, layer * 2 * h * h, 2 * h, x.mixed, 0, 2 * h, 3 * rows, h, 2 * h)
    _contract(x.mixed, x.product, x.length, rows, h)
    start = layer * 2 * h * h
    _set_rows(w.combined_b, layer * h, x.hidden, rows, h)
    add_product(x.state, 0, h, w.combined, start, h, x.hidden, 0, h, rows, h, h)
    add_product(x.length, 0, h, w.combined, start + h * h, h, x.hidden, 0, h, rows, h, h)
    _silu(x.hidden, plane)
    start, used = layer * 3 * h * h, 2 * h if scalars_only else 3 * h
    _set_rows(w.changes_b, layer * 3 * h, x.change, rows, 3 * h)
    add_product(x.hidden, 0, h, w.changes, start, 3 * h, x.change, 0, 3 * h, rows, h, used)
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
def _contract(mixed: Any, product: Any, length: Any, rows: int, h: int) -> None:
    """The products Uv.Vv and the lengths |Vv|."""
    for row in range(rows):
        for c in range(0, h, 16):
            dot = square = splat(np.float32(0), 16)
            for d in range(3):
                u = (d * rows + row) * 2 * h + c
                v = load(mixed, u + h, 16)
                dot, square = fma(load(mixed, u, 16), v, dot), fma(v, v, square)
            store(product, row * h + c, dot)
            store(length, row * h + c, sqrt(square))


@njit(nogil=True)
def _read_out(x: Any, w: Any, rows: int, h: int, outputs: Any) -> None:
    _set_rows(w.readout_b, 0, x.hidden, rows, h)
    add_product(x.state, 0, h, w.readout, 0, h, x.hidden, 0, h, rows, h, h)
    _silu(x.hidden, rows * h)
    for p in range(len(outputs)):
        total = w.last_b
        for c in range(h):
            total += x.hidden[p * h + c] * w.last[c]
        outputs[p] = total
