"""The coefficients of the magnetization n_up - n_down, odd in the signs s of the moments that the atoms start from.

    M_i,lm = 1 / norm sum_j s_j [ u_l(e) Y_lm(e) + v_l(e) h_j,lm ]
    c[i, n, lm] = size_l L_nl (s_i g_l h_i,lm + f_l M_i,lm) + [l = 0] size_0 s_i (perceptron of the atom's scalars)

with the features h of `encoder`, weights u, v from a perceptron of the edge, gates g, f from the atom's scalars and a
linear map L of channels. Nothing else depends on s. So other signs of all atoms give the other sign of the
magnetization and the same density, and atoms of sign 0 alone have no magnetization.

Signs belong to atoms of the d and f block, which may have a moment of their own. Others, as the oxygen of NiO, are
magnetic by their neighbours alone; the moment of O2 is not predicted. The last maps start at zero.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ecd_models.networks.charge3net.layers import gather_sum
from ecd_models.networks.elements import SPECIES
from ecd_models.networks.fourier_density.encoder import LARGEST, NEIGHBORS, ByDegree, bound, perceptron
from ecd_models.networks.fourier_density.plane_waves import degrees, harmonics

# What an output of 1 stands for, by l: rms of the coefficients in fits of the magnetization of Fe, Co, Ni and O2.
MOMENT_SIZES = (0.3, 0.03, 0.05, 0.03, 0.04)
SMALLEST_MOMENT = 0.1  # Bohr magnetons: what is left on atoms without a moment after a calculation is below
OPEN_BLOCKS = (range(21, 31), range(39, 49), range(57, 81), range(89, 113))  # atomic numbers of the d and f block


def _mark_open_shells() -> Tensor:
    """1 for atomic numbers of the d and f block, else 0 [species]."""
    return torch.tensor([float(any(z in block for block in OPEN_BLOCKS)) for z in range(SPECIES)])


class MagnetizationHead(nn.Module):
    """The coefficients of the magnetization from features of atoms and edges."""

    open_shells: Tensor
    of_component: Tensor
    sizes: Tensor

    def __init__(self, lmax: int, channels: int, functions: int, edge_inputs: int) -> None:
        super().__init__()
        self.lmax, self.channels = lmax, channels
        outputs = (lmax + 1) * channels
        self.edge = perceptron(edge_inputs + 2 * channels, 2 * outputs)
        self.gate = perceptron(2 * channels, 2 * outputs)
        self.head = ByDegree(lmax, channels, functions)
        self.scalar = perceptron(2 * channels, functions)
        for last in (self.head, self.scalar[-1]):
            for weight in last.parameters():
                nn.init.zeros_(weight)
        sizes = [MOMENT_SIZES[min(l, len(MOMENT_SIZES) - 1)] for l in degrees(lmax)]
        self.register_buffer("open_shells", _mark_open_shells(), persistent=False)
        self.register_buffer("of_component", torch.from_numpy(degrees(lmax)), persistent=False)
        self.register_buffer("sizes", torch.tensor(sizes)[:, None], persistent=False)

    def signs(self, numbers: Tensor, moments: Tensor | None) -> Tensor:
        """The sign of each atom, -1, 0 or 1 [n]; without moments that of the ferromagnetic state, 1.

        moments: initial moments in Bohr magnetons [n], of which only the sign counts.
        """
        signs = self.open_shells[numbers]
        if moments is None:
            return signs
        return signs * torch.where(moments.abs() < SMALLEST_MOMENT, 0.0, moments.sign()).to(signs.dtype)

    def forward(
        self, signs: Tensor, h: Tensor, species: Tensor, edges: tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
    ) -> Tensor:
        """The coefficients [n, (lmax + 1)^2, functions].

        Parameters
        ----------
        signs : of the moments of the atoms [n].
        h, species : features [n, (lmax + 1)^2, channels] and vectors of the elements [n, channels].
        edges : sending and receiving atoms, vectors in Å, descriptors, and how near the sender is to the receiver's
            end.
        """
        scalars = torch.cat([species, h[:, 0]], 1)
        gates = self.gate(scalars).view(len(h), 2, self.lmax + 1, self.channels)
        own, others = (LARGEST * torch.tanh(gates / LARGEST))[:, :, self.of_component].unbind(1)
        features = own * h * signs[:, None, None] + others * self._messages(signs, h, edges)
        coefficients = self.head(features) * self.sizes
        first = coefficients[:, 0] + self.sizes[0] * signs[:, None] * self.scalar(scalars)
        return torch.cat([first[:, None], coefficients[:, 1:]], 1)

    def _messages(self, signs: Tensor, h: Tensor, edges: tuple[Tensor, Tensor, Tensor, Tensor, Tensor]) -> Tensor:
        """The sums over neighbours M [n, (lmax + 1)^2, channels]."""
        src, dst, vec, described, end = edges
        angular = harmonics(vec, self.lmax) * (4 * torch.pi) ** 0.5
        weights = self.edge(torch.cat([described, h[dst, 0], h[src, 0]], 1)) * (end * signs[src])[:, None]
        weights = weights.view(len(src), 2, self.lmax + 1, self.channels)[:, :, self.of_component]
        messages = weights[:, 0] * angular[:, :, None] + weights[:, 1] * h[src]
        return bound(gather_sum(messages, dst, len(h)) / NEIGHBORS**0.5)
