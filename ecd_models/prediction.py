"""Densities from a model, on a whole grid or at points, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import overload

import numpy as np
import torch
from numpy.typing import ArrayLike

from ecd_data.crystal import Crystal, Floats
from ecd_data.density import Density
from ecd_data.errors import UsageError
from ecd_data.symmetry import grid_orbits
from ecd_models.batch import make_item
from ecd_models.graph import Neighbors
from ecd_models.model import DensityModel

CHUNK_EDGES = 15_000  # edges a chunk of probes has, about: what passes between layers then stays in the cache
MIN_CHUNK, MAX_CHUNK = 128, 16_384

Advance = Callable[[int], None] | None


@overload
def predict(
    model: DensityModel,
    crystal: Crystal,
    *,
    shape: tuple[int, int, int],
    points: None = None,
    symmetry: bool = False,
    advance: Advance = None,
) -> Density: ...
@overload
def predict(
    model: DensityModel,
    crystal: Crystal,
    *,
    shape: None = None,
    points: ArrayLike,
    symmetry: bool = False,
    advance: Advance = None,
) -> Floats: ...
def predict(
    model: DensityModel,
    crystal: Crystal,
    *,
    shape: tuple[int, int, int] | None = None,
    points: ArrayLike | None = None,
    symmetry: bool = False,
    advance: Advance = None,
) -> Density | Floats:
    """The predicted Density on a grid of `shape`, or the densities in e/Å^3 at fractional `points` [n, 3] as an array.

    symmetry: ask the network at one grid point of each orbit of the crystal's space group only; the same to rounding.
    Atoms are encoded once; probes go through in chunks, so memory beyond the output stays bounded. `advance` is told
    how many points were done. Raises UsageError unless exactly one of shape and points is given.
    """
    if (shape is None) == (points is None):
        raise UsageError("predict wants a grid shape=(a, b, c) or points [n, 3], one of the two")
    if points is not None:
        where = np.asarray(points, dtype=np.float64).reshape(-1, 3)
        return _at(model, crystal, len(where), lambda start, stop: where[start:stop], advance) + (
            _baseline_at(model, crystal, where)
        )
    assert shape is not None
    grid: tuple[int, int, int] = tuple(int(n) for n in shape)  # type: ignore[assignment]
    if len(grid) != 3 or min(grid) < 1:
        raise UsageError(f"a grid needs three positive numbers of points, not {shape}")
    values = (_symmetric if symmetry else _everywhere)(model, crystal, grid, advance).reshape(grid)
    if model.atoms is not None:
        values += model.atoms(crystal, grid).values
    return Density(crystal, values, meta={"functional": "predicted", "comment": f"predicted by {model.name}"})


def grid_points(shape: tuple[int, int, int], start: int, stop: int) -> Floats:
    """Fractional coordinates of the grid points start..stop in C order [stop - start, 3]."""
    return np.stack(np.unravel_index(np.arange(start, stop), shape), axis=1) / np.array(shape)


def _everywhere(model: DensityModel, crystal: Crystal, grid: tuple[int, int, int], advance: Advance) -> Floats:
    return _at(model, crystal, int(np.prod(grid)), lambda start, stop: grid_points(grid, start, stop), advance)


def _symmetric(model: DensityModel, crystal: Crystal, grid: tuple[int, int, int], advance: Advance) -> Floats:
    orbits = grid_orbits(crystal, grid)
    where = np.stack(np.unravel_index(orbits.points, grid), axis=1) / np.array(grid)
    return _at(model, crystal, len(where), lambda start, stop: where[start:stop], advance)[orbits.orbit]


def _baseline_at(model: DensityModel, crystal: Crystal, points: Floats) -> Floats | float:
    if model.atoms is None:
        return 0.0
    spacing = 0.08  # Å: fine enough for the sharpest fitted atom
    shape = tuple(int(np.ceil(length / spacing)) for length in np.linalg.norm(crystal.lattice, axis=1))
    return model.atoms(crystal, shape).at(points)  # type: ignore[arg-type]


@torch.inference_mode()
def _at(
    model: DensityModel,
    crystal: Crystal,
    count: int,
    points: Callable[[int, int], Floats],
    advance: Advance,
) -> Floats:
    """What the network adds at `count` points, which `points(start, stop)` makes chunk by chunk [count]."""
    neighbors = Neighbors(crystal, model.network.cutoff)
    device, dtype = model.device, model.dtype
    item = make_item(neighbors, crystal.numbers, np.zeros((0, 3)), dtype=dtype).to(device=device)
    was_training = model.training
    model.eval()
    features = model.network.encode(item)
    result = np.empty(count)
    for start, stop in _chunks(neighbors, count, points):
        item = make_item(neighbors, crystal.numbers, points(start, stop), dtype=dtype).to(device=device)
        result[start:stop] = model.network.decode(features, item).double().cpu().numpy()
        if advance is not None:
            advance(stop - start)
    model.train(was_training)
    return result


def _chunks(neighbors: Neighbors, count: int, points: Callable[[int, int], Floats]) -> Iterator[tuple[int, int]]:
    """Ranges of points with about CHUNK_EDGES edges each, from the edge density of the chunk before."""
    start, size = 0, MIN_CHUNK
    while start < count:
        stop = min(count, start + size)
        yield start, stop
        if size == MIN_CHUNK:
            edges = max(1, len(neighbors.probes(points(start, stop)).src)) / (stop - start)
            size = int(np.clip(CHUNK_EDGES / edges, MIN_CHUNK, MAX_CHUNK))
        start = stop
