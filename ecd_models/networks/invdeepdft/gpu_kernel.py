"""invDeepDFT on a GPU: messages of pairs of an atom and a point are products in torch, kernels do the rest.

A message is a function of its sender and its receiver times a filter of their distance: one kernel makes the hidden
layer of that function for the atoms near each brick, torch its last linear map, another kernel the filters, summed over
the images of an atom, and the sums over atoms.
The floor for a point of MgO (28.7 edges to 8 atoms, 128 channels, six layers): 2.6 MFLOP for the pairs and 1.1 for the
rest, which are 55 ns of an H100's float32 units; 4 coefficients of 768 functions an edge are 350 kB of table reads.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ecd_models.device.edge_kernels import evaluate_polynomials, find_interval, load_edges, load_points
from ecd_models.device.near import Near, find_true
from ecd_models.device.weight_tables import DEGREE, accurate_table, remember, tile_channels, to_float32
from ecd_models.networks.invdeepdft.radial_table import radial_table

WIDTH = 64  # channels of a tile
WARPS = 4
BLOCK = 1024  # numbers that a program replaces


@triton.jit
def shifted_softplus(x):
    """ln(1/2 + exp(x)/2) = x/2 + ln cosh(x/2), to full precision about zero, where a series takes over."""
    y = 0.25 * x * x
    series = 0.0021869488536155205 - y * 0.0007386029607610497
    series = -0.006746031746031746 + y * series
    series = 0.022222222222222223 + y * series
    series = -0.08333333333333333 + y * series
    near = 0.5 * x + y * (0.5 + y * series)
    far = tl.maximum(x, 0.0) + tl.log(0.5 + 0.5 * tl.exp(-tl.abs(x)))
    return tl.where(y < 0.25, near, far)


@triton.jit
def set_softplus(x, count, N: tl.constexpr):
    """Replace x [count] by its shifted softplus."""
    i = tl.program_id(0).to(tl.int64) * N + tl.arange(0, N)
    tl.store(x + i, shifted_softplus(tl.load(x + i, mask=i < count, other=0.0)), mask=i < count)


@triton.jit
def pair_hidden(sent, received_state, atoms, bricks, hidden, h, P: tl.constexpr, U: tl.constexpr):
    """Set the shifted softplus of sent [atoms, h] + received_state [b * P, h] for pairs of an atom and a brick
    [pairs, P, h].
    """
    pair, tile = tl.program_id(0), tl.program_id(1)
    u = tile * U + tl.arange(0, U)
    p = tl.arange(0, P)
    there = (u < h)[None, :]
    of_atom = tl.load(sent + tl.load(atoms + pair) * h + u, mask=u < h, other=0.0)
    row = tl.load(bricks + pair).to(tl.int64) * P + p
    x = tl.load(received_state + row[:, None] * h + u[None, :], mask=there, other=0.0) + of_atom[None, :]
    to = (pair.to(tl.int64) * P + p)[:, None] * h + u[None, :]
    tl.store(hidden + to, shifted_softplus(x), mask=there)


@triton.jit
def sum_messages(
    points,
    begins,
    firsts,
    atoms,
    images,
    words,
    table,
    messages,
    sums,
    h,
    scale,
    intervals,
    SHARED: tl.constexpr,
    DEGREE: tl.constexpr,
    P: tl.constexpr,
    U: tl.constexpr,
):
    """Set the sums [b * P, h] of messages in one tile of channels.

    begins [b + 1]: where the pairs of each brick begin; firsts [pairs + 1]: where the images of each pair begin;
    table [tiles, intervals, degree + 1, U]; messages [atoms, h] where SHARED, else [pairs, P, h].
    """
    brick, tile = tl.program_id(0), tl.program_id(1)
    u = tl.arange(0, U)
    p = tl.arange(0, P)
    column = tile * U + u
    there = (column < h)[None, :]
    px, py, pz = load_points(points, brick, P)
    total = tl.zeros([P, U], tl.float32)
    for pair in range(tl.load(begins + brick), tl.load(begins + brick + 1)):
        filters = tl.zeros([P, U], tl.float32)
        for i in range(tl.load(firsts + pair), tl.load(firsts + pair + 1)):
            within, _, _, _, r = load_edges(px, py, pz, images, words, i, P)
            k, t = find_interval(r, scale, intervals)
            rows = table + (tile * intervals + k)[:, None] * ((DEGREE + 1) * U) + u[None, :]
            filters += evaluate_polynomials(rows, t, within[:, None], U, DEGREE)
        if SHARED:
            first = tl.load(atoms + tl.load(firsts + pair))
            total += filters * tl.load(messages + first * h + column, mask=column < h, other=0.0)[None, :]
        else:
            row = p.to(tl.int64) + pair * P
            total += filters * tl.load(messages + row[:, None] * h + column[None, :], mask=there, other=0.0)
    row = brick.to(tl.int64) * P + p
    tl.store(sums + row[:, None] * h + column[None, :], total, mask=there)


class Pairs:
    """The pairs of a brick and an atom near it: which images are whose.

    begins [b + 1], firsts [pairs + 1]: see `sum_messages`; atoms, bricks [pairs].
    """

    def __init__(self, near: Near, pairs: int):
        new = torch.ones_like(near.brick, dtype=torch.bool)
        new[1:] = (near.brick[1:] != near.brick[:-1]) | (near.atoms[1:] != near.atoms[:-1])
        first = find_true(new, pairs)
        self.firsts = torch.cat([first, first.new_full((1,), len(new))]).int()
        self.atoms, self.bricks = near.atoms[first], near.brick[first]
        before = torch.cat([first.new_zeros(1), new.cumsum(0)])
        self.begins = before[near.begins.long()].int()


def apply_softplus(x: Tensor) -> Tensor:
    """The shifted softplus of a contiguous tensor, in its place."""
    if x.numel():
        set_softplus[(triton.cdiv(x.numel(), BLOCK),)](x, x.numel(), N=BLOCK)
    return x


def perceptron(maps: Any, x: Tensor) -> Tensor:
    """The two linear maps of a network's perceptron with a shifted softplus between them."""
    return maps[2](apply_softplus(maps[0](x)))


