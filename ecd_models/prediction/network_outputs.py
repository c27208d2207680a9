"""The outputs of a network at points or on a whole grid, on a processor, chunk by chunk in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from ecd_data.crystal import Crystal, Floats
from ecd_data.errors import UsageError
from ecd_data.symmetry import grid_orbits
from ecd_models.batch import make_item
from ecd_models.graph import Neighbors
from ecd_models.kernels import Decoder, fast_decoder
from ecd_models.model import DensityModel

CHUNK_EDGES = 40_000  # edges of a chunk of probes, about: fewer cost time in calls, more leave the cache
MIN_CHUNK, MAX_CHUNK = 128, 16_384  # points of a chunk
FAST_CHUNK = 1 << 16  # points between two reports of the compiled kernels
MIN_COMPILED = 20_000  # points: below these, loading the compiled kernels takes longer than they save

Advance = Callable[[int], None] | None
MakePoints = Callable[[int, int], Floats]


def grid_points(shape: tuple[int, int, int], start: int, stop: int) -> Floats:
    """Fractional coordinates of the grid points start..stop in C order [stop - start, 3]."""
    return np.stack(np.unravel_index(np.arange(start, stop), shape), axis=1) / np.array(shape)


def evaluate_grid(
    model: DensityModel,
    crystal: Crystal,
    shape: tuple[int, int, int],
    *,
    symmetry: bool,
    fast: bool | None,
    advance: Advance,
) -> Floats:
    """The network's outputs on a grid [outputs, a, b, c]; with `symmetry` from one point of each orbit."""
    if not symmetry:
        count = int(np.prod(shape))
        values = evaluate_points(
            model, crystal, count, lambda start, stop: grid_points(shape, start, stop), fast=fast, advance=advance
        )
        return values.reshape(-1, *shape)
    orbits = grid_orbits(crystal, shape)

    def points(start: int, stop: int) -> Floats:
        return np.stack(np.unravel_index(orbits.points[start:stop], shape), axis=1) / np.array(shape)

    values = evaluate_points(model, crystal, len(orbits.points), points, fast=fast, advance=advance)
    return values[:, orbits.orbit].reshape(-1, *shape)


@torch.inference_mode()
def evaluate_points(
    model: DensityModel,
    crystal: Crystal,
    count: int,
    points: MakePoints,
    *,
    fast: bool | None,
    advance: Advance,
) -> Floats:
    """The network's outputs at `count` points, whose coordinates points(start, stop) returns [outputs, count]."""
    neighbors = Neighbors(crystal, model.network.cutoff)
    was_training = model.training
    model.eval()
    try:
        item = make_item(neighbors, crystal.numbers, np.zeros((0, 3)), dtype=model.dtype).to(device=model.device)
        features = model.network.encode(item)
        compiled = _find_compiled(model, features, crystal, count, fast)
        result = np.empty((2 if model.spin else 1, count))
        ranges = _split_by_edges(neighbors, count, points) if compiled is None else _split_evenly(count, FAST_CHUNK)
        for start, stop in ranges:
            where = points(start, stop)
            if compiled is None:
                item = make_item(neighbors, crystal.numbers, where, dtype=model.dtype).to(device=model.device)
                output = model.network.decode(features, item).cpu().double().numpy()
            else:
                output = compiled(where)
            result[:, start:stop] = output.reshape(len(where), -1).T
            if advance is not None:
                advance(stop - start)
    finally:
        model.train(was_training)
    return result


def _find_compiled(
    model: DensityModel, features: Any, crystal: Crystal, count: int, fast: bool | None
) -> Decoder | None:
    """The compiled kernels for this model; None if `fast` or a small number of points says to go without."""
    if fast is False or (fast is None and count < MIN_COMPILED):
        return None
    decoder = fast_decoder(model.network, features, crystal)
    if decoder is None and fast:
        raise UsageError(
            f"there are no compiled kernels for {model.name}: they need numba (pip install 'ecd-data[fast]'), "
            "a network of this package in float32, and a processor"
        )
    return decoder


def _split_evenly(count: int, size: int) -> Iterator[tuple[int, int]]:
    return ((start, min(count, start + size)) for start in range(0, count, size))


def _split_by_edges(neighbors: Neighbors, count: int, points: MakePoints) -> Iterator[tuple[int, int]]:
    """Ranges of points with about CHUNK_EDGES edges each; the first, small chunk tells how many edges a point has."""
    start, size = 0, MIN_CHUNK
    while start < count:
        stop = min(count, start + size)
        yield start, stop
        if size == MIN_CHUNK:
            edges = max(1, len(neighbors.probes(points(start, stop)).src)) / (stop - start)
            size = int(np.clip(CHUNK_EDGES / edges, MIN_CHUNK, MAX_CHUNK))
        start = stop
