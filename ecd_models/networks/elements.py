"""Atomic properties of the elements, by which models can treat a rare element like similar ones.

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

import numpy as np
from numpy.typing import NDArray

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