class Tables:
    """The filters of a network, whatever the crystal [layers, tiles, intervals, degree + 1, U]."""

    def __init__(self, network: Any, degree: int, width: int):
        table = accurate_table(radial_table, network, degree)
        blocks = table.coefficients.reshape(table.intervals, degree + 1, -1, network.config.hidden_state_size)
        blocks = tile_channels(blocks, width)
        self.values = to_float32(blocks.transpose(2, 3, 0, 1, 4), next(network.parameters()).device)
        self.scale, self.intervals, self.degree = table.scale, table.intervals, degree


class GpuDecoder:
    """The outputs of invDeepDFT at the points of some bricks."""

    needs_edges = False
    brick = 16

    def __init__(self, network: Any, sent: list[Any], degree: int = DEGREE, width: int = WIDTH, warps: int = WARPS):
        self._tables, self._warps = remember(network, (degree, width), lambda: Tables(network, degree, width)), warps
        self._probe, self._h = network.probe_model, network.config.hidden_state_size
        self._sent = [x.state.detach().float().contiguous() for x in sent]
        self._nodes = [message.msg_function_node for message in self._probe.messages]
        self.bytes_each = 4 * 12 * self._h, 4 * 3 * self._h, 0

    def __call__(self, near: Near, pairs: int, edges: int) -> Tensor:
        """The outputs [points, outputs]."""
        around, state = Pairs(near, pairs), None
        old = near.points.new_zeros(1, self._h)
        changes = zip(self._probe.probe_state_gate_functions, self._probe.probe_state_transition_functions, strict=True)
        for k, (gate, transition) in enumerate(changes):
            new = perceptron(transition, self._sums(near, around, k, self._messages(near, around, k, state)))
            state = old = torch.lerp(new, old, torch.sigmoid(perceptron(gate, old)))
        return perceptron(self._probe.readout_function, old)

    def _messages(self, near: Near, around: Pairs, k: int, state: Tensor | None) -> Tensor:
        """Messages without filters: of atoms to all [atoms, h], or to each point of bricks near them [pairs * P, h]."""
        sent, last = self._sent[k], self._nodes[k][2]
        if state is None:
            return last(apply_softplus(sent.clone()))
        received_state = state @ self._nodes[k][0].weight[:, self._h :].T
        width = sent.shape[1]
        hidden = received_state.new_empty(len(around.atoms) * near.size, width)
        block = min(256, triton.next_power_of_2(width))
        if len(around.atoms):
            pair_hidden[(len(around.atoms), triton.cdiv(width, block))](
                sent,
                received_state,
                around.atoms,
                around.bricks,
                hidden,
                width,
                P=near.size,
                U=block,
                num_warps=self._warps,
            )
        return last(hidden)

    def _sums(self, near: Near, around: Pairs, k: int, messages: Tensor) -> Tensor:
        """The sums of messages [points, h]."""
        sums, table = near.points.new_empty(near.rows, self._h), self._tables.values[k]
        sum_messages[(len(near.begins) - 1, len(table))](
            near.points,
            around.begins,
            around.firsts,
            near.atoms,
            near.images,
            near.words,
            table,
            messages,
            sums,
            self._h,
            self._tables.scale,
            self._tables.intervals,
            SHARED=k == 0,
            DEGREE=self._tables.degree,
            P=near.size,
            U=table.shape[3],
            num_warps=self._warps,
        )
        return sums
