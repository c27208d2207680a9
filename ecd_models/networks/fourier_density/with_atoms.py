"""Network, fitted pairs and free atoms on a grid at once: one table for each atom, one FFT, compiled sums."""

from __future__ import annotations

import logging
from functools import cache

import numpy as np
import torch
from scipy import fft
from torch import Tensor

from ecd_data.crystal import Crystal, Floats
from ecd_models.atoms.fitted import SuperposedAtoms
from ecd_models.device.superposed_atoms import superpose
from ecd_models.networks.fourier_density.assembly import (
    ROWS,
    SLOTS,
    arrange_tables,
    degree_signs,
    half_grid,
    has_kernel,
    single_precision,
    tables,
)
from ecd_models.networks.fourier_density.device_sums import LMAX, SumTables
from ecd_models.networks.fourier_density.plane_waves import Shape, sum_plane_waves
from ecd_models.networks.fourier_density.radial import NEGLIGIBLE, RadialFunctions
from ecd_models.networks.pair_density.functions import MIN_RADIUS, PairDensityConfig, radii
from ecd_models.networks.pair_density.model import PairDensity
from ecd_models.networks.pair_density.start import BondedAtoms

log = logging.getLogger("ecd_models")

FINE = 0.008  # 1/Å between the rows of the tables of spherical atoms
SMALL_GRID = (9, 9, 9)  # on which compiled and plain sums are compared: odd, so that atoms are summed on it as well
AGREEMENT = 1e-3  # largest accepted difference, of the largest density; that of tables is a hundred times smaller
FAINT = 30.0  # exponents beyond which nothing is left of the sharpest Gaussian of free atoms


def density_with_atoms(
    coefficients: Tensor, radial: RadialFunctions, atoms: SuperposedAtoms, crystal: Crystal, shape: Shape
) -> Floats:
    """The density in e/Å^3 of superposed atoms, with a pair model or without, and of coefficients [a, b, c].

    Raises UsageError for an element without atoms.
    """
    from ecd_models.networks.fourier_density import kernel
    from ecd_models.networks.fourier_density.spherical_kernel import add_spherical

    table, longest = _tables_with_pairs(coefficients, radial, atoms, crystal)
    half = half_grid(shape)
    waves = kernel.waves_of(crystal, shape, longest)
    kernel.sum_waves(waves, shape, table.numpy(), (ROWS - 1) / longest, half.reshape(-1, 2))
    spherical, farthest = spherical_tables(atoms, crystal)
    add_spherical(crystal, shape, spherical, farthest, half)
    half /= crystal.volume
    values = fft.irfftn(half.view(np.complex64)[..., 0], s=shape, norm="forward", workers=torch.get_num_threads())
    return values.astype(np.float64)


def density_on_device(
    coefficients: Tensor, radial: RadialFunctions, atoms: SuperposedAtoms, crystal: Crystal, shape: Shape
) -> Floats:
    """The same density as `density_with_atoms`, computed where the coefficients are [a, b, c].

    Raises UsageError for an element without atoms.
    """
    table, longest = _tables_with_pairs(coefficients, radial, atoms, crystal)
    half = SumTables.apply(table / crystal.volume, crystal, shape, longest)
    values = torch.fft.irfftn(half, s=shape, norm="forward").double()
    values += superpose(atoms.free, crystal, shape, values.device)
    return values.cpu().numpy()


def _tables_with_pairs(
    coefficients: Tensor, radial: RadialFunctions, atoms: SuperposedAtoms, crystal: Crystal
) -> tuple[Tensor, float]:
    """The tables of the coefficients and of the pair model, if there is one, and their largest |G| in 1/Å."""
    atoms.require(crystal)
    pairs = atoms.pairs if isinstance(atoms, BondedAtoms) else None
    longest = radial.longest if pairs is None else max(radial.longest, _longest_of_pairs(pairs.config))
    table = tables(coefficients, radial, longest)
    if pairs is not None:
        table += pair_tables(pairs, crystal, longest).to(table.device)
    return table, longest


