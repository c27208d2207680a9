"""The points of a prediction in bricks: equal numbers of points that lie close together, computed on the device.

A brick of a grid is a block of it. Other points are ordered along a curve that fills space and cut into bricks.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from ecd_data.crystal import Floats

BITS = 10  # of the space-filling curve along each axis


class Points(NamedTuple):
    """The points of b bricks of P points: fractional [b, P, 3], and the position of each in the output [b, P].

    A brick that reaches beyond the grid repeats points; the position of these is one behind the output.
    """

    fractional: Tensor
    place: Tensor


class Bricks(Protocol):
    """All points of a prediction: `count` of them in `number` bricks of `size` points."""

    count: int
    number: int
    size: int

    def points(self, first: int, last: int) -> Points:
        """The points of the bricks first to last - 1."""


def choose_block(shape: tuple[int, int, int], lattice: Floats, size: int) -> tuple[int, int, int]:
    """The numbers of grid points along the axes of the most compact block of `size` points, a power of two.

    A block is doubled along its shortest side, but only along axes where the grid has more points.
    """
    steps = np.linalg.norm(lattice, axis=1) / np.array(shape)
    block = [1, 1, 1]
    while int(np.prod(block)) < size:
        open_axes = [axis for axis in range(3) if block[axis] < shape[axis]] or [2]
        shortest = min(open_axes, key=lambda axis: block[axis] * steps[axis])
        block[shortest] *= 2
    return block[0], block[1], block[2]


class GridBricks:
    """The bricks of a whole grid, whose output is in C order."""

    def __init__(
        self, shape: tuple[int, int, int], lattice: Floats, size: int, device: torch.device, real: torch.dtype
    ):
        self.shape, self.size, self.count = shape, size, int(np.prod(shape))
        self.block = choose_block(shape, lattice, size)
        self.blocks = [-(-n // b) for n, b in zip(shape, self.block, strict=True)]
        self.number = int(np.prod(self.blocks))
        self.device, self.real = device, real

    def points(self, first: int, last: int) -> Points:
        """The points of the bricks first to last - 1."""
        brick = torch.arange(first, last, device=self.device)
        inner = torch.arange(self.size, device=self.device)
        place = torch.zeros((), dtype=torch.int64, device=self.device)
        inside = torch.ones((), dtype=torch.bool, device=self.device)
        fractional = []
        for axis in range(3):
            below = int(np.prod(self.blocks[axis + 1 :])), int(np.prod(self.block[axis + 1 :]))
            start = (brick // below[0]) % self.blocks[axis] * self.block[axis]
            index = start[:, None] + (inner // below[1]) % self.block[axis]
            inside = inside & (index < self.shape[axis])
            index = index.clamp(max=self.shape[axis] - 1)
            place = place * self.shape[axis] + index
            fractional.append(index.to(self.real) / self.shape[axis])
        return Points(torch.stack(fractional, dim=2), torch.where(inside, place, self.count))


class PointBricks:
    """The bricks of fractional points [n, 3] in the home cell, whose output has the order of the points."""

    def __init__(self, points: Tensor, lattice: Floats, size: int):
        self.size, self.count = size, len(points)
        self.number = -(-len(points) // size)
        self._order = torch.argsort(_find_curve_positions(points, lattice), stable=True)
        self._points = points

    def points(self, first: int, last: int) -> Points:
        """The points of the bricks first to last - 1."""
        at = torch.arange(first * self.size, last * self.size, device=self._order.device)
        place = self._order[at.clamp(max=self.count - 1)]
        fractional = self._points[place].view(last - first, self.size, 3)
        return Points(fractional, torch.where(at < self.count, place, self.count).view(last - first, self.size))


def _find_curve_positions(points: Tensor, lattice: Floats) -> Tensor:
    """The positions of points along Morton's curve, on which points that are near in space are near [n]."""
    lengths = np.linalg.norm(lattice, axis=1)
    low = points.amin(dim=0) if len(points) else points.new_zeros(3)
    steps = torch.tensor(lengths / lengths.max() * (1 << BITS), dtype=points.dtype, device=points.device)
    cubes = ((points - low) * steps).long().clamp(0, (1 << BITS) - 1)
    code = torch.zeros(len(points), dtype=torch.int64, device=points.device)
    for bit in range(BITS):
        for axis in range(3):
            code |= ((cubes[:, axis] >> bit) & 1) << (3 * bit + axis)
    return code
