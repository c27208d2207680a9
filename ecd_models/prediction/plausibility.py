"""Whether a prediction can be trusted: what the model was trained on, numbers of electrons, signs of the values."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from ecd_data.arguments import describe_value, real_number
from ecd_data.crystal import Crystal, Floats
from ecd_data.density import Density
from ecd_data.errors import EcdError, UsageError
from ecd_models.model import DensityModel
from ecd_models.prediction.reference_electrons import compare_valences, compare_with_density

log = logging.getLogger("ecd_models")

MIN_MARGIN = 1.0  # Å between an atom and a side of a cell that does not repeat: a nearer one loses much of its density
MIN_CHARGE = 0.01  # electrons: sums of rounded charges of atoms are below
# Warn if the predicted number of electrons is off by more than this fraction,
MAX_ELECTRON_ERROR = 0.1  # which networks stay below on all crystals of elements that they were trained on;
USUAL_ELECTRON_ERROR = 0.02  # which the shipped ones stay below on crystals like those of their training.
MAX_NEGATIVE_SHARE = 1e-3  # of the electrons: warn if a closed-form model gives more of them to negative values
MAX_SHARE_BEYOND = 1e-3  # of the electrons: warn if a magnetization exceeds the density by more of them
NO_DENSITY = "the crystal is unlike what it was trained on, or the training failed; no density is given"


def has_closed_form(model: DensityModel) -> bool:
    """Whether the model computes whole grids by a formula rather than a network's outputs point by point."""
    return hasattr(model.network, "on_grid")


def compare_with_training(
    model: DensityModel,
    crystal: Crystal,
    like: Density | None,
    valences: Mapping[str, float] | None,
    allow_mismatch: bool,
) -> None:
    """Warn of elements that the training crystals lack; compare valence electrons with those of the training data.

    The arguments are those of `predict`.

    Raises
    ------
    UsageError : `like` or `valences` has other valence electrons, and `allow_mismatch` is false.
    """
    if model.training_valences is None:
        warn_once(
            model,
            f"{model.name} has no record of how many electrons each element had in its training data: whether its"
            " densities are those of your code and potentials is not compared (docs/models.md)",
        )
    elif unseen := find_unseen_elements(model, crystal):
        warn_once(
            model,
            f"{model.name} never saw {', '.join(unseen)} in training: do not use its densities of crystals with it",
        )
    if like is not None:
        name = str(like.meta.get("source") or "the density to be like")
        compare_with_density(model, like, name, allow=allow_mismatch)
    if valences is not None:
        if not isinstance(valences, Mapping):
            raise UsageError(f"valences are electrons by element such as {{'Fe': 8}}, not {describe_value(valences)}")
        sets = {
            symbol: frozenset({real_number(count, f"the valence of {symbol}", "8")})
            for symbol, count in valences.items()
        }
        compare_valences(model, crystal, sets, "what is wanted", allow=allow_mismatch)


