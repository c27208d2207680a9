"""From coefficients to densities on whole grids: compiled sums on a processor, sums of tables in torch on a GPU.

Without the compiler, for l > 4 and in float64 the sums are those of plain torch.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecd_data.crystal import Crystal
from ecd_models.networks.fourier_density.device_sums import EVEN, LMAX, SLOTS, SumTables
from ecd_models.networks.fourier_density.plane_waves import Shape, sum_plane_waves
from ecd_models.networks.fourier_density.radial import RadialFunctions

SMALLEST = 1e-20  # of the values of radial functions
ROWS = 2048  # of a table of |G|: linear values between them are off by 1e-4 of the largest at most


def density_on_grid(coefficients: Tensor, radial: RadialFunctions, crystal: Crystal, shape: Shape) -> Tensor:
    """The density in e/Å^3 of coefficients [n, functions, (lmax + 1)^2] [a, b, c], with derivatives in them."""
    sums = choose_sums(coefficients, radial.lmax)
    if sums is not None:
        table = tables(coefficients, radial, radial.longest) / crystal.volume
        half = sums.apply(table, crystal, shape, radial.longest)
        return torch.fft.irfftn(half, s=shape, norm="forward")
    frac = torch.as_tensor(np.array(crystal.frac_coords), device=coefficients.device)
    lattice = torch.as_tensor(np.array(crystal.lattice), device=coefficients.device)
    return sum_plane_waves(coefficients, radial, frac, lattice, shape)


def choose_sums(coefficients: Tensor, lmax: int) -> Any:
    """The sums over atoms for the device and the type of coefficients, None where only plain torch has them."""
    if coefficients.dtype != torch.float32 or lmax > LMAX:
        return None
    if coefficients.device.type == "cpu":
        return _Sum if has_kernel(lmax) else None
    return SumTables if coefficients.device.type == "cuda" else None


def has_kernel(lmax: int) -> bool:
    """Whether the compiled sums are there for functions up to lmax."""
    return lmax <= LMAX and find_spec("numba") is not None


def tables(coefficients: Tensor, radial: RadialFunctions, longest: float) -> Tensor:
    """The tables of |G| from 0 to `longest` of each atom, as the kernels want them [ROWS, n, 32]."""
    return arrange_tables(coefficients, _basis(radial, longest, coefficients.device))


def arrange_tables(coefficients: Tensor, basis: Tensor) -> Tensor:
    """The tables of atoms with coefficients [n, functions, (lmax + 1)^2] [ROWS, n, 32].

    basis [lmax + 1, ROWS, functions]: radial functions at the rows, with the sign of (-i)^l, for harmonics of norm
    2l + 1.
    """
    count, functions = len(coefficients), coefficients.shape[1]

    def of_degrees(first: int, places: int) -> list[Tensor]:
        found, used = [], 0
        for l in range(first, len(basis), 2):
            chosen = coefficients[:, :, l**2 : (l + 1) ** 2].permute(1, 0, 2).reshape(functions, -1)
            found.append((basis[l] @ chosen).view(ROWS, count, 2 * l + 1))
            used += 2 * l + 1
        return [*found, coefficients.new_zeros(ROWS, count, places - used)]

    return torch.cat([*of_degrees(0, EVEN), *of_degrees(1, SLOTS - EVEN)], 2)


@cache
def _basis(radial: RadialFunctions, longest: float, device: torch.device) -> Tensor:
    """Values of the functions at the rows of a table, with the sign of (-i)^l [lmax + 1, ROWS, functions], float32."""
    values = radial.transform(torch.linspace(0, longest, ROWS, dtype=torch.float64))
    norm = np.sqrt(4 * np.pi)  # of harmonics of norm 2l + 1 to orthonormal ones
    basis = single_precision(values * degree_signs(radial.lmax)[:, None] / norm).transpose(0, 1)
    return basis.contiguous().to(device)


def single_precision(values: Tensor) -> Tensor:
    """The values in float32, those near its smallest numbers as 0: processors take long for products of these."""
    return torch.where(values.abs() < SMALLEST, 0.0, values).float()


def degree_signs(lmax: int) -> Tensor:
    """The sign of (-i)^l for even l, of i (-i)^l for odd l [lmax + 1]."""
    return torch.tensor([(1.0, 1.0, -1.0, -1.0)[l % 4] for l in range(lmax + 1)], dtype=torch.float64)


def half_grid(shape: Shape) -> NDArray[np.float32]:
    """Zeros for real and imaginary parts of the plane waves of a grid [a, b, c // 2 + 1, 2]."""
    return np.zeros((shape[0], shape[1], shape[2] // 2 + 1, 2), np.float32)


class _Sum(torch.autograd.Function):
    """The plane waves of atoms with tables [ROWS, n, 32], complex [a, b, c // 2 + 1]."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, crystal: Crystal, shape: Shape, longest: float) -> Tensor:
        from ecd_models.networks.fourier_density import kernel

        ctx.waves, ctx.shape, ctx.longest = kernel.waves_of(crystal, shape, longest), shape, longest
        out = half_grid(shape)
        kernel.sum_waves(ctx.waves, shape, table.detach().numpy(), (ROWS - 1) / longest, out.reshape(-1, 2))
        return torch.view_as_complex(torch.from_numpy(out))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        from ecd_models.networks.fourier_density import kernel

        given = torch.view_as_real(gradients[0].contiguous()).numpy().reshape(-1, 2)
        pulled = kernel.pull_waves(ctx.waves, ctx.shape, given, (ROWS - 1) / ctx.longest, ROWS)
        return torch.from_numpy(pulled), None, None, None
