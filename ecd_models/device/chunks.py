"""All outputs of a network at many points: chunk by chunk, each as large as the device's memory allows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ecd_models.device.bricks import Bricks
from ecd_models.device.near import SEARCHED, Counts, Images, count_near, edge_mask, find_near

LARGEST = 1 << 18  # points of a chunk: more fill no device better
SHARE = 0.4  # of the memory that is free, for what a chunk needs at a time
UNKNOWN = 1 << 30  # bytes for a chunk where a device does not say what is free
ENTRY = 60  # bytes that the search takes for each point of a brick and each image near it


class Decoder(Protocol):
    """A network's outputs at the points of some bricks."""

    needs_edges: bool  # whether it gets the number of edges, 0 otherwise
    brick: int  # points of a brick that suit it best
    bytes_each: tuple[int, int, int]  # memory for a point, for a pair of a point and an atom, and for an edge, about

    def __call__(self, near: Any, pairs: int, edges: int) -> Tensor:
        """The outputs [points] or [points, outputs]; pairs: of a brick and an atom near it."""


def free_bytes(device: torch.device) -> int:
    """The memory that a chunk may take on a device."""
    if device.type != "cuda":
        return UNKNOWN
    free = torch.cuda.mem_get_info(device)[0]
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(SHARE * (free + unused))


def chunks_of(
    counts: Counts, size: int, images: int, bytes_each: tuple[int, int, int], memory: int
) -> list[tuple[int, int]]:
    """Ranges of bricks of `size` points that take at most `memory` bytes, or are a single brick."""
    point, pair, edge = bytes_each
    costs = size * (point + pair * counts.pairs + (edge + ENTRY) * counts.entries)
    ends = np.cumsum(costs)
    most = max(1, min(LARGEST // size, SEARCHED // max(1, images)))
    ranges, first = [], 0
    while first < len(costs):
        before = ends[first - 1] if first else 0
        last = int(np.searchsorted(ends, before + memory, side="right"))
        last = min(max(last, first + 1), first + most, len(costs))
        ranges.append((first, last))
        first = last
    return ranges


def decode_all(
    decoder: Decoder,
    images: Images,
    bricks: Bricks,
    outputs: int,
    advance: Callable[[int], None] | None = None,
    memory: int | None = None,
) -> Tensor:
    """The outputs at all points of the bricks, on the device [outputs, count].

    The host waits for the device while the neighbours are counted, before the first chunk, and no more, unless
    `advance` wants to hear how many points are done.
    """
    device = images.positions.device
    counts = count_near(images, bricks)
    memory = free_bytes(device) if memory is None else memory
    ranges = chunks_of(counts, bricks.size, len(images.atoms), decoder.bytes_each, memory)
    entries = [int(counts.entries[first:last].sum()) for first, last in ranges]
    edges = _count_edges(images, bricks, ranges, entries) if decoder.needs_edges else [0] * len(ranges)
    result = torch.empty(outputs, bricks.count + 1, dtype=torch.float32, device=device)
    progress = _Progress(bricks, device, advance)
    for (first, last), near_count, edge_count in zip(ranges, entries, edges, strict=True):
        near = find_near(images, bricks, first, last, near_count)
        output = decoder(near, int(counts.pairs[first:last].sum()), edge_count)
        result[:, near.place.flatten()] = output.reshape(near.rows, outputs).T.float()
        progress.add(first, last)
    progress.finish()
    return result[:, :-1]


def _count_edges(images: Images, bricks: Bricks, ranges: list[tuple[int, int]], entries: list[int]) -> list[int]:
    sums = [
        edge_mask(find_near(images, bricks, first, last, count)).sum()
        for (first, last), count in zip(ranges, entries, strict=True)
    ]
    return [int(n) for n in torch.stack(sums).cpu()] if sums else []


class _Progress:
    """Reports how many points are done, two chunks behind what the device was given: it never runs out of work."""

    def __init__(self, bricks: Bricks, device: torch.device, advance: Callable[[int], None] | None):
        self._advance, self._bricks, self._device = advance, bricks, device
        self._waiting: list[tuple[Any, int]] = []
        self._done = 0

    def add(self, first: int, last: int) -> None:
        """Note that the device was given a chunk."""
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
