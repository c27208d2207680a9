"""What is trained, saved and asked for densities: a network, alone or added to superposed atoms."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ecd_data.crystal import Crystal, Floats
from ecd_models.atoms.electron_count import electrons_of
from ecd_models.atoms.fitted import SuperposedAtoms
from ecd_models.atoms.valences import Learned
from ecd_models.batch import ProbeBatch


class DensityModel(nn.Module):
    """A network whose output is the density, or, with `atoms`, the difference to superposed spherical atoms.

    A network with two outputs gives the magnetization as well. valences [119]: electrons that an atom of each element
    brings, to which predictions are scaled; None where they are not. learned: the electrons of each element in the
    training data and whose densities they are, None where that was not recorded. metadata:
    what the model's checkpoint says of it, empty without one.
    """

    def __init__(
        self,
        network: nn.Module,
        atoms: SuperposedAtoms | None = None,
        name: str = "model",
        valences: Floats | None = None,
        learned: Learned | None = None,
    ):
        super().__init__()
        self.network: Any = network
        self.atoms, self.name, self.valences, self.learned = atoms, name, valences, learned
        self.told: set[str] = set()  # warnings that were given, each once
        self.metadata: dict[str, Any] = {}

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights."""
        return next(self.parameters()).dtype

    @property
    def spin(self) -> bool:
        """Whether the model gives the magnetization, n_up - n_down, beside the density."""
        return getattr(self.network.config, "outputs", 1) == 2

    def nelect(self, crystal: Crystal) -> float | None:
        """The electrons that a predicted density of this crystal is scaled to, None where the model does not know."""
        return None if self.valences is None else electrons_of(crystal, self.valences)

    def forward(self, batch: ProbeBatch) -> Tensor:
        """Densities in e/Å^3 at the probes of a batch [p], or with magnetizations [p, 2].

        With atoms the batch carries their density as `baseline`.
        """
        output = self.network(batch)
        if self.atoms is None:
            return output
        assert batch.baseline is not None, "difference learning needs the superposed atoms at the probes"
        baseline = batch.baseline
        return output + (baseline if output.ndim == 1 else nn.functional.pad(baseline[:, None], (0, 1)))
