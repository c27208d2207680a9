"""The linear pair model: a density that is linear in descriptors of neighbours, in closed form in Fourier space.

rho(r) = sum_a f_Za(|r - a|)                                                                   free atoms
       + sum_a sum_k spherical[Za, k] g_k(|r - a|)                                             atoms of the element
       + sum_a sum_b sum_nljp pair[n, l, j, p] w_j(d_ab) D_p(Za, Zb) sum_m S_nlm(r - a) Y_lm(b - a)   its neighbours

with Gaussians g_k of one electron and the functions of `functions.py`. The free atoms are the superposed atoms of the
DensityModel and not part of this module. The coefficients of l = 0 add no electrons in total, neither `spherical` nor
those of pairs: the charge that one atom of a pair gains, the other loses. So each density has the electrons of its free
atoms.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import fft
from torch import Tensor, nn

from ecd_data.crystal import SYMBOLS, Crystal, Floats
from ecd_data.errors import UsageError
from ecd_data.fourier import Complexes
from ecd_models.atoms.coarse_grids import sum_on_grid
from ecd_models.networks.pair_density.functions import (
    PairDensityConfig,
    describe_surroundings,
    find_pairs,
    harmonics,
    radii,
)

Shape = tuple[int, int, int]
BLOCK = 4096  # G vectors whose terms are in memory at once
MAX_EXPONENT = 30.0  # the Fourier transform of the sharpest function is cut where it is below e^-30


class PairDensity(nn.Module):
    """The density that is added to free atoms.

    pair : weights [gaussians, lmax + 1, windows, descriptors].
    spherical : weights of the elements [119, spherical].
    seen : whether two elements were neighbours in the crystals of the fit [119, 119].
    """

    Config = PairDensityConfig
    configurations: ClassVar[dict[str, PairDensityConfig]] = {"pair_density": PairDensityConfig()}
    seen: Tensor

    def __init__(self, config: PairDensityConfig | None = None):
        super().__init__()
        self.config = config or PairDensityConfig()
        sizes = (self.config.gaussians, self.config.lmax + 1, self.config.windows, self.config.descriptors)
        self.pair = nn.Parameter(torch.zeros(sizes, dtype=torch.float64))
        self.spherical = nn.Parameter(torch.zeros(len(SYMBOLS), self.config.spherical, dtype=torch.float64))
        self.register_buffer("seen", torch.zeros(len(SYMBOLS), len(SYMBOLS), dtype=torch.bool))

    def forward(self, batch: object) -> Tensor:
        """Raises UsageError: the model is fitted in closed form and computes whole grids."""
        raise UsageError(
            "pair_density has no values at probes: it is fitted in closed form (`ecd train`) and predicts whole grids"
        )

    def coefficients(self, crystal: Crystal) -> Floats:
        """The electrons of each function of each atom [n, gaussians, (lmax + 1)^2]."""
        surroundings = describe_surroundings(crystal, self.config)
        weights = self.pair.detach().double().cpu().numpy().reshape(*self.pair.shape[:2], -1)
        return np.einsum("amk,nmk->anm", surroundings, weights[:, self.config.degrees], optimize=True)

    def on_grid(self, crystal: Crystal, shape: Shape) -> Floats:
        """The density to add to that of free atoms in e/Å^3, by one inverse FFT [a, b, c].

        (1/V) sum_a exp(-iG.a) sum_nlm c[a, n, l, m] (-i)^l (|G| R / 2 alpha_n)^l exp(-G^2 R^2 / 4 alpha_n) Y_lm(G) for
        each G that the grid holds.
        """
        return sum_on_grid(crystal, shape, partial(self._sum, crystal))

    def _sum(self, crystal: Crystal, shape: Shape) -> Floats:
        """The sum over the plane waves of a grid but those at half the sampling rate, where G and -G coincide."""
        coefficients = self.coefficients(crystal) * np.array([1, -1j, -1, 1j])[self.config.degrees % 4]
        half = np.zeros((shape[0], shape[1], shape[2] // 2 + 1), dtype=np.complex128)
        for k, g in self._iterate_waves(crystal, shape):
            half[tuple(k.T)] = self._transform(crystal, coefficients, k, g) / crystal.volume
        return fft.irfftn(half, s=shape, norm="forward")

    def unseen_pairs(self, crystal: Crystal) -> list[str]:
        """The pairs of elements, as "Cu-Te", that are neighbours in a crystal and were in no crystal of the fit."""
        pairs = find_pairs(crystal, self.config.reach)
        numbers = np.sort(np.stack([crystal.numbers[pairs.atom], crystal.numbers[pairs.neighbour]]), axis=0)
        unseen = ~self.seen.cpu().numpy()[numbers[0], numbers[1]]
        return sorted({"-".join(sorted((SYMBOLS[a], SYMBOLS[b]))) for a, b in numbers[:, unseen].T})

    def _iterate_waves(self, crystal: Crystal, shape: Shape) -> Iterator[tuple[NDArray[np.int64], Floats]]:
        """Blocks of the integers k [g, 3] of the half grid and their G in 1/Å [g, 3], up to the largest |G|."""
        axes = [np.rint(fft.fftfreq(n, 1 / n)).astype(np.int64) for n in shape[:2]] + [np.arange(shape[2] // 2 + 1)]
        axes = [axis[2 * abs(axis) < n] for axis, n in zip(axes, shape, strict=True)]
        widest = np.sqrt(4 * self.config.sharpest * MAX_EXPONENT) / radii(crystal.numbers).min()
        limit = max(widest, np.sqrt(4 * self.config.spherical_exponents[-1] * MAX_EXPONENT))
        k = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        for start in range(0, len(k), BLOCK):
            g = k[start : start + BLOCK] @ crystal.reciprocal
            near = np.linalg.norm(g, axis=1) < limit
            if near.any():
                yield k[start : start + BLOCK][near], g[near]

    def _transform(self, crystal: Crystal, coefficients: Complexes, k: NDArray[np.int64], g: Floats) -> Complexes:
        """The integral of exp(-iG.r) over the added density of one cell, for a block of G [g]."""
        squared, length = (g**2).sum(axis=1), np.linalg.norm(g, axis=1)
        degrees = self.config.degrees
        powers = length[:, None] ** np.arange(self.config.lmax + 1)
        solid = harmonics(g, self.config.lmax) * powers[:, degrees]
        phases = np.exp(-2j * np.pi * (k @ crystal.frac_coords.T))
        own = np.exp(-squared[:, None] / (4 * self.config.spherical_exponents))
        spherical = self.spherical.detach().double().cpu().numpy()
        total = np.zeros(len(g), dtype=np.complex128)
        for z in np.unique(crystal.numbers):
            chosen, radius = crystal.numbers == z, float(radii(np.array([z]))[0])
            scales = (radius / (2 * self.config.exponents))[:, None] ** degrees
            decays = np.exp(-squared[:, None] * radius**2 / (4 * self.config.exponents))
            functions = (decays[:, :, None] * solid[:, None, :]).reshape(len(g), -1)
            weights = (coefficients[chosen] * scales).reshape(chosen.sum(), -1).T
            # two products of real matrices are faster than one of complex ones
            of_atoms = functions @ weights.real + 1j * (functions @ weights.imag)
            total += (phases[:, chosen] * of_atoms).sum(axis=1)
            total += phases[:, chosen].sum(axis=1) * (own @ spherical[z])
        return total
