"""All outputs of a network at many points, in chunks as large as the memory of the device allows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ecd_models.device.bricks import Bricks
from ecd_models.device.near import MAX_SEARCH_PAIRS, Counts, Images, count_near, edge_mask, find_near

MAX_CHUNK = 1 << 18  # points: larger chunks are no faster on any device
MEMORY_SHARE = 0.4  # of the free memory, for one chunk
DEFAULT_MEMORY = 1 << 30  # bytes of a chunk on devices that do not report their free memory
ENTRY_BYTES = 60  # memory of the search for each point of a brick and each image near it


class Decoder(Protocol):
    """A network's outputs at the points of some bricks."""

    needs_edges: bool  # whether it needs the number of edges, else 0 is passed
    brick: int  # the best number of points of a brick
    bytes_each: tuple[int, int, int]  # approximate memory of a point, of a pair of a point and an atom, of an edge

    def __call__(self, near: Any, pairs: int, edges: int) -> Tensor:
        """The outputs [points] or [points, outputs]; pairs: the number of pairs of a brick and an atom near it."""


def free_bytes(device: torch.device) -> int:
    """The memory in bytes that a chunk may take on a device."""
    if device.type != "cuda":
        return DEFAULT_MEMORY
    free = torch.cuda.mem_get_info(device)[0]
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(MEMORY_SHARE * (free + unused))


def split_into_chunks(
    counts: Counts, size: int, images: int, bytes_each: tuple[int, int, int], memory: int
) -> list[tuple[int, int]]:
    """Ranges of bricks of `size` points that need at most `memory` bytes, or have a single brick."""
    point, pair, edge = bytes_each
    costs = size * (point + pair * counts.pairs + (edge + ENTRY_BYTES) * counts.entries)
    ends = np.cumsum(costs)
    max_bricks = max(1, min(MAX_CHUNK // size, MAX_SEARCH_PAIRS // max(1, images)))
    ranges, first = [], 0
    while first < len(costs):
        before = ends[first - 1] if first else 0
        last = int(np.searchsorted(ends, before + memory, side="right"))
        last = min(max(last, first + 1), first + max_bricks, len(costs))
        ranges.append((first, last))
        first = last
    return ranges


def decode_all(
    decoder: Decoder,
    images: Images,
    bricks: Bricks,
    outputs: int,
    advance: Callable[[int], None] | None,
    memory: int | None,
) -> Tensor:
    """The outputs at all points of the bricks, on the device [outputs, count].

    The host waits for the device while the neighbours are counted, before the first chunk, and later only if `advance`
    is given.
    """
    device = images.positions.device
    counts = count_near(images, bricks)
    memory = free_bytes(device) if memory is None else memory
    ranges = split_into_chunks(counts, bricks.size, len(images.atoms), decoder.bytes_each, memory)
    entries = [int(counts.entries[first:last].sum()) for first, last in ranges]
    edges = _count_edges(images, bricks, ranges, entries) if decoder.needs_edges else [0] * len(ranges)
    result = torch.empty(outputs, bricks.count + 1, dtype=torch.float32, device=device)
    progress = _Progress(bricks, device, advance)
    for (first, last), near_count, edge_count in zip(ranges, entries, edges, strict=True):
        near = find_near(images, bricks, first, last, near_count)
        output = decoder(near, int(counts.pairs[first:last].sum()), edge_count)
        result[:, near.place.flatten()] = output.reshape(near.rows, outputs).T.float()
        progress.add(last)
    progress.finish()
    return result[:, :-1]


def _count_edges(images: Images, bricks: Bricks, ranges: list[tuple[int, int]], entries: list[int]) -> list[int]:
    sums = [
        edge_mask(find_near(images, bricks, first, last, count)).sum()
        for (first, last), count in zip(ranges, entries, strict=True)
    ]
    return [int(n) for n in torch.stack(sums).cpu()] if sums else []


class _Progress:
    """Reports how many points are done, with two more chunks given to the device, so that this never waits for work."""

    def __init__(self, bricks: Bricks, device: torch.device, advance: Callable[[int], None] | None):
        self._advance, self._bricks, self._device = advance, bricks, device
        self._waiting: list[tuple[Any, int]] = []
        self._done = 0

    def add(self, last: int) -> None:
        """Add a chunk that ends before the brick `last`, and report the chunks before it that are done."""
        if self._advance is None:
            return
        event = torch.cuda.Event() if self._device.type == "cuda" else None
        if event is not None:
            event.record()
        self._waiting.append((event, last))
        while len(self._waiting) > (2 if event is not None else 0):
            self._report()

    def finish(self) -> None:
        """Wait for all chunks and report them."""
        while self._waiting:
            self._report()

    def _report(self) -> None:
        event, last = self._waiting.pop(0)
        if event is not None:
            event.synchronize()
        done = round(self._bricks.count * last / self._bricks.number)
        assert self._advance is not None
        self._advance(done - self._done)
        self._done = done
