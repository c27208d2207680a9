"""The model that is trained, saved and used for predictions: a network, alone or added to superposed atoms."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ecd_data.crystal import Crystal, Floats
from ecd_data.errors import EcdError
from ecd_models.atoms.electron_count import count_electrons
from ecd_models.atoms.fitted import SuperposedAtoms
from ecd_models.atoms.valences import TrainingValences
from ecd_models.batch import ProbeBatch
from ecd_models.grid_batch import GridBatch
from ecd_models.model_faults import explain_fault, is_own_class


class DensityModel(nn.Module):
    """A network whose output is the density or, with `atoms`, the difference to superposed spherical atoms.

    A network with two outputs predicts the magnetization as well.

    Parameters
    ----------
    network : maps a ProbeBatch to densities, see `ecd_models.networks`.
    atoms : the superposed atoms that its output is added to.
    name : the name of the model in messages and tables.
    valences : electrons that an atom of each element brings [119], to whose sum predictions are scaled; None for no
        scaling.
    training_valences : electrons of each element in the training data, and what computed these data; None if that is
        not recorded.

    Its attribute `metadata` has the metadata of its checkpoint and `file` its path; without one they are
    empty and None.
    """

    def __init__(
        self,
        network: nn.Module,
        atoms: SuperposedAtoms | None = None,
        name: str = "model",
        valences: Floats | None = None,
        training_valences: TrainingValences | None = None,
    ):
        super().__init__()
        self.network: Any = network
        limit_to = getattr(network, "limit_to", None)
        if atoms is not None and limit_to is not None:
            limit_to(atoms)  # so that the network adds no more than these atoms hold
        self.atoms, self.name, self.valences, self.training_valences = atoms, name, valences, training_valences
        self.warnings: set[str] = set()  # the warnings about this model that were logged and are not repeated
        self.metadata: dict[str, Any] = {}
        self.file: Path | None = None
        self._hashed: tuple[Any, str] = (None, "")  # the state of the weights, and their SHA-256 in that state

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights."""
        return next(self.parameters()).dtype

    @property
    def spin(self) -> bool:
        """Whether the model predicts the magnetization, n_up - n_down, as well as the density."""
        return getattr(self.network.config, "outputs", 1) == 2

    @property
    def weights_sha256(self) -> str:
        """The SHA-256 of everything that decides the predictions: weights by name, superposed atoms, valences.

        It is computed once, and again after the weights have changed.
        """
        weights = self.state_dict()
        versions = [(w.data_ptr(), 0 if w.is_inference() else w._version) for w in weights.values()]
        state = (versions, id(self.atoms), id(self.valences))
        if self._hashed[0] != state:
            self._hashed = state, self._hash_weights(weights)
        return self._hashed[1]

    def _hash_weights(self, weights: dict[str, Tensor]) -> str:
        digest = hashlib.sha256()
        for name, tensor in sorted(weights.items()):
            digest.update(f"{name} {list(tensor.shape)} {tensor.dtype}\n".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        if self.atoms is not None:
            digest.update(b"atoms\n" + self.atoms.key)
        if self.valences is not None:
            digest.update(b"valences\n" + np.ascontiguousarray(self.valences).tobytes())
        return digest.hexdigest()

    def nelect(self, crystal: Crystal) -> float | None:
        """The number of electrons that the density of a crystal is scaled to; None where predictions are not scaled."""
        return None if self.valences is None else count_electrons(crystal, self.valences)

    def _evaluate_network(self, batch: ProbeBatch | GridBatch) -> Tensor:
        """The output of the network; raises EcdError for a fault of a class that is not of this package."""
        try:
            output: Tensor = self.network(batch)
        except (EcdError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            cls = type(self.network)
            if not is_own_class(cls) or not isinstance(batch, ProbeBatch):  # of others CUDA graphs need the error
                raise
            raise EcdError(explain_fault(cls, self.name, error)) from error
        return output

    def forward(self, batch: ProbeBatch | GridBatch) -> Tensor:
        """The densities in e/Å^3 at the probes of a batch [p], or with the magnetizations [p, 2].

        A model with superposed atoms needs their density as the `baseline` of the batch.
        """
        output = self._evaluate_network(batch)
        if self.atoms is None:
            return output
        assert batch.baseline is not None, "difference learning needs the superposed atoms at the probes"
        baseline = batch.baseline
        return output + (baseline if output.ndim == 1 else nn.functional.pad(baseline[:, None], (0, 1)))
