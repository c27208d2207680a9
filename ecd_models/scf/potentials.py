"""Checks that densities belong to the POTCAR and the atoms of a VASP run."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from ecd_data.density import Density
from ecd_data.errors import UsageError
from ecd_data.formats.run_files import group_species
from ecd_data.formats.vasp.potcar import parse_potcar_element, read_potcar

MAX_SHIFT = 0.05  # Å: warn if atoms of the reference lie further away, since their occupancies are others


@dataclass(frozen=True)
class Potentials:
    """The species of a POTCAR in its order: titles, such as "PAW_PBE Fe 06Sep2000", and valence electrons."""

    titles: tuple[str, ...]
    zval: tuple[float, ...]
    path: str

    @classmethod
    def read(cls, path: str | Path) -> Potentials:
        """The potentials of a POTCAR file; raises FormatError if it is none."""
        record = read_potcar(path)
        return cls(tuple(record["potcar"]), tuple(record["zval"]), str(path))


def compare_species(rho: Density, potentials: Potentials) -> None:
    """Raises UsageError if the potentials are not those of the density's species, in their order."""
    species = [symbol for symbol, _ in group_species(rho)]
    found = [parse_potcar_element(title) for title in potentials.titles]
    if [symbol for symbol, _ in groupby(found)] != species:
        raise UsageError(
            f"{potentials.path} has the species {' '.join(found)} where the atoms come as {' '.join(species)}: put the"
            " atoms of the structure, or the potentials, into the same order"
        )


def compare_potentials(reference: Density, potentials: Potentials | None, warnings: list[str]) -> bool | None:
    """True if the reference has the POTCAR of the run, None if one of the POTCARs is not known, which is warned of.

    Raises
    ------
    UsageError : the POTCARs differ.
    """
    name = str(reference.meta.get("source", "the reference"))
    if potentials is None or not _titles(reference):
        missing = "the run's POTCAR (--potcar)" if potentials is None else f"an OUTCAR or POTCAR next to {name}"
        warnings.append(f"whether {name} has the potentials of the run was not compared: {missing} would tell")
        return None
    refuse_other_potcar(reference, potentials, name)
    return True


def _titles(rho: Density) -> tuple[str, ...]:
    """The titles in the POTCAR of a density, () if no file next to the density had them."""
    return tuple(rho.meta.get("settings", {}).get("potcar") or ())


def refuse_other_potcar(rho: Density, potentials: Potentials, name: str) -> None:
    """Raises UsageError if a density records another POTCAR."""
    titles = _titles(rho)
    if titles and titles != potentials.titles:
        ours, theirs = " + ".join(potentials.titles), " + ".join(titles)
        raise UsageError(
            f"{name} was made with the POTCAR {theirs} and the run has {ours}: near the nuclei it is of no use to other"
            " potentials; give a CHGCAR of the same POTCAR"
        )


def compare_positions(rho: Density, reference: Density, warnings: list[str]) -> None:
    """Add a warning if the atoms of the reference lie elsewhere."""
    if len(reference.crystal) != len(rho.crystal):
        return  # `copy_augmentation` refuses it
    shift = rho.frac_coords - reference.frac_coords
    distance = float(np.linalg.norm((shift - np.rint(shift)) @ rho.lattice, axis=1).max())
    cell = float(np.abs(rho.lattice - reference.lattice).max())
    if max(distance, cell) > MAX_SHIFT:
        warnings.append(
            f"the reference has another geometry (atoms up to {distance:.2f} Å, cell up to {cell:.2f} Å away): its PAW"
            " occupancies are approximate"
        )
