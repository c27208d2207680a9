"""ChargE3Net and invChargE3Net on a GPU: one kernel sums the messages of all layers, dense layers follow in torch.

The floor for a point of MgO (28.7 edges, 534 channels at the published sizes): 0.25 MFLOP for the messages, 0.15 for
the dense layers, which are 4 to 6 ns of an H100's float32 units; 4 coefficients of each channel and edge are 245 kB of
table reads, which are 9 ns from the cache of each multiprocessor and 45 ns from L2, where no two points share them.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from ecd_models.device.edge_kernels import (
    SHORTEST,
    evaluate_polynomials,
    find_interval,
    load_edges,
    load_points,
    sum_harmonics,
)
from ecd_models.device.near import Near
from ecd_models.device.weight_tables import DEGREE, accurate_table, remember, tile_channels, to_float32
from ecd_models.networks.charge3net.layers import SILU_SCALE
from ecd_models.networks.charge3net.radial_table import radial_table

LMAX = 4
WIDTH = 32  # channels of a tile at most
WARPS = 2
ALIGNED = 8  # columns of dense layers are a multiple of this


@triton.jit
def sum_messages(
    points,
    begins,
    atoms,
    images,
    words,
    table,
    field,
    columns,
    sums,
    stride,
    scale,
    intervals,
    n_atoms,
    L: tl.constexpr,
    DEGREE: tl.constexpr,
    P: tl.constexpr,
    U: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Set the sums [b * P, stride] in the columns of one tile of channels, all of one l."""
    brick, tile = tl.program_id(0), tl.program_id(1)
    u = tl.arange(0, U)
    column = tl.load(columns + tile * U + u)
    used = column >= 0
    px, py, pz = load_points(points, brick, P)
    total = tl.zeros([P, U], tl.float32)
    for i in tl.range(tl.load(begins + brick), tl.load(begins + brick + 1), num_stages=STAGES):
        there, x, y, z, r = load_edges(px, py, pz, images, words, i, P)
        k, t = find_interval(r, scale, intervals)
        rows = table + (tile * intervals + k)[:, None] * ((DEGREE + 1) * U) + u[None, :]
        radial = evaluate_polynomials(rows, t, there[:, None], U, DEGREE)
        sent = field + (tile * n_atoms + tl.load(atoms + i)) * ((2 * L + 1) * U) + u
        if L == 0:
            total += radial * tl.load(sent)[None, :]
        else:
            inverse = 1.0 / tl.maximum(r, SHORTEST)
            total += radial * sum_harmonics(x * inverse, y * inverse, z * inverse, sent, L, U)
    row = brick.to(tl.int64) * P + tl.arange(0, P)
    tl.store(sums + row[:, None] * stride + column[None, :], total, mask=used[None, :])


class Tiles(NamedTuple):
    """The channels of one l of all layers, in tiles of U.

    table [tiles, intervals, degree + 1, U]; columns [tiles, U]: in the sums, or -1.
    """

    table: Tensor
    columns: Tensor


class Weights:
    """What is made of a network's weights, whatever the crystal."""

    def __init__(self, network: Any, degree: int, width: int):
        if network.config.lmax > LMAX:
            raise ValueError(f"they know no harmonics beyond l = {LMAX}")
        table = accurate_table(radial_table, network, degree)
        self.channels, self.layers = network.config.channels, network.config.num_interactions
        self.scale, self.intervals, self.degree = table.scale, table.intervals, degree
        readout = network.decoder.readout.detach()
        self.tiles = [self._tiles(l, table.coefficients, width, readout.device) for l in range(len(self.channels))]
        self.dense = [Dense(layer) for layer in network.decoder.layers]
        self.readout = readout.reshape(len(readout), -1) * (SILU_SCALE / math.sqrt(len(readout)))

    def _tiles(self, l: int, coefficients: Any, width: int, device: torch.device) -> Tiles:
        total, start = sum(self.channels), sum(self.channels[:l])
        columns = np.concatenate([k * total + start + np.arange(self.channels[l]) for k in range(self.layers)])
        width = min(width, max(16, 1 << (len(columns) - 1).bit_length()))
        table = tile_channels(coefficients[:, :, columns], width).transpose(2, 0, 1, 3)
        positions = tile_channels(columns + 1, width) - 1  # -1 where a tile is padded
        return Tiles(to_float32(table, device), torch.as_tensor(positions, dtype=torch.int32, device=device))