def pair_tables(pairs: PairDensity, crystal: Crystal, longest: float) -> Tensor:
    """The tables of a pair model's functions on each atom, for |G| from 0 to `longest` in 1/Å [ROWS, n, 32]."""
    coefficients = torch.from_numpy(pairs.coefficients(crystal)).float()
    result = torch.empty(ROWS, len(crystal), SLOTS)
    for z in np.unique(crystal.numbers):
        chosen = torch.from_numpy(crystal.numbers == z)
        result[:, chosen] = arrange_tables(coefficients[chosen], _pair_basis(pairs.config, int(z), longest))
        spherical = pairs.spherical[int(z)].detach().float().cpu()
        result[:, chosen, 0] += (_own_gaussians(pairs.config, longest) @ spherical)[:, None]
    return result


def _longest_of_pairs(config: PairDensityConfig) -> float:
    """The |G| in 1/Å beyond which nothing is left of a pair model's functions."""
    sharpest = max(config.sharpest / MIN_RADIUS**2, config.spherical_exponents[-1])
    return float(np.sqrt(4 * NEGLIGIBLE * sharpest))


@cache
def _own_gaussians(config: PairDensityConfig, longest: float) -> Tensor:
    """The Gaussians of elements of the pair model at the rows of a table [ROWS, spherical]."""
    q = np.linspace(0, longest, ROWS)[:, None]
    return single_precision(torch.from_numpy(np.exp(-(q**2) / (4 * config.spherical_exponents))))


@cache
def _pair_basis(config: PairDensityConfig, element: int, longest: float) -> Tensor:
    """The pair model's functions of an element at the rows of a table [lmax + 1, ROWS, gaussians]."""
    x = np.linspace(0, longest, ROWS)[:, None] * radii(np.array([element]))
    l = np.arange(config.lmax + 1)[:, None, None]
    values = (x / (2 * config.exponents)) ** l * np.exp(-(x**2) / (4 * config.exponents))
    values = values / np.sqrt(2 * l + 1)  # of harmonics of norm 2l + 1 to those of norm 1
    return single_precision(torch.from_numpy(values) * degree_signs(config.lmax)[:, None, None])


def spherical_tables(atoms: SuperposedAtoms, crystal: Crystal) -> tuple[Floats, float]:
    """The transforms of the crystal's free atoms [elements, rows], and the |G| in 1/Å of their last row."""
    longest = float(np.sqrt(4 * atoms.exponents.max() * FAINT))
    q = np.linspace(0, longest, int(longest / FINE))
    return atoms.coefficients[np.unique(crystal.numbers)] @ np.exp(-(q**2) / (4 * atoms.exponents[:, None])), longest


def can_sum(radial: RadialFunctions, atoms: SuperposedAtoms) -> bool:
    """Whether there are compiled sums for all functions of a network and its atoms."""
    return has_kernel(_highest_degree(radial, atoms))


def has_tables(radial: RadialFunctions, atoms: SuperposedAtoms) -> bool:
    """Whether all functions of a network and its atoms fit into a row of a table."""
    return _highest_degree(radial, atoms) <= LMAX


def _highest_degree(radial: RadialFunctions, atoms: SuperposedAtoms) -> int:
    return max(radial.lmax, atoms.pairs.config.lmax if isinstance(atoms, BondedAtoms) else 0)


def sums_agree(coefficients: Tensor, radial: RadialFunctions, atoms: SuperposedAtoms, crystal: Crystal) -> bool:
    """Whether compiled and plain sums give one density on a small grid; a warning is logged if they do not."""
    position, lattice = (torch.from_numpy(np.array(part)) for part in (crystal.frac_coords, crystal.lattice))
    plain = sum_plane_waves(coefficients.double(), radial, position, lattice, SMALL_GRID).numpy()
    expected = plain + atoms(crystal, SMALL_GRID).values
    difference = np.abs(density_with_atoms(coefficients, radial, atoms, crystal, SMALL_GRID) - expected).max()
    if difference <= AGREEMENT * np.abs(expected).max():
        return True
    if np.isfinite(expected).all():
        log.warning(
            "the compiled sums of fourier_density differ from the plain ones by up to %.2g e/Å^3: a formula was"
            " changed, or they are wrong. The plain ones are used instead, which are slower",
            difference,
        )
    return False
