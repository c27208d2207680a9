"""The atom images near each brick of points, found on the device: a short list for each brick, a bit for each edge.

A first pass counts them for all bricks, so that the host knows the sizes of all arrays that follow and need not wait
for the device again.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecd_data.crystal import Crystal
from ecd_models.device.bricks import Bricks
from ecd_models.graph import Neighbors

MAX_SEARCH_PAIRS = 1 << 24  # pairs of a brick and an image in one search: bounds its memory
MARGIN = 1e-3  # Å: covers the rounding of the first, coarse search, which is in float32
WORD = 32  # points whose edges are bits of one word


class Images(NamedTuple):
    """The atom images that can reach a point of the home cell, ordered by atom, on a device.

    positions : in Å [n, 3].
    atoms : the atom of each image [n].
    last : the position behind the images of each atom [atoms].
    lattice : in Å [3, 3].
    periodic : the periodic directions [3].
    reach : the largest length of an edge in Å, the cutoff with a margin for rounding.
    """

    positions: Tensor
    atoms: Tensor
    last: Tensor
    lattice: Tensor
    periodic: Tensor
    reach: float

    @classmethod
    def of(cls, neighbors: Neighbors, device: torch.device, real: torch.dtype) -> Images:
        """The images around a crystal."""
        crystal: Crystal = neighbors.crystal
        atoms, positions = neighbors.images
        order = np.argsort(atoms, kind="stable")
        last = np.searchsorted(atoms[order], np.arange(len(crystal)), side="right")
        reach = neighbors.reach if real == torch.float64 else neighbors.cutoff * (1 + 1e-6)
        return cls(
            torch.as_tensor(positions[order], dtype=real, device=device),
            torch.as_tensor(atoms[order], dtype=torch.int32, device=device),
            torch.as_tensor(last, device=device),
            torch.as_tensor(np.array(crystal.lattice), dtype=real, device=device),
            torch.as_tensor(np.array(crystal.pbc), device=device),
            reach,
        )

    def to_home_cell(self, fractional: Tensor) -> Tensor:
        """Fractional points [..., 3], moved into the home cell along periodic directions, in Å [..., 3]."""
        return torch.where(self.periodic, fractional - fractional.floor(), fractional) @ self.lattice


class Counts(NamedTuple):
    """The number of images near each brick [b], and the number of their atoms [b]."""

    entries: NDArray[np.int64]
    pairs: NDArray[np.int64]


class Near(NamedTuple):
    """b bricks of P points with e near images, which are ordered by brick, then by atom.

    points : positions in Å from the centre of the brick [b, 3, P].
    begins : the positions of the images of each brick in the list [b + 1].
    brick, atoms : the brick and the atom of each image [e].
    images : positions in Å from the centre of the brick [e, 3].
    words : a bit for each point within reach of an image [e, P / 32].
    place : the position of each point in the output [b, P], see `Points`.
    """

    points: Tensor
    begins: Tensor
    brick: Tensor
    atoms: Tensor
    images: Tensor
    words: Tensor
    place: Tensor

    @property
    def size(self) -> int:
        """The number of points of a brick."""
        return self.points.shape[2]

    @property
    def rows(self) -> int:
        """The number of points of all bricks."""
        return self.place.numel()

    @property
    def kernel_arguments(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """What kernels that go through the images near each brick are given: points, begins, atoms, images, words."""
        return self.points, self.begins, self.atoms, self.images, self.words


def count_near(images: Images, bricks: Bricks) -> Counts:
    """The counts of all bricks; the host waits for the device."""
    parts = []
    for first, last in search_ranges(images, bricks.number):
        points = images.to_home_cell(bricks.points(first, last).fractional)
        near = _find_near_boxes(points, images)
        ends = near.cumsum(1, dtype=torch.int32)
        ends = torch.cat([ends.new_zeros(len(ends), 1), ends[:, images.last - 1]], dim=1) if near.shape[1] else ends
        pairs = (ends.diff(dim=1) > 0).sum(1)
        parts.append(torch.stack([near.sum(1), pairs], dim=1))
    counts = torch.cat(parts).cpu().numpy() if parts else np.zeros((0, 2), np.int64)
    return Counts(counts[:, 0], counts[:, 1])


def search_ranges(images: Images, number: int) -> list[tuple[int, int]]:
    """Ranges of bricks whose pairs with all images fit one search."""
    step = max(1, MAX_SEARCH_PAIRS // max(1, len(images.atoms)))
    return [(first, min(number, first + step)) for first in range(0, number, step)]


def find_near(images: Images, bricks: Bricks, first: int, last: int, entries: int) -> Near:
    """The `entries` images near the bricks first to last - 1."""
    fractional, place = bricks.points(first, last)
    points = images.to_home_cell(fractional)
    near = _find_near_boxes(points, images)
    counts = near.sum(1)
    begins = torch.cat([counts.new_zeros(1), counts.cumsum(0)]).int()
    pair = find_true(near.flatten(), entries)
    brick, image = pair // max(1, near.shape[1]), pair % max(1, near.shape[1])
    centers = (points.amin(1) + points.amax(1)) / 2
    relative = points - centers[:, None]
    shifts = images.positions[image] - centers[brick]
    square = sum(((relative[brick, :, axis] - shifts[:, axis, None]) ** 2 for axis in range(3)), start=torch.zeros(()))
    return Near(
        relative.transpose(1, 2).float().contiguous(),
        begins,
        brick.int(),
        images.atoms[image],
        shifts.float(),
        _pack_bits(square <= images.reach**2),
        place,
    )


def find_true(mask: Tensor, count: int) -> Tensor:
    """The indices at which a mask [n] is true [count]; with `count` known beforehand, the host does not wait."""
    to = torch.where(mask, mask.cumsum(0) - 1, count)
    indices = to.new_zeros(count + 1)
    return indices.scatter_(0, to, torch.arange(len(mask), device=mask.device))[:count]


def edge_mask(near: Near) -> Tensor:
    """Whether each point of the brick is within reach of each image [e, P]."""
    bits = torch.arange(min(WORD, near.size), device=near.words.device, dtype=torch.int32)
    return ((near.words[:, :, None] >> bits) & 1).bool().flatten(1)


def _find_near_boxes(points: Tensor, images: Images) -> Tensor:
    """Whether each image is near the box around each brick's points [b, P, 3], with MARGIN [b, n]."""
    low, high = points.amin(1).float() - MARGIN, points.amax(1).float() + MARGIN
    square = torch.zeros((), device=points.device)
    for axis in range(3):
        x = images.positions[:, axis].float()
        square = square + torch.maximum(low[:, axis, None] - x, x - high[:, axis, None]).clamp(min=0) ** 2
    return square <= (images.reach + MARGIN) ** 2


def _pack_bits(within: Tensor) -> Tensor:
    """Booleans [e, P] as bits, 32 in a word, the first one in the lowest bit [e, P / 32]."""
    width = min(WORD, within.shape[1])
    weights = [1 << bit if bit < WORD - 1 else -(1 << bit) for bit in range(width)]
    values = torch.tensor(weights, dtype=torch.int32, device=within.device)
    return (within.view(len(within), -1, width) * values).sum(2, dtype=torch.int32)
