"""Superposed spherical atoms: one radial density per element, fitted on training crystals, summed in Fourier space.

rho(G) = 1/V sum_a f_{Z_a}(|G|) exp(-i G.r_a) with f_Z(q) = sum_k c_{Z,k} exp(-q^2 / (4 alpha_k)).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from ecd_data.crystal import SYMBOLS, Crystal, Floats
from ecd_data.density import Density
from ecd_data.errors import UsageError
from ecd_data.fourier import Complexes, Shape
from ecd_models.atoms.coarse_grids import sum_on_grid

EXPONENTS = np.geomspace(0.15, 60.0, 16)  # 1/Å^2, of the Gaussians: from diffuse valence shells to semicore d shells
MAX_ELEMENT = 118
RIDGE = 1e-7  # relative, on the diagonal of the normal equations, whose Gaussians nearly depend on each other
COARSE, FINE = 0.01, 0.002  # 1/Å: width of the |G| shells of the fit, and step of the table of form factors
COUNT_WEIGHT = 1e3  # of G = 0 in the fit, so that crystals keep their numbers of electrons


@dataclass(frozen=True, eq=False)
class SuperposedAtoms:
    """Spherical atomic densities by element, as sums of Gaussians; called, they give the density of a crystal.

    coefficients [119, K] in electrons, rows of NaN for elements without a density; exponents [K] in 1/Å^2.
    """

    coefficients: Floats
    exponents: Floats = field(default_factory=lambda: EXPONENTS)

    @property
    def elements(self) -> list[str]:
        """The elements that have a density."""
        return [SYMBOLS[z] for z in np.flatnonzero(np.isfinite(self.coefficients).all(axis=1))]

    @property
    def free(self) -> SuperposedAtoms:
        """The spherical atoms, without what another kind of atoms adds to them."""
        return self

    @property
    def key(self) -> bytes:
        """All numbers that the densities follow from."""
        return self.coefficients.tobytes() + self.exponents.tobytes()

    def require(self, crystal: Crystal) -> None:
        """Raise UsageError for an element that was not fitted."""
        missing = sorted(set(crystal.symbols) - set(self.elements))
        if missing:
            raise UsageError(
                f"no atomic density for {', '.join(missing)}: the superposed atoms were fitted on crystals without it; "
                "fit them on data that have it or train without difference learning"
            )

    def __call__(self, crystal: Crystal, shape: tuple[int, int, int]) -> Density:
        """The superposed density of a crystal on a grid; raises UsageError for an element that was not fitted."""
        self.require(crystal)
        values = sum_on_grid(crystal, shape, partial(self._sum, crystal))
        return Density(crystal, values, meta={"functional": "superposed atoms"})

    def _sum(self, crystal: Crystal, shape: Shape) -> Floats:
        """The sum over the plane waves of a grid [a, b, c]."""
        norm, phases = _compute_waves(crystal, shape)
        q = np.arange(0, norm.max() + 2 * FINE, FINE)
        functions = _evaluate_gaussians(q, self.exponents)
        total = np.zeros(norm.shape, dtype=np.complex128)
        for z in np.unique(crystal.numbers):
            form_factor = np.interp(norm, q, _multiply(functions.T, self.coefficients[z]))
            total += _compute_structure_factor(phases, crystal.numbers == z) * form_factor
        return fft.irfftn(total / crystal.volume, s=shape, norm="forward")


def fit_superposed_atoms(densities: Iterable[Density]) -> SuperposedAtoms:
    """The spherical atoms whose superposition fits some densities best.

    This is linear least squares on the Fourier coefficients, each density weighted by 1 / electrons. A large weight of
    the coefficient G = 0 keeps the numbers of electrons.

    Raises
    ------
    UsageError : there is no density, or one has no electrons, as where it is zero everywhere.
    """
    functions = len(EXPONENTS)
    size = (MAX_ELEMENT + 1) * functions
    normal, right = np.zeros((size, size)), np.zeros(size)
    for rho in densities:
        if not abs(rho.nelect) > 0:
            raise UsageError(
                f"a density of {rho.crystal.formula} has {rho.nelect} electrons, and atoms are fitted to those of each"
                " crystal: leave it out, or read its file again"
            )
        columns, block, side = _normal_equations(rho)
        normal[np.ix_(columns, columns)] += block
        right[columns] += side
    seen = np.flatnonzero(np.diag(normal) > 0)
    if len(seen) == 0:
        raise UsageError("no density to fit atoms on: the training split is empty")
    block = normal[np.ix_(seen, seen)]
    block[np.diag_indices_from(block)] *= 1 + RIDGE
    coefficients = np.full(size, np.nan)
    coefficients[seen] = np.linalg.solve(block, right[seen])
    return SuperposedAtoms(coefficients.reshape(-1, functions))


def _normal_equations(rho: Density) -> tuple[NDArray[np.int64], Floats, Floats]:
    """The columns of a crystal's elements [m], their Gram matrix [m, m] and right-hand side [m]."""
    crystal, shape = rho.crystal, rho.shape
    norm, phases = _compute_waves(crystal, shape)
    weight = np.full(norm.shape, 2.0)  # the half grid represents G and -G
    weight[..., 0] = 1.0
    weight[0, 0, 0] = COUNT_WEIGHT
    weight /= rho.nelect**2
    shell = np.rint(norm / COARSE).astype(np.int64).ravel()
    functions = _evaluate_gaussians(np.arange(shell.max() + 1) * COARSE, EXPONENTS)
    target = fft.rfftn(rho.values, norm="forward") * crystal.volume

    def sum_by_shell(left: Complexes, right: Complexes) -> Floats:
        return np.bincount(shell, (weight * (left.conj() * right).real).ravel()).astype(np.float64, copy=False)

    species = np.unique(crystal.numbers)
    factors = [_compute_structure_factor(phases, crystal.numbers == z) for z in species]
    blocks = [[_multiply(sum_by_shell(s, t)[:, None] * functions, functions) for t in factors] for s in factors]
    columns: NDArray[np.int64] = (species[:, None] * len(EXPONENTS) + np.arange(len(EXPONENTS))).ravel()
    side = np.concatenate([_multiply(functions, sum_by_shell(s, target)) for s in factors])
    return columns, np.block(blocks), side


