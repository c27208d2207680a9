"""Bader charges by baderkit: the electrons around each atom, of one density, or of a prediction and the truth.

Bader's basins end where the density has a minimum. Only an all-electron density (AECCAR0 + AECCAR2 of VASP) has its
maxima at the nuclei for certain; the density of the valence electrons may have them on rings around a nucleus, or none
at all at a hydrogen or an alkali atom. Without an all-electron density the charges come with a note that says so.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ecd_data.arithmetic import ALL_ELECTRON, DERIVED_KINDS
from ecd_data.crystal import Crystal, Floats
from ecd_data.crystal_match import match_atoms
from ecd_data.density import Density
from ecd_data.errors import EcdError, MissingDependencyError, UsageError

VALENCE_BASINS = (
    "the basins are those of the valence density, since no all-electron density was given; its maxima may lie off the "
    "nuclei: where the charges matter, give reference=read('AECCAR0') + read('AECCAR2')"
)


@dataclass(frozen=True, eq=False)
class BaderCharges:
    """The Bader charges of the atoms of a crystal, in its order.

    Attributes
    ----------
    electrons [n] : the integral of the density over each atom's basins. They add up to the density's electrons.
    volumes [n] : the volumes of the basins in Å^3, which add up to the cell's.
    notes : sentences on how far the charges can be trusted.
    """

    electrons: Floats
    volumes: Floats
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class BaderComparison:
    """The Bader charges of a guess and of the truth, and their difference as a measure of the guess's error.

    Attributes
    ----------
    crystal : whose atoms the charges belong to.
    guess, truth : the two BaderCharges.
    """

    crystal: Crystal
    guess: BaderCharges
    truth: BaderCharges

    @property
    def difference(self) -> Floats:
        """The electrons of the guess minus those of the truth [n]."""
        return self.guess.electrons - self.truth.electrons

    @property
    def mean_absolute(self) -> float:
        """The mean of |difference| over the atoms, in electrons: the metric."""
        return float(np.abs(self.difference).mean())

    @property
    def notes(self) -> tuple[str, ...]:
        """The sentences of both, each once."""
        return tuple(dict.fromkeys((*self.truth.notes, *self.guess.notes)))

    def as_dict(self) -> dict[str, Any]:
        """The numbers by name, ready for JSON; lists are by atom."""
        return {
            "bader_mae": self.mean_absolute,
            "symbols": self.crystal.symbols,
            "guess_electrons": self.guess.electrons.tolist(),
            "truth_electrons": self.truth.electrons.tolist(),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        rows = [
            f"Bader {symbol}{k + 1}: {one:.4f} and {two:.4f} electrons: {one - two:+.4f}"
            for k, (symbol, one, two) in enumerate(
                zip(self.crystal.symbols, self.guess.electrons, self.truth.electrons, strict=True)
            )
        ]
        mean = f"Bader charges differ by {self.mean_absolute:.4f} electrons on average"
        return "\n".join([*rows, mean, *(f"note: {note}" for note in self.notes)])


def bader_charges(rho: Density, reference: Density | None = None) -> BaderCharges:
    """The BaderCharges of a density.

    Parameters
    ----------
    rho : the density that is integrated, in e/Å^3.
    reference : the density of the same crystal on the same grid whose basins are taken, best an all-electron one
        (AECCAR0 + AECCAR2); by default `rho` itself.

    Raises
    ------
    UsageError : rho or the reference is a difference, sum or multiple, has no atoms, or the grids differ.
    DifferentCrystalsError : the reference has another cell or other atoms.
    EcdError : a value is not finite.
    MissingDependencyError : baderkit is not installed.
    """
    for density in (rho, *([reference] if reference is not None else [])):
        _refuse_density(density)
    if reference is not None:
        if reference.shape != rho.shape:
            raise UsageError(
                f"the reference has {reference.shape} grid points and the density {rho.shape}: resample(shape) one"
            )
        match_atoms(reference.crystal, rho.crystal)
    basins = rho if reference is None else reference
    notes = () if basins.meta.get("kind") == ALL_ELECTRON else (VALENCE_BASINS,)
    electrons, volumes = _run_baderkit(rho, basins)
    return BaderCharges(electrons, volumes, notes)


def compare_bader(guess: Density, rho: Density, reference: Density | None = None) -> BaderComparison:
    """The BaderComparison of a guess with the truth.

    With a reference both are integrated over its basins. Without one each has the basins of its own maxima, as
    somebody who has only the guess would find them.

    Parameters
    ----------
    guess, rho : the prediction and the truth, in e/Å^3, of one crystal on one grid.
    reference : as for `bader_charges`.

    Raises
    ------
    UsageError, DifferentCrystalsError, EcdError, MissingDependencyError : as for `bader_charges`.
    """
    if guess.shape != rho.shape:
        raise UsageError(f"the guess has {guess.shape} grid points and the truth {rho.shape}: resample(shape) one")
    match_atoms(guess.crystal, rho.crystal)
    guess = replace(guess, crystal=rho.crystal)  # the same order of the atoms
    return BaderComparison(rho.crystal, bader_charges(guess, reference), bader_charges(rho, reference))


def _refuse_density(rho: Density) -> None:
    if rho.meta.get("kind") in DERIVED_KINDS:
        raise UsageError(f"Bader charges of a {rho.meta['kind']} of densities have no meaning: give a density")
    if not len(rho.crystal):
        raise UsageError("Bader charges belong to atoms, and the density has none")
    if not np.isfinite(rho.values).all():
        raise EcdError(f"the density of {rho.crystal.formula} has values that are not finite numbers")


def _run_baderkit(rho: Density, basins: Density) -> tuple[Floats, Floats]:
    """The electrons and volumes [n] that baderkit finds, of all points: none are put into a vacuum."""
    with _quiet():
        try:
            from baderkit.bader import Bader
            from baderkit.toolkit import Grid
        except ImportError as error:
            raise MissingDependencyError(
                "Bader charges need baderkit, which wants pandas below 3 and pymatgen up to 2025.10: make an "
                "environment of its own for it, and there pip install 'ecd-data[bader]'"
            ) from error
        structure = rho.crystal.wrap_atoms().to_pymatgen()
        grids = [Grid(structure, {"total": one.values * rho.crystal.volume}) for one in (rho, basins)]
        found = Bader(charge_grid=grids[0], reference_grid=grids[1], vacuum_tol=False, nna_cutoff=False)
        electrons, volumes = np.array(found.atom_charges, float), np.array(found.atom_volumes, float)
    if abs(electrons.sum() - rho.nelect) > 1e-3 * max(1.0, abs(rho.nelect)):
        raise EcdError(
            f"baderkit assigned {electrons.sum():.4f} of {rho.nelect:.4f} electrons to the atoms of "
            f"{rho.crystal.formula}: its basins are not to be trusted, take a finer grid"
        )
    return electrons, volumes


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """A context in which baderkit prints and logs nothing; loading it would set up the log of the whole program."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    root.addHandler(logging.NullHandler())  # logging.basicConfig does nothing where there is a handler
    root.setLevel(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
