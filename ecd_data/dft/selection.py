"""The selection of structures to compute: the filters of the ECD paper, and the order of formation energies.

A filter (section 2.2 and appendix A of the paper, for hypothetical structures) is one function, which returns the
reason why a crystal is left out, or None.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ecd_data.arguments import whole_number
from ecd_data.crystal import Crystal
from ecd_data.errors import MissingDependencyError, UsageError
from ecd_data.symmetry import spacegroup

if TYPE_CHECKING:
    from pymatgen.core import Structure


MOST_ELEMENTS = 10  # the paper's limit
SYMPREC = 0.01  # Å; distance up to which positions count as symmetric
ENERGY_WINDOW = (-4.0, 4.0)  # eV/atom; the formation energies of the paper's figure 5
OXIDATION_STATES = "icsd24"  # the table of smact


def find_element_excess(crystal: Crystal, most: int = MOST_ELEMENTS) -> str | None:
    """The reason to leave out a crystal of more than `most` elements; None for others."""
    count = len(crystal.elements)
    return f"more than {most} elements: {count}" if count > most else None


def find_charge(crystal: Crystal, alloys: bool = False) -> str | None:
    """The reason to leave out a composition whose charges cannot add up to zero; None if they can, and for elements.

    Parameters
    ----------
    crystal : the crystal to test.
    alloys : let compositions of metals alone pass.

    Raises
    ------
    MissingDependencyError : smact is not installed.
    """
    if len(crystal.elements) == 1 or _neutral(crystal.reduced_formula, alloys):
        return None
    return f"not neutral: no oxidation states of {crystal.reduced_formula} add up to zero"


@lru_cache(maxsize=65536)
def _neutral(formula: str, alloys: bool) -> bool:
    try:
        from smact.screening import smact_validity
    except ImportError as error:
        raise MissingDependencyError(
            "charge neutrality needs the package smact: pip install 'ecd-data[dft]', or leave the filter out"
        ) from error
    return smact_validity(
        formula,
        use_pauling_test=False,
        include_alloys=alloys,
        oxidation_states_set=OXIDATION_STATES,
        mixed_valence=True,
    )


def find_asymmetry(crystal: Crystal) -> str | None:
    """The reason to leave out a crystal whose space group is P1 or is not found; None for others."""
    number = spacegroup(crystal, SYMPREC)
    return None if number is not None and number > 1 else "the space group is P1"


def find_duplicates(crystals: Mapping[str, Crystal]) -> dict[str, str]:
    """The ids of repeated structures, each with the earlier id of the same structure.

    Crystals of one reduced formula are compared by pymatgen's StructureMatcher with its default tolerances; it scales
    volumes and reduces cells to primitive ones.
    """
    from pymatgen.analysis.structure_matcher import StructureMatcher

    matcher = StructureMatcher(primitive_cell=True, scale=True)
    distinct: dict[str, list[tuple[str, Structure]]] = {}
    repeated: dict[str, str] = {}
    for id, crystal in crystals.items():
        group = distinct.setdefault(crystal.reduced_formula, [])
        structure = crystal.to_pymatgen().get_primitive_structure()
        same = next((other for other, earlier in group if matcher.fit(structure, earlier)), None)
        if same is None:
            group.append((id, structure))
        else:
            repeated[id] = same
    return repeated


Filter = Callable[[Crystal], str | None]
ENERGY_COLUMNS = ("formation_energy_per_atom", "formation_energy")  # eV/atom; energy_per_atom is a total energy


@dataclass
class Selection:
    """The ids that are selected, best first, and the reason by id for those that are left out."""

    kept: list[str] = field(default_factory=list)
    dropped: dict[str, str] = field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        """The number of crystals left out for each kind of reason."""
        kinds: dict[str, int] = {}
        for reason in self.dropped.values():
            kind = reason.split(":")[0]
            kinds[kind] = kinds.get(kind, 0) + 1
        return kinds


def select_crystals(
    crystals: Mapping[str, Crystal],
    *,
    max_elements: int = MOST_ELEMENTS,
    neutral: bool = True,
    alloys: bool = False,
    symmetric: bool = True,
    unique: bool = True,
    formation_energies: Mapping[str, float] | None = None,
    most: int | None = None,
) -> Selection:
    """The Selection of crystals that pass the paper's filters: few elements, neutral, not P1, each structure once.

    Parameters
    ----------
    crystals : crystals by id.
    max_elements : largest number of elements.
    neutral : leave out compositions that cannot be neutral by SMACT.
    alloys : let compositions of metals alone pass as neutral.
    symmetric : leave out crystals of space group P1.
    unique : keep one crystal of each structure: the one with the lowest formation energy, else the first.
    formation_energies : in eV/atom by id. With them the lowest come first, and crystals without one or outside
        ENERGY_WINDOW are left out.
    most : largest number of crystals.

    Raises
    ------
    UsageError : `most` is not positive.
    """
    if most is not None:
        whole_number(most, "most (--most)", 1)
    chosen = Selection()
    order = list(crystals)
    if formation_energies is not None:
        known = {id: energy for id, energy in formation_energies.items() if np.isfinite(energy)}  # no order has a NaN
        order.sort(key=lambda id: known.get(id, np.inf))
    filters = _make_filters(max_elements, neutral, alloys, symmetric)
    for id in order:
        reasons = (check(crystals[id]) for check in filters)
        if reason := _energy_reason(id, formation_energies) or next(filter(None, reasons), None):
            chosen.dropped[id] = reason
    passing = {id: crystals[id] for id in order if id not in chosen.dropped}
    repeated = find_duplicates(passing) if unique else {}
    chosen.dropped |= {id: f"the same structure again: as {other}" for id, other in repeated.items()}
    chosen.kept = [id for id in passing if id not in repeated]
    if most is not None:
        chosen.dropped |= dict.fromkeys(chosen.kept[most:], f"not among the first {most}")
        chosen.kept = chosen.kept[:most]
    return chosen


def _make_filters(max_elements: int, neutral: bool, alloys: bool, symmetric: bool) -> list[Filter]:
    filters: list[Filter] = [partial(find_element_excess, most=max_elements)]
    if symmetric:
        filters.append(find_asymmetry)
    if neutral:
        filters.append(partial(find_charge, alloys=alloys))
    return filters


def _energy_reason(id: str, energies: Mapping[str, float] | None) -> str | None:
    if energies is None:
        return None
    if not np.isfinite(energies.get(id, np.nan)):
        return "no formation energy is given"
    low, high = ENERGY_WINDOW
    if low <= energies[id] <= high:
        return None
    return f"formation energy outside {low:g} to {high:g} eV/atom: {energies[id]:.2f}"


def load_formation_energies(path: str | Path) -> dict[str, float]:
    """The formation energies in eV/atom by id, from a JSON object or a CSV with a column id.

    The energies of a CSV are in the first of its columns formation_energy_per_atom, formation_energy. Raises UsageError
    if the file has none, or has an id twice.
    """
    path = Path(path)
    try:
        if path.suffix == ".json":
            return {str(id): float(value) for id, value in json.loads(path.read_text()).items()}
        with open(path, newline="", encoding="utf-8-sig") as file:  # Excel begins a CSV with a byte order mark
            rows = list(csv.DictReader(file))
        column = next(name for name in ENERGY_COLUMNS if rows and name in rows[0])
        pairs = [(row["id"], float(row[column])) for row in rows if row[column]]
    except OSError as error:
        raise UsageError(f"{path} cannot be opened ({error.strerror}): check the path") from error
    except (ValueError, KeyError, StopIteration, AttributeError, TypeError) as error:
        raise UsageError(
            f"{path} holds no formation energies: give JSON, or a CSV with the columns id and {ENERGY_COLUMNS[0]}"
        ) from error
    energies = dict(pairs)
    if len(energies) < len(pairs):
        twice = next(id for id, count in Counter(id for id, _ in pairs).items() if count > 1)
        raise UsageError(f"{path} has the id {twice!r} twice: give one formation energy for each")
    return energies
