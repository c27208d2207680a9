"""Densities from a model, on a whole grid or at points, in bounded memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import ArrayLike

from ecd_data.crystal import Crystal, Floats
from ecd_data.density import Density
from ecd_data.errors import UsageError
from ecd_data.formats.quantities import PREDICTED_BY
from ecd_data.symmetry import grid_orbits
from ecd_models.batch import make_item
from ecd_models.fast import Decoder, fast_decoder
from ecd_models.graph import Neighbors
from ecd_models.model import DensityModel

log = logging.getLogger("ecd_models")

CHUNK_EDGES = 40_000  # edges a chunk of probes has, about: fewer cost calls, more leave the cache
MIN_CHUNK, MAX_CHUNK = 128, 16_384
FAST_CHUNK = 1 << 16  # points between two reports of the compiled kernels
WORTH = 20_000  # points from which loading the compiled kernels pays
FAR = 0.1  # of the electrons: what no network misses by where it knows anything

Advance = Callable[[int], None] | None


@overload
def predict(
    model: DensityModel,
    crystal: Crystal,
    *,
    shape: tuple[int, int, int],
    points: None = None,
    symmetry: bool = False,
    fast: bool | None = None,
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
    fast: bool | None = None,
    advance: Advance = None,
) -> Floats: ...
def predict(
    model: DensityModel,
    crystal: Crystal,
    *,
    shape: tuple[int, int, int] | None = None,
    points: ArrayLike | None = None,
    symmetry: bool = False,
    fast: bool | None = None,
    advance: Advance = None,
) -> Density | Floats:
    """The predicted Density on a grid of `shape`, or the densities in e/Å^3 at fractional `points` [n, 3] as an array.

    A model with spin gives the Density its magnetization, and an array [n, 2] at points. A model that knows the number
    of electrons gives a grid that has it; values at points are not scaled. A grid that was over 10 % away from it, or
    from the electrons of the superposed atoms, is logged as a warning.
    symmetry: ask the network at one grid point of each orbit of the crystal's space group only; the same to rounding.
    fast: False for the network's own `decode`, on any device; True for the compiled kernels of `ecd_models.fast`, or an
    error where there are none; None for the kernels where they are there and worth loading.
    Atoms are encoded once; probes go through in chunks, so memory beyond the output stays bounded. `advance` is told
    how many points were done. Raises UsageError unless exactly one of shape and points is given.
    """
    if (shape is None) == (points is None):
        raise UsageError("predict wants a grid shape=(a, b, c) or points [n, 3], one of the two")
    ask = partial(_ask, model, crystal, fast=fast, advance=advance)
    if points is not None:
        where = np.asarray(points, dtype=np.float64).reshape(-1, 3)
        values = ask(len(where), lambda start, stop: where[start:stop])
        values[0] += _baseline_at(model, crystal, where)
        return values.T if model.spin else values[0]
    assert shape is not None
    grid: tuple[int, int, int] = tuple(int(n) for n in shape)  # type: ignore[assignment]
    if len(grid) != 3 or min(grid) < 1:
        raise UsageError(f"a grid needs three positive numbers of points, not {shape}")
    values = (_symmetric if symmetry else _everywhere)(ask, crystal, grid).reshape(-1, *grid)
    _complete(model, crystal, grid, values[0])
    values.flags.writeable = False  # so that the density takes the array as it is
    meta = {"functional": "predicted", "comment": f"{PREDICTED_BY} {model.name}"}
    return Density(crystal, values[0], values[1] if model.spin else None, meta=meta)


def _complete(model: DensityModel, crystal: Crystal, grid: tuple[int, int, int], values: Floats) -> None:
    """Adds the superposed atoms to a network's output on a grid and scales it to the electrons, where they are known.

    Warns where the prediction is far from them: a network outside of what it was trained on.
    """
    nelect = model.nelect(crystal)
    expected = nelect
    if model.atoms is not None:
        atoms = model.atoms(crystal, grid)
        values += atoms.values
        expected = atoms.nelect if nelect is None else nelect
    found = values.mean() * crystal.volume
    if expected is not None and abs(found - expected) > FAR * expected:
        log.warning(
            "%s predicts %.1f electrons for %s, which has %.1f: the crystal is unlike what it was trained on, do not"
            " use this density",
            *(model.name, found, crystal.formula, expected),
        )
    if nelect is not None:
        values *= nelect / found


def grid_points(shape: tuple[int, int, int], start: int, stop: int) -> Floats:
    """Fractional coordinates of the grid points start..stop in C order [stop - start, 3]."""
    return np.stack(np.unravel_index(np.arange(start, stop), shape), axis=1) / np.array(shape)


Ask = Callable[[int, Callable[[int, int], Floats]], Floats]


def _everywhere(ask: Ask, crystal: Crystal, grid: tuple[int, int, int]) -> Floats:
    return ask(int(np.prod(grid)), lambda start, stop: grid_points(grid, start, stop))


def _symmetric(ask: Ask, crystal: Crystal, grid: tuple[int, int, int]) -> Floats:
    orbits = grid_orbits(crystal, grid)

    def points(start: int, stop: int) -> Floats:
        return np.stack(np.unravel_index(orbits.points[start:stop], grid), axis=1) / np.array(grid)

    return ask(len(orbits.points), points)[:, orbits.orbit]


def _baseline_at(model: DensityModel, crystal: Crystal, points: Floats) -> Floats | float:
    if model.atoms is None:
        return 0.0
    spacing = 0.08  # Å: fine enough for the sharpest fitted atom
    shape = tuple(int(np.ceil(length / spacing)) for length in np.linalg.norm(crystal.lattice, axis=1))
    return model.atoms(crystal, shape).at(points)  # type: ignore[arg-type]


@torch.inference_mode()
def _ask(
    model: DensityModel,
    crystal: Crystal,
    count: int,
    points: Callable[[int, int], Floats],
    *,
    fast: bool | None,
    advance: Advance,
) -> Floats:
    """The network's outputs at `count` points, which `points(start, stop)` makes chunk by chunk [outputs, count]."""
    neighbors = Neighbors(crystal, model.network.cutoff)
    was_training = model.training
    model.eval()
    try:
        item = make_item(neighbors, crystal.numbers, np.zeros((0, 3)), dtype=model.dtype).to(device=model.device)
        features = model.network.encode(item)
        compiled = _compiled(model, features, crystal, count, fast)
        result = np.empty((2 if model.spin else 1, count))
        ranges = _chunks(neighbors, count, points) if compiled is None else _ranges(count, FAST_CHUNK)
        for start, stop in ranges:
            where = points(start, stop)
            if compiled is None:
                item = make_item(neighbors, crystal.numbers, where, dtype=model.dtype).to(device=model.device)
                output = model.network.decode(features, item).double().cpu().numpy()
            else:
                output = compiled(where)
            result[:, start:stop] = output.reshape(len(where), -1).T
            if advance is not None:
                advance(stop - start)
    finally:
        model.train(was_training)
    return result


def _compiled(model: DensityModel, features: Any, crystal: Crystal, count: int, fast: bool | None) -> Decoder | None:
    """The compiled kernels for this model where they are wanted."""
    if fast is False or (fast is None and count < WORTH):
        return None
    found = fast_decoder(model.network, features, crystal)
    if found is None and fast:
        raise UsageError(
            f"there are no compiled kernels for {model.name}: they need numba (pip install 'ecd-data[fast]'), "
            "a network of this package in float32, and a processor"
        )
    return found


def _ranges(count: int, size: int) -> Iterator[tuple[int, int]]:
    return ((start, min(count, start + size)) for start in range(0, count, size))


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
