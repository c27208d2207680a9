"""The plane waves that a grid resolves, and the sum over atoms that gives their coefficients, in plain torch.

    rho(G) = 1/V sum_a exp(-iG.a) sum_lm (-i)^l Y_lm(G) sum_n c[a, n, lm] R_nl(|G|)

Its derivatives with respect to coefficients, positions and the lattice are torch's.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from e3nn import o3
from numpy.typing import NDArray
from torch import Tensor

from ecd_data.crystal import Floats
from ecd_models.networks.fourier_density.radial import RadialFunctions

Shape = tuple[int, int, int]
BLOCK = 1 << 13  # waves whose terms are in memory at once


class PlaneWaves(NamedTuple):
    """Half of the plane waves of a grid, those with k_c >= 0; the others are their complex conjugates.

    places [g]: where they are in the flat half grid [a, b, c // 2 + 1]; k [g, 3]: whole numbers of periods along a, b
    and c; vectors [g, 3] and lengths [g] of G in 1/Å; weights [g]: 2 where a wave also stands for its conjugate,
    else 1.
    """

    places: NDArray[np.int64]
    k: NDArray[np.int64]
    vectors: Floats
    lengths: Floats
    weights: Floats


def plane_waves(lattice: Floats, shape: Shape, longest: float = np.inf) -> PlaneWaves:
    """The plane waves of a grid with |G| <= longest in 1/Å.

    Those at half the sampling rate, where G and -G are one wave on the grid, are left out.
    """
    axes = [np.rint(np.fft.fftfreq(n, 1 / n)).astype(np.int64) for n in shape[:2]] + [np.arange(shape[2] // 2 + 1)]
    inside = [2 * abs(axis) < n for axis, n in zip(axes, shape, strict=True)]
    reciprocal = 2 * np.pi * np.linalg.inv(lattice).T
    a, b, c = (axis[:, None] * vector for axis, vector in zip(axes, reciprocal, strict=True))
    g = a[:, None, None] + b[None, :, None] + c[None, None, :]
    squared = np.einsum("abcx,abcx->abc", g, g)
    kept = (squared <= longest**2) & inside[0][:, None, None] & inside[1][:, None] & inside[2]
    found = np.nonzero(kept)
    k = np.stack([axis[index] for axis, index in zip(axes, found, strict=True)], axis=1)
    weights = np.where(k[:, 2] == 0, 1.0, 2.0)
    return PlaneWaves(np.flatnonzero(kept), k, g[found], np.sqrt(squared[found]), weights)


def harmonics(vectors: Tensor, lmax: int) -> Tensor:
    """Real spherical harmonics of directions, orthonormal on the sphere [e, (lmax + 1)^2].

    Those of l > 0 are 0 for a vector of length 0.
    """
    return o3.spherical_harmonics(list(range(lmax + 1)), vectors, normalize=True, normalization="integral")


def degrees(lmax: int) -> NDArray[np.int64]:
    """l of every component (l, m) [(lmax + 1)^2]."""
    return np.repeat(np.arange(lmax + 1), 2 * np.arange(lmax + 1) + 1)


def parts(lmax: int) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """Components of even l, those of odd l, and a sign of each component (l, m).

    (-i)^l is the sign for even l and -i times the sign for odd l: so the transform of an atom is E - iO with real sums
    E and O.
    """
    l = degrees(lmax)
    return np.flatnonzero(l % 2 == 0), np.flatnonzero(l % 2 == 1), np.array([1.0, 1.0, -1.0, -1.0])[l % 4]


def sum_plane_waves(
    coefficients: Tensor, radial: RadialFunctions, frac_coords: Tensor, lattice: Tensor, shape: Shape
) -> Tensor:
    """The density of atoms on a grid in e/Å^3 [a, b, c], with derivatives in all arguments.

    Parameters
    ----------
    coefficients : of the functions of each atom [n, functions, (lmax + 1)^2]; their type is that of the result.
    radial : the radial functions.
    frac_coords : positions of the atoms [n, 3].
    lattice : lattice vectors in Å [3, 3].
    shape : points along a, b and c.
    """
    waves = plane_waves(lattice.detach().cpu().numpy(), shape, radial.longest)
    k = torch.as_tensor(waves.k, device=coefficients.device)
    blocks = [
        _sum_block(coefficients, radial, frac_coords, lattice, k[start : start + BLOCK])
        for start in range(0, len(k), BLOCK)
    ]
    half = torch.zeros(shape[0] * shape[1] * (shape[2] // 2 + 1), dtype=blocks[0].dtype, device=k.device)
    half = half.index_put((torch.as_tensor(waves.places, device=k.device),), torch.cat(blocks))
    return torch.fft.irfftn(half.view(shape[0], shape[1], -1), s=shape, norm="forward")


def _sum_block(
    coefficients: Tensor, radial: RadialFunctions, frac_coords: Tensor, lattice: Tensor, k: Tensor
) -> Tensor:
    """The coefficients of some plane waves k [g, 3] [g], complex."""
    dtype = coefficients.dtype
    even, odd, sign = parts(radial.lmax)
    g = k.double() @ (2 * torch.pi * torch.linalg.inv(lattice.double()).T)
    still = (k == 0).all(1)
    lengths = torch.where(still, 0.0, torch.where(still[:, None], 1.0, g).norm(dim=1))  # the root has no slope at 0
    functions = radial.transform(lengths).to(dtype)[:, degrees(radial.lmax)]
    angular = harmonics(g, radial.lmax).to(dtype) * torch.as_tensor(sign, dtype=dtype, device=k.device)
    terms = functions * angular[:, :, None]  # [g, lm, functions]
    by_component = coefficients.transpose(1, 2)
    evens = terms[:, even].flatten(1) @ by_component[:, even].flatten(1).T
    odds = terms[:, odd].flatten(1) @ by_component[:, odd].flatten(1).T
    angle = (-2 * torch.pi * (k.double() @ frac_coords.double().T)).to(dtype)
    cosine, sine = torch.cos(angle), torch.sin(angle)
    total = torch.complex((cosine * evens + sine * odds).sum(1), (sine * evens - cosine * odds).sum(1))
    return total / torch.linalg.det(lattice.double()).abs().to(dtype)
