"""DeepDFT on a GPU: one kernel sums the messages of a layer, the network's own dense layers follow in torch.

The floor for a point of MgO (28.7 edges, 128 channels, three layers): 0.35 MFLOP for the messages and 1.7 for the dense
layers, which are 30 ns of an H100's float32 units; 4 coefficients of 1,152 functions an edge are 530 kB of table reads.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ecd_models.device.edge_kernels import SHORTEST, evaluate_polynomials, find_interval, load_edges, load_points
from ecd_models.device.near import Near
from ecd_models.device.weight_tables import DEGREE, accurate_table, remember, tile_channels, to_float32
from ecd_models.networks.deepdft.radial_table import radial_table

WIDTH = 32  # channels of a tile
WARPS = 4


@triton.jit
def sum_messages(
    points,
    begins,
    atoms,
    images,
    words,
    table,
    sent,
    scalars,
    vectors,
    h,
    scale,
    intervals,
    n_atoms,
    DEGREE: tl.constexpr,
    P: tl.constexpr,
    U: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Set the sums of scalar messages [b * P, h] and of vector messages [b * P, 3, h] in one tile of channels.

    table [tiles, intervals, degree + 1, 3, U]: vectors, along the direction, scalars; sent [tiles, atoms, 5, U].
    """
    brick, tile = tl.program_id(0), tl.program_id(1)
    u = tl.arange(0, U)
    column = tile * U + u
    px, py, pz = load_points(points, brick, P)
    s = tl.zeros([P, U], tl.float32)
    vx, vy, vz = tl.zeros([P, U], tl.float32), tl.zeros([P, U], tl.float32), tl.zeros([P, U], tl.float32)
    for i in tl.range(tl.load(begins + brick), tl.load(begins + brick + 1), num_stages=STAGES):
        there, x, y, z, r = load_edges(px, py, pz, images, words, i, P)
        k, t = find_interval(r, scale, intervals)
        rows = table + (tile * intervals + k)[:, None] * ((DEGREE + 1) * 3 * U) + u[None, :]
        mask = there[:, None]
        vector = evaluate_polynomials(rows, t, mask, 3 * U, DEGREE)
        along = evaluate_polynomials(rows + U, t, mask, 3 * U, DEGREE)
        scalar = evaluate_polynomials(rows + 2 * U, t, mask, 3 * U, DEGREE)
        inverse = 1.0 / tl.maximum(r, SHORTEST)
        of_atom = sent + (tile * n_atoms + tl.load(atoms + i)) * (5 * U) + u
        along *= tl.load(of_atom + 4 * U)[None, :]
        s += scalar * tl.load(of_atom)[None, :]
        vx += vector * tl.load(of_atom + U)[None, :] + along * (x * inverse)[:, None]
        vy += vector * tl.load(of_atom + 2 * U)[None, :] + along * (y * inverse)[:, None]
        vz += vector * tl.load(of_atom + 3 * U)[None, :] + along * (z * inverse)[:, None]
    row = brick.to(tl.int64) * P + tl.arange(0, P)
    mask = (column < h)[None, :]
    tl.store(scalars + row[:, None] * h + column[None, :], s, mask=mask)
    to = vectors + row[:, None] * (3 * h) + column[None, :]
    tl.store(to, vx, mask=mask)
    tl.store(to + h, vy, mask=mask)
    tl.store(to + 2 * h, vz, mask=mask)


class Tables:
    """The radial functions of a network, whatever the crystal [layers, tiles, intervals, degree + 1, 3, U]."""

    def __init__(self, network: Any, degree: int, width: int):
        table = accurate_table(radial_table, network, degree)
        blocks = table.coefficients.reshape(table.intervals, degree + 1, -1, 3, network.config.hidden_state_size)
        blocks = tile_channels(blocks, width)
        self.values = to_float32(blocks.transpose(2, 4, 0, 1, 3, 5), next(network.parameters()).device)
        self.scale, self.intervals, self.degree = table.scale, table.intervals, degree


class GpuDecoder:
    """The outputs of DeepDFT at the points of some bricks."""

    needs_edges = False
    brick = 32

    def __init__(
        self,
        network: Any,
        sent: list[Tensor],
        degree: int = DEGREE,
        width: int = WIDTH,
        warps: int = WARPS,
        stages: int = 1,
    ):
        self._tables = remember(network, (degree, width), lambda: Tables(network, degree, width))
        self._probe, self._h = network.probe_model, network.config.hidden_state_size
        self._warps, self._stages, self._atoms = warps, stages, len(sent[0])
        tiles = self._tables.values.shape[1]
        padding = (0, tiles * width - self._h)
        parts = [torch.nn.functional.pad(x.detach().float(), padding).unflatten(2, (tiles, width)) for x in sent]
        self._sent = [part.permute(2, 0, 1, 3).contiguous() for part in parts]
        self.bytes_each = 4 * 24 * self._h, 0, 0

    def messages(self, near: Near, layer: int) -> tuple[Tensor, Tensor]:
        """The sums of a layer: scalars [points, h] and vectors [points, 3, h]."""
        scalars = near.points.new_empty(near.rows, self._h)
        vectors = near.points.new_empty(near.rows, 3, self._h)
        table, sent = self._tables.values[layer], self._sent[layer]
        sum_messages[(len(near.begins) - 1, len(table))](
            *near.kernel_arguments,
            table,
            sent,
            scalars,
            vectors,
            self._h,
            self._tables.scale,
            self._tables.intervals,
            self._atoms,
            DEGREE=self._tables.degree,
            P=near.size,
            U=table.shape[4],
            STAGES=self._stages,
            num_warps=self._warps,
        )
        return scalars, vectors

    def __call__(self, near: Near, pairs: int, edges: int) -> Tensor:
        """The outputs [points] or [points, outputs]."""
        state, updates = None, list(self._probe.scalar_vector_update)
        for k, (layer, update) in enumerate(zip(self._probe.message_layers, updates, strict=True)):
            state = layer.take_up(*self.messages(near, k), state)
            if update is not updates[-1]:
                state = update(*state)
        assert state is not None
        return self._probe.readout_function(updates[-1].scalars(*state))
