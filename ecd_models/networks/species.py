"""The vectors by which a network distinguishes elements: trained for each, or computed from its properties.

The trained vector of an element that is rare in the training data hardly changes. With descriptors similar elements
have similar vectors, so that training on one improves the other (numbers in docs/models.md).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ecd_data.errors import UsageError
from ecd_models.networks.elements import column, in_d_block, valence

SPECIES = 119  # atomic numbers 0..118
ONE_HOT, DESCRIPTORS = "one-hot", "descriptors"
HIDDEN = 64  # width of the perceptron from descriptors


def require_species(species: str) -> None:
    """Raises UsageError unless `species` is ONE_HOT or DESCRIPTORS."""
    if species not in (ONE_HOT, DESCRIPTORS):
        raise UsageError(f"species is {ONE_HOT!r} or {DESCRIPTORS!r}, not {species!r}")


@cache
def descriptors() -> Tensor:
    """14 properties of each element, standardised over hydrogen to curium; NaN for elements beyond [119, 14].

    Row 0, no element, is 0: the padding of a batch has it, and its gradients must be finite.
    """
    group = column("group")
    columns: list[Any] = [column(name) for name in ("electronegativity", "covalent_radius", "ionization_energy")]
    columns += [column(name) for name in ("electron_affinity", "group", "period", "s", "p", "d", "f")]
    columns += [valence(), (group <= 2) * 1.0, in_d_block(), (group >= 13) * 1.0]
    table = np.stack([np.where(np.isfinite(group), values, np.nan) for values in columns], axis=1)
    standardised = (table - np.nanmean(table, axis=0)) / np.nanstd(table, axis=0)
    standardised[0] = 0
    return torch.from_numpy(standardised)


class DescriptorEmbedding(nn.Module):
    """A perceptron from the properties of an element to its vector, in place of `nn.Embedding`."""

    table: Tensor

    def __init__(self, width: int):
        super().__init__()
        self.register_buffer("table", descriptors().to(torch.get_default_dtype()), persistent=False)
        self.layers = nn.Sequential(nn.Linear(self.table.shape[1], HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, width))

    def forward(self, numbers: Tensor) -> Tensor:
        """The vectors of atomic numbers [n] [n, width]; NaN for an element without properties."""
        return self.layers(nn.functional.embedding(numbers, self.table))


def embedding(species: str, width: int) -> nn.Module:
    """A module that maps atomic numbers to vectors, trained for each element or computed from descriptors."""
    return DescriptorEmbedding(width) if species == DESCRIPTORS else nn.Embedding(SPECIES, width)