def _compute_waves(crystal: Crystal, shape: tuple[int, int, int]) -> tuple[Floats, list[Complexes]]:
    """|G| on the half grid [a, b, c//2+1] in 1/Å, and exp(-2 pi i k x) of each atom for each axis [n, axis points]."""
    k = [fft.fftfreq(shape[0], 1 / shape[0]), fft.fftfreq(shape[1], 1 / shape[1]), np.arange(shape[2] // 2 + 1)]
    a, b, c = crystal.reciprocal
    g = k[0][:, None, None, None] * a + k[1][None, :, None, None] * b + k[2][None, None, :, None] * c
    phases = [np.exp(-2j * np.pi * np.outer(crystal.frac_coords[:, axis], k[axis])) for axis in range(3)]
    for axis in range(3):
        if shape[axis] % 2 == 0:  # +n/2 and -n/2 share this coefficient
            phases[axis][:, shape[axis] // 2] = phases[axis][:, shape[axis] // 2].real
    return np.linalg.norm(g, axis=-1), phases


def _evaluate_gaussians(q: Floats, exponents: Floats) -> Floats:
    return np.exp(-(q[:, None] ** 2) / (4 * exponents))


def _multiply(left: Floats, right: Floats) -> Floats:
    """left.T @ right, without BLAS, whose threads slow such narrow products down, above all on a busy machine."""
    return np.einsum("qi,q...->i...", left, right)


def _compute_structure_factor(phases: list[Complexes], chosen: NDArray[np.bool_]) -> Complexes:
    a, b, c = (phase[chosen] for phase in phases)
    return np.einsum("nab,nc->abc", a[:, :, None] * b[:, None, :], c)
