"""The sums of `kernel.py` in torch, for GPUs: atoms with tables of |G| give the plane waves of a grid, with gradients.

A block of waves takes the two rows of the tables around its |G|, for all atoms, so memory is bounded by BLOCK numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ecd_data.crystal import Crystal
from ecd_models.networks.fourier_density.plane_waves import Shape, harmonics

EVEN, SLOTS, LMAX = 16, 32, 4  # places of even components in a row of a table, all places, highest l
# The component (l, m) of each place in a row: those of even l, one empty place, those of odd l, six empty places.
COMPONENTS = [0, *range(4, 9), *range(16, 25), 0, *range(1, 4), *range(9, 16), *[0] * 6]
BLOCK = 1 << 25  # numbers of tables that are in memory at once


class Waves(NamedTuple):
    """The plane waves of a half grid [a, b, c // 2 + 1] below a length, without those at half the sampling rate.

    places [g]: where they are in the flat half grid; below [g] and part [g]: the row of a table below |G|, and how far
    |G| is from it to the next; angular [g, 32]: harmonics in the order of a row; k [g, 3]: periods along a, b and c.
    """

    places: Tensor
    below: Tensor
    part: Tensor
    angular: Tensor
    k: Tensor


def find_waves(crystal: Crystal, shape: Shape, longest: float, rows: int, device: torch.device) -> Waves:
    """The waves of a grid with |G| < longest in 1/Å, for tables of so many rows."""
    half = shape[0], shape[1], shape[2] // 2 + 1
    axes = [torch.fft.fftfreq(n, 1 / n, dtype=torch.float64, device=device).round() for n in shape[:2]]
    axes.append(torch.arange(half[2], dtype=torch.float64, device=device))
    inside = [2 * axis.abs() < n for axis, n in zip(axes, shape, strict=True)]
    reciprocal = torch.tensor(crystal.reciprocal, device=device)
    a, b, c = (axis[:, None] * vector for axis, vector in zip(axes, reciprocal, strict=True))
    squared = (a[:, None, None] + b[:, None] + c).square().sum(-1)
    kept = (squared < longest**2) & inside[0][:, None, None] & inside[1][:, None] & inside[2]
    places = kept.flatten().nonzero()[:, 0]
    index = places // (half[1] * half[2]), places // half[2] % half[1], places % half[2]
    k = torch.stack([axis[i] for axis, i in zip(axes, index, strict=True)], 1)
    g = k @ reciprocal
    row = g.norm(dim=1) * ((rows - 1) / longest)
    below = row.long().clamp(max=rows - 2)
    angular = harmonics(g, LMAX).float()[:, COMPONENTS] * (4 * torch.pi) ** 0.5
    return Waves(places, below, (row - below).float(), angular, k)


class SumTables(torch.autograd.Function):
    """The plane waves of atoms with tables [rows, n, 32], complex [a, b, c // 2 + 1]."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, crystal: Crystal, shape: Shape, longest: float) -> Tensor:
        frac = torch.as_tensor(np.array(crystal.frac_coords), device=table.device)
        waves = find_waves(crystal, shape, longest, len(table), table.device)
        ctx.waves, ctx.frac, ctx.shape = waves, frac, table.shape
        half = torch.zeros(shape[0] * shape[1] * (shape[2] // 2 + 1), dtype=torch.complex64, device=table.device)
        for block in split_waves(waves, table.shape[1]):
            values = torch.lerp(table[block.below], table[block.below + 1], block.part[:, None, None])
            values *= block.angular[:, None]
            even, odd = values[..., :EVEN].sum(2), values[..., EVEN:].sum(2)
            cosine, sine = find_phases(block, frac)
            real, imaginary = cosine * even + sine * odd, sine * even - cosine * odd
            half[block.places] = torch.complex(real.sum(1), imaginary.sum(1))
        return half.view(shape[0], shape[1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        given = gradients[0].flatten()
        result = torch.zeros(ctx.shape, device=given.device)
        for block in split_waves(ctx.waves, ctx.shape[1]):
            cosine, sine = find_phases(block, ctx.frac)
            real, imaginary = given[block.places].real[:, None], given[block.places].imag[:, None]
            even, odd = cosine * real + sine * imaginary, sine * real - cosine * imaginary
            values = torch.cat([even[..., None].expand(-1, -1, EVEN), odd[..., None].expand(-1, -1, SLOTS - EVEN)], 2)
            values = values * block.angular[:, None]
            high = values * block.part[:, None, None]
            result.index_add_(0, block.below + 1, high).index_add_(0, block.below, values - high)
        return result, None, None, None


def split_waves(waves: Waves, atoms: int) -> Iterator[Waves]:
    """The waves in blocks whose tables have at most BLOCK numbers."""
    size = max(1, BLOCK // (SLOTS * max(atoms, 1)))
    for start in range(0, len(waves.places), size):
        yield Waves(*(part[start : start + size] for part in waves))


def find_phases(waves: Waves, frac: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine of -G.a of each wave and atom [g, n]."""
    turns = waves.k @ frac.T
    angle = (-2 * torch.pi * (turns - turns.round())).float()
    return angle.cos(), angle.sin()
