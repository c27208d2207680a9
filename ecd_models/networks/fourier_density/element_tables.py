"""Tables of each element that are learned beside the network: a one-centre density and a radial correction.

    c[a, n, lm] <- c[a, n, lm] + s own[z, n] [l = 0] + sum over n' of mix[z, l, n, n'] c[a, n', lm]

for an atom of element z and a typical size s. What is added of l = 0 is neutral. In Fourier space the first is one
table in |G| for each element, the second changes the tables of an atom. All start at 0, where those of elements stay
that no training crystal has: their atoms are what the network makes of the descriptors.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ecd_data.crystal import SYMBOLS


class ElementTables(nn.Module):
    """The coefficients of atoms with the tables of their elements."""

    def __init__(self, functions: int, lmax: int, size: float) -> None:
        super().__init__()
        self.size = size
        self.own = nn.Parameter(torch.zeros(len(SYMBOLS), functions))
        self.mix = nn.Parameter(torch.zeros(len(SYMBOLS), lmax + 1, functions, functions))

    def forward(self, coefficients: Tensor, numbers: Tensor, monopoles: Tensor) -> Tensor:
        """The coefficients [n, functions, (lmax + 1)^2] with what the tables add.

        Parameters
        ----------
        coefficients : of the network [n, functions, (lmax + 1)^2].
        numbers : the atomic numbers [n].
        monopoles : the integral of each function of l = 0 [functions].
        """
        mix = self.mix[numbers]
        degrees = range(mix.shape[1])
        added = torch.cat([mix[:, l] @ coefficients[:, :, l**2 : (l + 1) ** 2] for l in degrees], 2)
        first = added[:, :, 0] + self.size * self.own[numbers]
        first = first - (first @ monopoles)[:, None] * monopoles / (monopoles @ monopoles)
        return coefficients + torch.cat([first[:, :, None], added[:, :, 1:]], 2)
