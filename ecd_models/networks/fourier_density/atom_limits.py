"""What an atom can hold: the limits of the coefficients of an atom, and of the charge that it gives or takes.

The radial functions are orthonormal, so the norm of an atom's coefficients is that of the density that they add,

    |c_a|^2 = integral of (what atom a adds)^2,   limit: integral of (density of the free atom)^2.

On the sample's crystals it is below 9 % of the limit, and up to a half of the limit nothing changes. Beyond, a
network that a crystal unlike its training leads astray is held: x of the limit becomes 1/2 + tanh(2 x - 1) / 2. An atom
gives or takes no more electrons than the free atom has, in the same way. A network without atoms has no limits.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ecd_data.crystal import Floats
from ecd_models.atoms.fitted import SuperposedAtoms
from ecd_models.networks.charge3net.layers import gather_sum

UNCHANGED = 0.5  # of the limit: what is below stays as it is


def hold(share: Tensor) -> Tensor:
    """The factors, at most 1, with which quantities that are these shares of their limits stay below them."""
    beyond = torch.clamp(share, min=UNCHANGED)  # its derivative is 0 where nothing changes
    return (UNCHANGED + (1 - UNCHANGED) * torch.tanh((beyond - UNCHANGED) / (1 - UNCHANGED))) / beyond


def hold_coefficients(coefficients: Tensor, limits: Tensor) -> Tensor:
    """Coefficients [n, functions, lm] whose norm is below the limit of each atom [n]."""
    squares = coefficients.square().sum((1, 2)) / limits**2
    share = torch.clamp(squares, min=UNCHANGED**2).sqrt()  # the root has no derivative at 0, where training starts
    return coefficients * hold(share)[:, None, None]


def hold_charges(moved: Tensor, src: Tensor, dst: Tensor, limits: Tensor) -> Tensor:
    """Electrons that move along edges [e] so that no atom gives or takes more than its limit [n] in all."""
    size = moved.abs()[:, None]
    share = (gather_sum(size, dst, len(limits)) + gather_sum(size, src, len(limits)))[:, 0] / limits
    factors = hold(share)
    return moved * torch.minimum(factors[src], factors[dst])


def measure_atoms(atoms: SuperposedAtoms) -> tuple[Floats, Floats]:
    """The norm in e/Å^(3/2) and the number of electrons of each free atom [119]; NaN for elements without one."""
    alpha, beta = atoms.exponents[:, None], atoms.exponents
    overlaps = (alpha * beta / (np.pi * (alpha + beta))) ** 1.5
    squares = np.einsum("zk,kl,zl->z", atoms.coefficients, overlaps, atoms.coefficients)
    return np.sqrt(squares), atoms.coefficients.sum(1)