def warn_of_charge(crystal: Crystal, structure: Any) -> None:
    """Log a warning if an ASE Atoms or a pymatgen Structure is charged, which no prediction is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pymatgen's, that a charge is not that of the oxidation states
        found = structure.get_initial_charges().sum() if hasattr(structure, "get_initial_charges") else None
        charge = float(getattr(structure, "charge", None) or 0) if found is None else float(found)
    if abs(charge) > MIN_CHARGE:
        log.warning(
            "%s has a charge of %+g, and the density that is predicted is that of the neutral crystal",
            *(crystal.formula, charge),
        )


def warn_of_sides(model: DensityModel, crystal: Crystal) -> None:
    """Log a warning if atoms are near a side of the cell, or outside, along an axis where it does not repeat.

    A network that is asked point by point puts what lies beyond such a side nowhere. Closed forms always repeat.
    """
    if all(crystal.pbc) or has_closed_form(model):
        return
    heights = 1 / np.linalg.norm(np.linalg.inv(crystal.lattice), axis=0)
    margins = np.minimum(crystal.frac_coords, 1 - crystal.frac_coords) * heights
    near = [axis for axis in range(3) if not crystal.pbc[axis] and margins[:, axis].min() < MIN_MARGIN]
    if near:
        log.warning(
            "the cell of %s does not repeat along %s, and atoms are nearer than %g Å to its sides there or outside: %s"
            " loses the density beyond; centre the atoms in a large enough cell, or make it periodic (pbc=True)",
            *(crystal.formula, ", ".join("abc"[axis] for axis in near), MIN_MARGIN, model.name),
        )


def find_unseen_elements(model: DensityModel, crystal: Crystal) -> list[str]:
    """The elements of a crystal that the training crystals lack, if the model records its training crystals."""
    valences = model.training_valences
    return [] if valences is None else [symbol for symbol in crystal.elements if not valences.saw(symbol)]


def find_unseen_pairs(model: DensityModel, crystal: Crystal) -> list[str]:
    """The pairs of neighbours, as "Cu-Te", that the training crystals lack, if the model records pairs."""
    fitted = model.network if hasattr(model.network, "unseen_pairs") else getattr(model.atoms, "pairs", None)
    return [] if fitted is None else fitted.unseen_pairs(crystal)


def warn_once(model: DensityModel, sentence: str) -> None:
    """Log a warning about a model unless it was logged for this model before."""
    if sentence not in model.warnings:
        model.warnings.add(sentence)
        log.warning("%s", sentence)


def complete_density(
    model: DensityModel, crystal: Crystal, values: Any, atoms: Any, refuse: bool, with_atoms: float | None = None
) -> None:
    """Add the superposed atoms to a network's output on a grid and scale it to the electrons, in place.

    It is scaled if the model knows the number of electrons. A warning is logged if the prediction is far from it.

    Parameters
    ----------
    values : the network's output [a, b, c], an array or a tensor.
    atoms : the superposed atoms [a, b, c], None if there are none to add.
    refuse : whether an impossible number of electrons is an error.
    with_atoms : electrons of the superposed atoms that the values have already, None if they have none.

    Raises
    ------
    EcdError : the number of predicted electrons is not finite, or not positive for a crystal whose number is known.
    """
    nelect = model.nelect(crystal)
    expected = with_atoms if nelect is None else nelect
    if atoms is not None:
        _warn_beyond_atoms(model, crystal, values, atoms)
        values += atoms
        expected = float(atoms.mean()) * crystal.volume if nelect is None else nelect
    if model.training_valences is not None and expected is None:
        expected = model.training_valences.electrons(crystal)
    found = float(values.mean() * crystal.volume)
    if refuse and (not np.isfinite(found) or (found <= 0 and expected is not None)):
        raise EcdError(
            f"{model.name} predicts {found:.1f} electrons for {crystal.formula}"
            + (f", which has {expected:.1f}" if expected is not None else "")
            + f": {NO_DENSITY}"
        )
    _warn_of_electrons(model, crystal, found, expected, USUAL_ELECTRON_ERROR if refuse else MAX_ELECTRON_ERROR)
    if has_closed_form(model):  # its number of electrons is always right, but far from its training values are negative
        _warn_of_negative_values(model, crystal, values)
    if nelect is not None and found > 0:
        values *= nelect / found


def _warn_beyond_atoms(model: DensityModel, crystal: Crystal, output: Any, atoms: Any) -> None:
    """Log a warning if what a network adds to superposed atoms exceeds their largest density anywhere.

    Atoms that meet shift a part of their electrons, so that no true density is so far from theirs.
    """
    largest, held = float(abs(output).max()), float(atoms.max())
    if largest > held:
        log.warning(
            "%s changes the density of the atoms of %s by up to %.3g e/Å^3, which themselves have %.3g at most: do not"
            " use this density",
            *(model.name, crystal.formula, largest, held),
        )


def _warn_of_electrons(
    model: DensityModel, crystal: Crystal, found: float, expected: float | None, limit: float
) -> None:
    """Log a warning if predicted electrons are not positive, or off by more than a fraction `limit`."""
    if expected is None and found <= 0:
        log.warning("%s predicts %.3g electrons for %s: do not use this density", model.name, found, crystal.formula)
    if expected is None or abs(found - expected) <= limit * expected:
        return
    far = abs(found - expected) > MAX_ELECTRON_ERROR * expected
    log.warning(
        "%s predicts %.*f electrons for %s, which has %.1f: %s",
        *(model.name, 1 if far else 2, found, crystal.formula, expected),
        "the crystal is unlike what it was trained on, do not use this density"
        if far
        else f"{100 * abs(found / expected - 1):.1f} % off, more than on crystals like those it was trained on",
    )


def measure_negative_share(values: Floats) -> float:
    """The electrons in negative values of a density, as a share of all."""
    return float(-np.minimum(values, 0).sum() / np.abs(values.sum()))


def _warn_of_negative_values(model: DensityModel, crystal: Crystal, values: Floats) -> None:
    """Log a warning if negative values hold more of the electrons than rounding at nuclei explains."""
    share = measure_negative_share(values)
    if share > MAX_NEGATIVE_SHARE:
        log.warning(
            "%s predicts negative values for %s that hold %.2g %% of its electrons, down to %.2g e/Å^3: the crystal is "
            "unlike what it was fitted on, or the grid too coarse for it",
            *(model.name, crystal.formula, 100 * share, values.min()),
        )


def measure_share_beyond(density: Floats, magnetization: Floats) -> float:
    """The part of |magnetization| that exceeds the density, where one spin is negative, as a share of the electrons."""
    return float(np.maximum(np.abs(magnetization) - np.maximum(density, 0), 0).sum() / np.abs(density.sum()))


def warn_beyond_density(model: DensityModel, crystal: Crystal, density: Floats, magnetization: Floats) -> None:
    """Log a warning if a magnetization exceeds the density by more electrons than small densities far from atoms."""
    share = measure_share_beyond(density, magnetization)
    if not share <= MAX_SHARE_BEYOND:
        log.warning(
            "%s predicts a magnetization for %s that exceeds its density by %.2g %% of its electrons: one of the spins"
            " has a negative density there; do not use this magnetization",
            *(model.name, crystal.formula, 100 * share),
        )
