"""Predictions of a model on a GPU or another device of torch: everything is computed where its weights are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ecd_data.crystal import Crystal, Floats
from ecd_data.errors import UsageError
from ecd_data.symmetry import grid_orbits
from ecd_models.batch import make_item
from ecd_models.device import Device
from ecd_models.device.superposed_atoms import superpose
from ecd_models.graph import Neighbors
from ecd_models.model import DensityModel

MIN_COMPILED = 200_000  # points: for fewer, compiling the GPU kernels takes longer than they save

Advance = Callable[[int], None] | None


@torch.inference_mode()
def predict_on_device(
    model: DensityModel,
    crystal: Crystal,
    grid: tuple[int, int, int],
    complete: Callable[[Tensor, Tensor | None], None],
    *,
    symmetry: bool,
    fast: bool | None,
    advance: Advance,
) -> Floats:
    """The density, and the magnetization if the model has spin, of a model on a device [outputs, a, b, c].

    complete: adds the superposed atoms (None if the model has none) to the network's output and scales it, in place.
    """
    with _encode_on_device(model, crystal) as device:
        count = int(np.prod(grid))
        decoder = _choose_decoder(device, model, count, fast)
        if symmetry:
            orbits = grid_orbits(crystal, grid)
            points = np.stack(np.unravel_index(orbits.points, grid), axis=1) / np.array(grid)
            orbit_values = device.at_points(decoder, points, advance)
            values = orbit_values[:, torch.as_tensor(orbits.orbit, device=orbit_values.device)]
        else:
            values = device.on_grid(decoder, grid, advance)
        values = values.to(device.real).reshape(-1, *grid)
        atoms = None if model.atoms is None else superpose(model.atoms, crystal, grid, model.device)
        complete(values[0], atoms)
        return values.cpu().numpy().astype(np.float64, copy=False)


@torch.inference_mode()
def evaluate_points_on_device(
    model: DensityModel, crystal: Crystal, points: Floats, *, fast: bool | None, advance: Advance
) -> Floats:
    """The network's outputs at fractional points [n, 3], without superposed atoms [outputs, n]."""
    with _encode_on_device(model, crystal) as device:
        decoder = _choose_decoder(device, model, len(points), fast)
        return device.at_points(decoder, points, advance).cpu().double().numpy()


@contextmanager
def _encode_on_device(model: DensityModel, crystal: Crystal) -> Iterator[Device]:
    """A context with the atoms of a crystal encoded on the model's device, in evaluation mode and without autocast."""
    neighbors = Neighbors(crystal, model.network.cutoff)
    was_training = model.training
    model.eval()
    try:
        item = make_item(neighbors, crystal.numbers, np.zeros((0, 3)), dtype=model.dtype).to(device=model.device)
        with torch.autocast(model.device.type, enabled=False):
            yield Device(model.network, model.network.encode(item), item, neighbors)
    finally:
        model.train(was_training)


def _choose_decoder(device: Device, model: DensityModel, count: int, fast: bool | None) -> Any:
    """The GPU kernels for this model, or the network's own `decode` if `fast` or a small number of points says so.

    Raises UsageError if `fast` is true and there are no kernels.
    """
    if fast is False or (fast is None and count < MIN_COMPILED):
        return device.plain
    kernels = device.kernels()
    if kernels is None and fast:
        raise UsageError(
            f"there are no GPU kernels for {model.name} on {model.device}: they need Triton"
            " (pip install 'ecd-data[gpu]'), a network of this package in float32, and a GPU"
        )
    return device.plain if kernels is None else kernels
