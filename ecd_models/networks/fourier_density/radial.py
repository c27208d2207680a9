"""The radial functions of an atom: orthonormal sums of Gaussians for each angular momentum, in both spaces.

Normalised Gaussians g_kl(r) = N_kl r^l exp(-alpha_k r^2) whose exponents are a geometric series overlap almost
completely. Coefficients in them are large and cancel: they exist, but a network does not learn them. Loewdin's
functions

    R_nl(r) = sum_k (S_l^(-1/2))_nk g_kl(r),   S_l,jk = (2 sqrt(alpha_j alpha_k) / (alpha_j + alpha_k))^(l + 3/2)

are orthonormal, span the same space and are as near to the Gaussians as they can be. The Fourier transform of
R_nl(r) Y_lm is (-i)^l R_nl(q) Y_lm with

    R_nl(q) = sum_k (S_l^(-1/2))_nk N_kl (pi / alpha_k)^(3/2) (q / 2 alpha_k)^l exp(-q^2 / 4 alpha_k).
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import gamma
from torch import Tensor, nn

from ecd_data.crystal import Floats

SMALLEST = 1e-13  # eigenvalues of an overlap below are rounding, and are not divided by
NEGLIGIBLE = 14.0  # exponents beyond which nothing is left of the sharpest Gaussian in Fourier space
FAINT = 22.0  # exponents beyond which nothing is left of the widest Gaussian, with r^4 before it


class RadialFunctions(nn.Module):
    """The functions R_nl of exponents [functions] in 1/Å^2 for l = 0..lmax, computed in float64."""

    def __init__(self, exponents: Floats, lmax: int) -> None:
        super().__init__()
        self.lmax, self._exponents = lmax, np.asarray(exponents, dtype=np.float64)
        power = np.arange(lmax + 1)[:, None] + 1.5
        norm = np.sqrt(2 * (2 * self._exponents) ** power / gamma(power))
        mix = np.stack([self._inverse_root(l) for l in range(lmax + 1)])
        self._gaussians = mix * norm[:, None, :]  # [lmax + 1, functions, gaussians]

    @property
    def longest(self) -> float:
        """The wave number in 1/Å beyond which the functions are zero."""
        return float(np.sqrt(4 * NEGLIGIBLE * self._exponents.max()))

    @property
    def reach(self) -> float:
        """The distance in Å beyond which the functions are zero."""
        return float(np.sqrt(FAINT / self._exponents.min()))

    @property
    def monopoles(self) -> Floats:
        """The integral over space of each function of l = 0 with its Y_00 [functions]."""
        return self.transform(torch.zeros(1, dtype=torch.float64))[0, 0].numpy() / np.sqrt(4 * np.pi)

    def values(self, r: Tensor) -> Tensor:
        """R_nl(r) / r^l, which is finite at 0, at distances r [p] in Å [p, lmax + 1, functions]."""
        alpha, gaussians = self._tensors(r)
        return torch.einsum("lnk,pk->pln", gaussians, torch.exp(-alpha * r.double()[:, None] ** 2))

    def transform(self, q: Tensor) -> Tensor:
        """R_nl(q) at wave numbers q [g] in 1/Å [g, lmax + 1, functions], in Å^(3/2)."""
        alpha, gaussians = self._tensors(q)
        q = q.double()
        decay = (torch.pi / alpha) ** 1.5 * torch.exp(-(q[:, None] ** 2) / (4 * alpha))
        ratio = q[:, None] / (2 * alpha)
        powers = [torch.ones_like(ratio)]
        for _ in range(self.lmax):
            powers.append(powers[-1] * ratio)
        return torch.einsum("lnk,glk->gln", gaussians, torch.stack(powers, 1) * decay[:, None])

    def _tensors(self, like: Tensor) -> tuple[Tensor, Tensor]:
        return torch.as_tensor(self._exponents, device=like.device), torch.as_tensor(
            self._gaussians, device=like.device
        )

    def _inverse_root(self, l: int) -> Floats:
        """S_l^(-1/2) [functions, functions]."""
        a, b = self._exponents[:, None], self._exponents
        values, vectors = np.linalg.eigh((2 * np.sqrt(a * b) / (a + b)) ** (l + 1.5))
        return (vectors / np.sqrt(np.maximum(values, SMALLEST))) @ vectors.T
