"""The density of given coefficients as its equation reads, slowly, for tests and for readers.

    rho(r) = sum over atoms a and their images, n, l, m of c[a, n, lm] R_nl(|r - a|) Y_lm(r - a)

The network's work is the coefficients c; `encoder` and `model` have its formulas. The same density as a Fourier series:

    rho(r) = sum over G of exp(iG.r) / V sum over a, n, l, m of c[a, n, lm] exp(-iG.a) (-i)^l R_nl(|G|) Y_lm(G)
"""

from __future__ import annotations

import numpy as np
import torch

from ecd_data.crystal import Crystal, Floats
from ecd_models.graph import Neighbors
from ecd_models.networks.fourier_density.plane_waves import harmonics, plane_waves
from ecd_models.networks.fourier_density.radial import RadialFunctions


def density_at(crystal: Crystal, coefficients: Floats, radial: RadialFunctions, points: Floats) -> Floats:
    """The sum over atoms and images in e/Å^3 at fractional points [p, 3], for coefficients [n, functions, lm] [p]."""
    edges = Neighbors(crystal, radial.reach).probes(points)
    result = np.zeros(len(points))
    for atom, point, vector in zip(edges.src, edges.dst, edges.vec, strict=True):
        r = np.linalg.norm(vector)
        functions = radial.values(torch.tensor([r]))[0].numpy()
        angular = harmonics(torch.from_numpy(vector[None]), radial.lmax)[0].numpy()
        for l in range(radial.lmax + 1):
            of_l = slice(l**2, (l + 1) ** 2)
            result[point] += r**l * functions[l] @ coefficients[atom][:, of_l] @ angular[of_l]
    return result


def density_by_waves(crystal: Crystal, coefficients: Floats, radial: RadialFunctions, points: Floats) -> Floats:
    """The Fourier series in e/Å^3 at fractional points [p, 3] [p]."""
    lengths = np.linalg.norm(crystal.lattice, axis=1)
    shape = tuple(2 * int(radial.longest * length / (2 * np.pi)) + 3 for length in lengths)
    waves = plane_waves(crystal.lattice, shape, radial.longest)  # type: ignore[arg-type]
    functions = radial.transform(torch.from_numpy(waves.lengths)).numpy()
    angular = harmonics(torch.from_numpy(waves.vectors), radial.lmax).numpy()
    result = np.zeros(len(points))
    for g, k in enumerate(waves.k):
        total = 0j
        for atom, position in enumerate(crystal.frac_coords):
            phase = np.exp(-2j * np.pi * k @ position)
            for l in range(radial.lmax + 1):
                of_l = slice(l**2, (l + 1) ** 2)
                total += phase * (-1j) ** l * (functions[g, l] @ coefficients[atom][:, of_l] @ angular[g, of_l])
        result += waves.weights[g] * (total * np.exp(2j * np.pi * points @ k)).real / crystal.volume
    return result
