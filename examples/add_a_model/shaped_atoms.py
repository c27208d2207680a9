"""A model of one's own: each atom lends the density a radial function that its neighbours shape."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from ecd_models.networks.charge3net.layers import gather_sum


@dataclass(frozen=True)
class ShapedAtomsConfig:
    """Hyperparameters; every run's configuration may set them under [options]."""

    channels: int = 32
    num_basis: int = 24
    cutoff: float = 3.5


class ShapedAtoms(nn.Module):
    configurations: ClassVar = {"shaped-atoms": ShapedAtomsConfig()}

    def __init__(self, config):
        super().__init__()
        self.config, self.cutoff, size = config, config.cutoff, config.channels
        self.register_buffer("centers", torch.linspace(0, config.cutoff, config.num_basis))
        self.element, self.near = nn.Embedding(119, size), nn.Linear(config.num_basis, size, bias=False)
        self.atom = nn.Sequential(nn.Linear(2 * size, 64), nn.SiLU(), nn.Linear(64, size * config.num_basis))
        self.readout = nn.Sequential(nn.Linear(size, 64), nn.SiLU(), nn.Linear(64, 1, bias=False))
        nn.init.zeros_(self.readout[2].weight)  # training starts from the superposed atoms

    def basis(self, vectors):
        r = vectors.norm(dim=1, keepdim=True)
        waves = torch.exp(-(((r - self.centers) / self.centers[1]) ** 2))
        return waves * (1 + torch.cos(torch.pi * r / self.cutoff)) / 2

    def encode(self, batch):
        alone = self.element(batch.numbers)
        messages = self.near(self.basis(batch.atom_vec)) * alone[batch.atom_src]
        around = gather_sum(messages, batch.atom_dst, len(batch.numbers))
        return self.atom(torch.cat([alone, around], 1)).view(-1, self.config.num_basis, self.config.channels)

    def decode(self, atoms, batch):
        messages = torch.einsum("eb,ebc->ec", self.basis(batch.probe_vec), atoms[batch.probe_src])
        return self.readout(gather_sum(messages, batch.probe_dst, batch.n_probes))[:, 0]

    def forward(self, batch):
        return self.decode(self.encode(batch), batch)
