"""How models tell elements apart: by a trained vector for each, or by their atomic properties.

The trained vector of an element that is rare in the training data hardly changes. With descriptors similar elements
have similar vectors, so that training on one improves the other (numbers in docs/models.md).

`elements.csv` in this folder has, for hydrogen to curium:

- electronegativity: Pauling's scale (W. M. Haynes, CRC Handbook of Chemistry and Physics); of He, Ne and Ar, which have
  none, Allen's (J. Am. Chem. Soc. 111, 9003, 1989), which is scaled to Pauling's;
- covalent_radius in Å: B. Cordero et al., Dalton Trans. 2008, 2832; of Mn, Fe and Co that of low spin;
- ionization_energy, the first, and electron_affinity in eV: NIST Atomic Spectra Database, as pymatgen lists them; the
  affinity of an anion that is not bound is negative, an estimate;
- group and period, lanthanides and actinides in group 3; s, p, d, f: electrons outside of the noble gas core.
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ecd_data.crystal import SYMBOLS, Floats
from ecd_data.errors import UsageError

TABLE = Path(__file__).with_name("elements.csv")
D_VALENCE = 2.5  # of all d and f elements, since these have several valences


@cache
def column(name: str) -> Floats:
    """A property by atomic number, NaN for elements that the table lacks [119]."""
    values = np.full(len(SYMBOLS), np.nan)
    with TABLE.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            values[int(row["number"])] = float(row[name])
    values.flags.writeable = False
    return values


def require_properties(numbers: NDArray[np.int64]) -> None:
    """Raises UsageError if the table lacks one of the atomic numbers [n]."""
    missing = sorted({SYMBOLS[z] for z in numbers if not np.isfinite(column("electronegativity")[z])})
    if missing:
        raise UsageError(
            f"no properties of {', '.join(missing)} are known, which the model needs: it works for hydrogen to curium"
        )


@cache
def valence() -> Floats:
    """Valence electrons by atomic number: the group's in s and p blocks, 2.5 for d and f elements [119]."""
    group = column("group")
    return np.where(group <= 2, group, np.where(group >= 13, group - 10, D_VALENCE))


@cache
def in_d_block() -> Floats:
    """1 for elements of groups 3 to 12, else 0, by atomic number [119]."""
    group = column("group")
    return ((group >= 3) & (group <= 12)).astype(np.float64)


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
