"""Whether densities belong to the POTCAR and the atoms of a VASP run."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from ecd_data.density import Density
from ecd_data.errors import UsageError
from ecd_data.formats.run_files import group_species
from ecd_data.formats.vasp.potcar import parse_potcar_element, read_potcar

MOVED = 0.05  # Å: atoms of the reference that lie further from their places have other occupancies


@dataclass(frozen=True)
class Potentials:
    """The species of a POTCAR in its order: titles, such as "PAW_PBE Fe 06Sep2000", and valence electrons."""

    titles: tuple[str, ...]
    zval: tuple[float, ...]
    path: str

    @classmethod
    def of(cls, path: str | Path) -> Potentials:
        """The potentials of a POTCAR file; raises FormatError where it is none."""
        said = read_potcar(path)
        return cls(tuple(said["potcar"]), tuple(said["zval"]), str(path))


def compare_species(rho: Density, potentials: Potentials) -> None:
    """Raises UsageError where the potentials are not of the density's species in their order."""
    due = [symbol for symbol, _ in group_species(rho)]
    found = [parse_potcar_element(title) for title in potentials.titles]
    if [symbol for symbol, _ in groupby(found)] != due:
        raise UsageError(
            f"{potentials.path} has the species {' '.join(found)} where the atoms come as {' '.join(due)}: put the"
            " atoms of the structure, or the potentials, into the same order"
        )


def compare_potentials(reference: Density, potentials: Potentials | None, warnings: list[str]) -> bool | None:
    """True where the reference has the run's POTCAR, None where one of them is not known; raises UsageError if not."""
    name = str(reference.meta.get("source", "the reference"))
    if potentials is None or not _titles(reference):
        missing = "the run's POTCAR (--potcar)" if potentials is None else f"an OUTCAR or POTCAR beside {name}"
        warnings.append(f"whether {name} has the potentials of the run was not compared: {missing} would tell")
        return None
    refuse_other_potcar(reference, potentials, name)
    return True


def _titles(rho: Density) -> tuple[str, ...]:
    """The titles in the POTCAR that made a density, () where nothing beside its file says so."""
    return tuple(rho.meta.get("settings", {}).get("potcar") or ())


def refuse_other_potcar(rho: Density, potentials: Potentials, name: str) -> None:
    """Raises UsageError where a density is known to be of another POTCAR."""
    titles = _titles(rho)
    if titles and titles != potentials.titles:
        ours, theirs = " + ".join(potentials.titles), " + ".join(titles)
        raise UsageError(
            f"{name} was made with the POTCAR {theirs} and the run has {ours}: near the nuclei it is of no use to other"
            " potentials; give a CHGCAR of the same POTCAR"
        )


def compare_places(rho: Density, reference: Density, warnings: list[str]) -> None:
    """Warn where the reference's atoms lie elsewhere."""
    if len(reference.crystal) != len(rho.crystal):
        return  # `copy_augmentation` refuses
    shift = rho.frac_coords - reference.frac_coords
    moved = float(np.linalg.norm((shift - np.rint(shift)) @ rho.lattice, axis=1).max())
    cell = float(np.abs(rho.lattice - reference.lattice).max())
    if max(moved, cell) > MOVED:
        warnings.append(
            f"the reference is of another geometry (atoms up to {moved:.2f} Å, cell up to {cell:.2f} Å away): its PAW"
            " occupancies are approximate"
        )
