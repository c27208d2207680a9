"""The best coefficients of a given density: what a network could reach at most with the same functions.

What is minimised is the integral over the cell of (rho - atoms - A c)^2 plus ridge |c|^2, by conjugate gradients,
with A and its transpose as the kernels compute them: time and memory grow with the grid, not with the square of the
coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ecd_data.crystal import Crystal, Floats
from ecd_data.density import Density
from ecd_data.density_error import eps_mae
from ecd_data.errors import UsageError
from ecd_models.atoms.fitted import SuperposedAtoms, fit_superposed_atoms
from ecd_models.networks.fourier_density.assembly import density_on_grid
from ecd_models.networks.fourier_density.model import FourierDensityConfig, radial_functions
from ecd_models.networks.fourier_density.plane_waves import Shape
from ecd_models.networks.fourier_density.radial import RadialFunctions

RIDGE = 1e-3  # makes coefficients small enough to be learned, at the price of a hundredth of a percent
STEPS = 300
TOLERANCE = 1e-4  # of the first gradient, at which the search ends


@dataclass(frozen=True, eq=False)
class DensityFit:
    """A density and the coefficients that give it.

    density: atoms and fitted functions; coefficients [n, functions, (lmax + 1)^2]; start_error and error: eps_mae of
    the superposed atoms and of the fit, fractions; steps of the search.
    """

    density: Density
    coefficients: Floats
    start_error: float
    error: float
    steps: int


def fit_density(
    rho: Density,
    config: FourierDensityConfig | None = None,
    atoms: SuperposedAtoms | None = None,
    ridge: float = RIDGE,
) -> DensityFit:
    """The superposed atoms and functions on the atoms that are nearest to a density.

    Parameters
    ----------
    rho : the density; its spin is left out.
    config : the functions; the network's sizes do not matter.
    atoms : what the functions are added to; None fits spherical atoms to this density.
    ridge : strength of the penalty on large coefficients.

    Raises
    ------
    UsageError : the ridge is not positive, or the atoms lack an element.
    """
    if not ridge > 0:
        raise UsageError(f"the ridge is a positive number, not {ridge}: with 0 coefficients cannot be told apart")
    radial = radial_functions(config or FourierDensityConfig())
    crystal, shape = rho.crystal, rho.shape
    start = (atoms or fit_superposed_atoms([rho]))(crystal, shape)
    start = replace(start, values=start.values * (rho.nelect / start.nelect))
    target = torch.from_numpy((rho.values - start.values).astype(np.float32))
    coefficients, steps = _conjugate_gradients(target, radial, crystal, ridge)
    values = start.values + density_on_grid(coefficients, radial, crystal, shape).double().numpy()
    fitted = Density(crystal, values, meta={"functional": "fitted", "comment": "fitted functions on atoms"})
    return DensityFit(fitted, coefficients.double().numpy(), eps_mae(start, rho), eps_mae(fitted, rho), steps)


def _conjugate_gradients(target: Tensor, radial: RadialFunctions, crystal: Crystal, ridge: float) -> tuple[Tensor, int]:
    """The minimum among coefficients that hold no electrons in sum, and the steps to it."""
    shape: Shape = (target.shape[0], target.shape[1], target.shape[2])
    volume = crystal.volume / target.numel()
    monopoles = torch.from_numpy(radial.monopoles).float()

    def neutral(c: Tensor) -> Tensor:
        electrons = (c[:, :, 0] @ monopoles).sum() / (len(c) * (monopoles @ monopoles))
        return torch.cat([c[:, :, :1] - (electrons * monopoles)[None, :, None], c[:, :, 1:]], 2)

    def transpose(values: Tensor) -> Tensor:
        c = torch.zeros(len(crystal), len(monopoles), (radial.lmax + 1) ** 2, requires_grad=True)
        with torch.enable_grad():
            (density_on_grid(c, radial, crystal, shape) * values).sum().backward()
        assert c.grad is not None
        return neutral(c.grad * volume)

    residual = transpose(target)
    found, direction = torch.zeros_like(residual), residual
    square, least = float(residual.square().sum()), TOLERANCE**2 * float(residual.square().sum())
    for step in range(STEPS):
        if square <= least:
            return found, step
        image = transpose(density_on_grid(direction, radial, crystal, shape)) + ridge * direction
        length = square / float((direction * image).sum())
        found, residual = found + length * direction, residual - length * image
        previous, square = square, float(residual.square().sum())
        direction = residual + square / previous * direction
    return found, STEPS
