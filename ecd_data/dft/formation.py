"""Formation energies of computed crystals, relative to the elements computed with the same settings."""

from __future__ import annotations

import csv
from collections.abc import Container, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ecd_data.crystal import SYMBOLS
from ecd_data.errors import EcdError
from ecd_data.safe_text import printable

if TYPE_CHECKING:
    from pandas import DataFrame

    from ecd_data.store import Store


def elemental_energies(
    stores: Iterable[Store], functional: str = "PBE", without: Container[str] = ()
) -> dict[str, float]:
    """The lowest energy of each element in eV/atom, among the crystals and molecules of one element in the stores.

    Parameters
    ----------
    stores : stores with a column energy_eV.
    functional : only crystals that the index says were computed with this functional.
    without : ids that do not count, such as those of structures that no element has.
    """
    lowest: dict[str, float] = {}
    for store in stores:
        frame = _read_energies(store)
        for row in frame[frame["functional"] == functional].itertuples():
            elements = set(row.numbers)
            if len(elements) == 1 and np.isfinite(row.energy_eV) and row.id not in without:
                symbol = SYMBOLS[elements.pop()]
                lowest[symbol] = min(row.energy_eV / len(row.numbers), lowest.get(symbol, np.inf))
    return lowest


def formation_energies(store: Store, references: dict[str, float], functional: str = "PBE") -> dict[str, float]:
    """The formation energies of a store's crystals in eV/atom by id: (E - sum of n_i mu_i) / n.

    Crystals of another functional, without an energy, or with an element that has no reference are left out;
    `explain_missing_energies` says why.

    Parameters
    ----------
    store : a store with a column energy_eV.
    references : the energy mu of each element in eV/atom, as from `elemental_energies`.
    functional : the functional of the references.
    """
    found = {}
    for row in _read_energies(store).itertuples():
        if _find_hindrance(row, references, functional) is None:
            symbols = [SYMBOLS[z] for z in row.numbers]
            found[row.id] = (row.energy_eV - sum(references[symbol] for symbol in symbols)) / len(symbols)
    return found


def explain_missing_energies(store: Store, references: dict[str, float], functional: str = "PBE") -> dict[str, str]:
    """The reason, by id, for each crystal that has no formation energy."""
    found = ((row.id, _find_hindrance(row, references, functional)) for row in _read_energies(store).itertuples())
    return {id: reason for id, reason in found if reason is not None}


def _find_hindrance(row: Any, references: dict[str, float], functional: str) -> str | None:
    """The reason why the crystal of an index row has no formation energy; None if it has one."""
    if row.functional != functional:
        return f"it was computed with {row.functional or 'an unknown functional'}, not {functional}"
    if not np.isfinite(row.energy_eV):
        return "it has no energy"
    lacking = sorted({SYMBOLS[z] for z in row.numbers} - references.keys())
    if lacking:
        return (
            f"the stores have no energy of pure {' and '.join(lacking)}: compute it with the same settings and add its "
            "store with --references"
        )
    return None


def write_formation_energies(energies: dict[str, float], path: str | Path) -> None:
    """Write a CSV with the columns id and formation_energy_per_atom, as `ecd dft select --energies` takes it."""
    with open(path, "w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("id", "formation_energy_per_atom"))
        rows.writerows((printable(id), f"{energy:.6f}") for id, energy in energies.items())


def _read_energies(store: Store) -> DataFrame:
    if "energy_eV" not in store.index:
        raise EcdError(
            f"{store.root} has no energies: make it with `ecd dft run`, or with `ecd convert` from folders with OUTCARs"
        )
    return store.index[["id", "functional", "numbers", "energy_eV"]]
