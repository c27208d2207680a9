"""How a network tells elements apart: a vector of its own for each, or one computed from the element's properties.

With vectors of their own an element, or a pair of them, that trains little stays nearly blank. With descriptors similar
elements begin alike, and what is learned of one holds for the other (numbers in docs/models.md).
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
    """Raise UsageError unless the name is one of the two ways."""
    if species not in (ONE_HOT, DESCRIPTORS):
        raise UsageError(f"species is {ONE_HOT!r} or {DESCRIPTORS!r}, not {species!r}")


@cache
def descriptors() -> Tensor:
    """14 properties of each element, standardised over hydrogen to curium; NaN for those beyond [119, 14].

    Row 0, no element, is 0: it stands for the atoms that fill up a batch, whose gradients must be numbers.
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
    """A perceptron from the properties of an element to its vector; the place of `nn.Embedding`."""

    table: Tensor

    def __init__(self, width: int):
        super().__init__()
        self.register_buffer("table", descriptors().to(torch.get_default_dtype()), persistent=False)
        self.layers = nn.Sequential(nn.Linear(self.table.shape[1], HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, width))

    def forward(self, numbers: Tensor) -> Tensor:
        """The vectors of atomic numbers [n] [n, width]; not numbers for an element whose properties are not known."""
        return self.layers(nn.functional.embedding(numbers, self.table))


def embedding(species: str, width: int) -> nn.Module:
    """The vectors of elements by atomic number, of their own or from descriptors."""
    return DescriptorEmbedding(width) if species == DESCRIPTORS else nn.Embedding(SPECIES, width)
