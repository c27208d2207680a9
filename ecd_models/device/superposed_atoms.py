"""Superposed spherical atoms on a device: the sum in Fourier space of `SuperposedAtoms`, in float64."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ecd_data.crystal import Crystal
from ecd_models.atoms.coarse_grids import find_resolving_grid
from ecd_models.atoms.fitted import FINE, SuperposedAtoms

MAX_NUMBERS = 1 << 24  # of the reciprocal grid that are computed at a time: bounds the memory


def superpose(atoms: SuperposedAtoms, crystal: Crystal, shape: tuple[int, int, int], device: torch.device) -> Tensor:
    """The superposed density of a crystal on a grid in e/Å^3, on the device [a, b, c].

    It is computed on the processor for devices without float64, for atoms that depend on their neighbours, and on
    grids so coarse that waves have to be folded.

    Raises
    ------
    UsageError : an element has no atoms.
    """
    if device.type == "mps" or atoms.free is not atoms or find_resolving_grid(crystal, shape) != tuple(shape):
        real = np.float32 if device.type == "mps" else np.float64
        return torch.as_tensor(np.array(atoms(crystal, shape).values, dtype=real), device=device)
    atoms.require(crystal)
    waves = [
        torch.fft.fftfreq(shape[0], 1 / shape[0], dtype=torch.float64, device=device),
        torch.fft.fftfreq(shape[1], 1 / shape[1], dtype=torch.float64, device=device),
        torch.arange(shape[2] // 2 + 1, dtype=torch.float64, device=device),
    ]
    reciprocal = torch.tensor(crystal.reciprocal, device=device)
    longest = float(np.linalg.norm(crystal.reciprocal, axis=1) @ (np.array(shape) / 2 + 1))
    q = torch.arange(0, longest + 2 * FINE, FINE, dtype=torch.float64, device=device)
    functions = torch.exp(-(q[:, None] ** 2) / (4 * torch.as_tensor(atoms.exponents, device=device)))
    species = np.unique(crystal.numbers)
    tables = [functions @ torch.as_tensor(atoms.coefficients[z], device=device) for z in species]
    phases = [
        [_compute_phases(crystal, crystal.numbers == z, axis, shape, waves[axis]) for axis in range(3)] for z in species
    ]
    total = torch.empty(shape[0], shape[1], len(waves[2]), dtype=torch.complex128, device=device)
    step = max(1, MAX_NUMBERS // (shape[1] * len(waves[2])))
    for first in range(0, shape[0], step):
        planes = slice(first, min(first + step, shape[0]))
        g = waves[0][planes, None, None, None] * reciprocal[0] + waves[1][:, None, None] * reciprocal[1]
        norm = (g + waves[2][:, None] * reciprocal[2]).norm(dim=3)
        total[planes] = sum(
            _interpolate(table, norm) * _compute_structure_factor(phase, planes)
            for table, phase in zip(tables, phases, strict=True)
        )
    return torch.fft.irfftn(total / crystal.volume, s=shape, norm="forward")


def _compute_phases(
    crystal: Crystal, chosen: np.ndarray, axis: int, shape: tuple[int, int, int], waves: Tensor
) -> Tensor:
    """exp(-2 pi i k x) of the atoms in the mask `chosen` along an axis [atoms, waves]."""
    x = torch.as_tensor(crystal.frac_coords[chosen, axis], device=waves.device)
    angle = -2 * np.pi * x[:, None] * waves
    phases = torch.complex(angle.cos(), angle.sin())
    if shape[axis] % 2 == 0:  # the coefficient is that of both +n/2 and -n/2
        phases[:, shape[axis] // 2] = phases[:, shape[axis] // 2].real.to(phases.dtype)
    return phases


def _interpolate(table: Tensor, norm: Tensor) -> Tensor:
    """A function at |G| [any shape], by linear interpolation between its values at multiples of FINE."""
    x = norm / FINE
    below = x.long().clamp(max=len(table) - 2)
    low = table[below]
    return low + (x - below) * (table[below + 1] - low)


def _compute_structure_factor(phases: list[Tensor], planes: slice) -> Tensor:
    a, b, c = phases
    return ((a[:, planes, None] * b[:, None, :]).flatten(1).T @ c).unflatten(0, (-1, b.shape[1]))
