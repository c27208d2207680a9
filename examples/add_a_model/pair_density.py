"""A model of one's own: each atom lends the density a learned radial function, and a small network bends the sum."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from ecd_models.networks.layers import gather_sum


@dataclass(frozen=True)
class PairConfig:
    """Hyperparameters; every run's configuration may set them under [options]."""

    channels: int = 32
    num_basis: int = 24
    cutoff: float = 4.0


class PairDensity(nn.Module):
    configurations: ClassVar = {"pair-density": PairConfig()}

    def __init__(self, config):
        super().__init__()
        self.config, self.cutoff = config, config.cutoff
        self.register_buffer("centers", torch.linspace(0, config.cutoff, config.num_basis))
        self.element = nn.Embedding(119, config.channels * config.num_basis)
        self.readout = nn.Sequential(nn.Linear(config.channels, 64), nn.SiLU(), nn.Linear(64, 1, bias=False))
        nn.init.zeros_(self.readout[2].weight)  # training starts from the superposed atoms

    def encode(self, batch):
        return self.element(batch.numbers).view(-1, self.config.num_basis, self.config.channels)

    def decode(self, atoms, batch):
        r = batch.probe_vec.norm(dim=1, keepdim=True)
        basis = torch.exp(-(((r - self.centers) / self.centers[1]) ** 2)) * (1 + torch.cos(torch.pi * r / self.cutoff))
        messages = torch.einsum("eb,ebc->ec", basis, atoms[batch.probe_src])
        return self.readout(gather_sum(messages, batch.probe_dst, batch.n_probes))[:, 0]

    def forward(self, batch):
        return self.decode(self.encode(batch), batch)
