"""What is trained, saved and asked for densities: a network, alone or added to superposed atoms."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ecd_models.batch import ProbeBatch
from ecd_models.networks.atoms import SuperposedAtoms


class DensityModel(nn.Module):
    """A network whose output is the density, or, with `atoms`, the difference to superposed spherical atoms."""

    def __init__(self, network: nn.Module, atoms: SuperposedAtoms | None = None, name: str = "model"):
        super().__init__()
        self.network: Any = network
        self.atoms, self.name = atoms, name

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights."""
        return next(self.parameters()).dtype

    def forward(self, batch: ProbeBatch) -> Tensor:
        """Densities in e/Å^3 at the probes of a batch [p]; with atoms the batch carries their density as `baseline`."""
        output = self.network(batch)
        if self.atoms is None:
            return output
        assert batch.baseline is not None, "difference learning needs the superposed atoms at the probes"
        return output + batch.baseline