class GpuDecoder:
    """The outputs of ChargE3Net at the points of some bricks."""

    needs_edges = False
    brick = 32

    def __init__(
        self,
        network: Any,
        features: list[Tensor],
        degree: int = DEGREE,
        width: int = WIDTH,
        warps: int = WARPS,
        stages: int = 1,
    ):
        self._weights = remember(network, (degree, width), lambda: Weights(network, degree, width))
        self._warps, self._stages, self._atoms = warps, stages, len(features[0])
        self._fields = [self._field(l, features) for l in range(len(self._weights.channels))]
        total, scalars = sum(self._weights.channels), self._weights.channels[0]
        self.bytes_each = 4 * (len(features) * total + 5 * scalars), 0, 0

    def _field(self, l: int, features: list[Tensor]) -> Tensor:
        """What the atoms send with l in all layers [tiles, atoms, 2l+1, U]."""
        channels, (tiles, _, _, width) = self._weights.channels, self._weights.tiles[l].table.shape
        start = sum(channels[:l])
        sent = torch.cat([x[:, l * l : (l + 1) ** 2, start : start + channels[l]] for x in features], dim=2).detach()
        sent = torch.nn.functional.pad(sent.float(), (0, tiles * width - sent.shape[2])).unflatten(2, (tiles, width))
        return sent.permute(2, 0, 1, 3).contiguous()

    def messages(self, near: Near, only: int | None = None) -> Tensor:
        """The sums over edges, layer after layer [points, layers * channels]; only: of what atoms send with this l."""
        weights = self._weights
        sums = near.points.new_empty(near.rows, weights.layers * sum(weights.channels))
        for l, tiles in enumerate(weights.tiles):
            if only not in (None, l):
                continue
            sum_messages[(len(near.begins) - 1, len(tiles.table))](
                *near.kernel_arguments,
                tiles.table,
                self._fields[l],
                tiles.columns,
                sums,
                sums.shape[1],
                weights.scale,
                weights.intervals,
                self._atoms,
                L=l,
                DEGREE=weights.degree,
                P=near.size,
                U=tiles.table.shape[3],
                STAGES=self._stages,
                num_warps=self._warps,
            )
        return sums

    def __call__(self, near: Near, pairs: int, edges: int) -> Tensor:
        """The outputs [points, outputs]."""
        weights, state = self._weights, None
        for dense, total in zip(weights.dense, self.messages(near).chunk(weights.layers, dim=1), strict=True):
            state = dense(state, total)
        assert state is not None
        return state @ weights.readout


class Dense:
    """What follows the sums of one layer: a rotation of the messages with the state before, and SiLU without its scale.

    lin2 [channels, columns]: a tenth of lin3 is in the column after those of the scalars; sc [scalars, scalars].
    """

    def __init__(self, layer: Any):
        channels, scalars = layer.lin2.shape
        both = torch.cat([layer.lin2.detach(), 0.1 * layer.lin3.detach()[:, None]], dim=1) / math.sqrt(channels)
        self._scalars = scalars
        self._lin2 = torch.nn.functional.pad(both, (0, -both.shape[1] % ALIGNED)).contiguous()
        self._sc = None if layer.sc is None else layer.sc.detach() * (SILU_SCALE / math.sqrt(scalars))

    def __call__(self, state: Tensor | None, total: Tensor) -> Tensor:
        """The new states [points, scalars] from the old ones and the sums [points, channels]."""
        mixed = total @ self._lin2
        angle, new = mixed[:, self._scalars, None], mixed[:, : self._scalars]
        out = angle.sin() * new
        if self._sc is not None and state is not None:
            out = torch.addcmul(out, angle.cos(), state @ self._sc)
        return torch.nn.functional.silu(out, inplace=True)
