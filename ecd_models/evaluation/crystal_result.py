"""The error of a model on one crystal in all its parts, with what the prediction cost."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from pydantic import ValidationError
from scipy import fft

from ecd_data.crystal import Floats
from ecd_data.density import Density
from ecd_data.errors import EcdError
from ecd_data.release.formula import reduce_formula
from ecd_data.store.reader import Store
from ecd_data.symmetry import crystal_system
from ecd_models.atoms.valences import find_core_treatment, is_same_electron_count
from ecd_models.evaluation.machine import read_peak_memory, reset_peak_memory
from ecd_models.evaluation.regions import RegionError, count_atom_electrons, has_radii, split_error
from ecd_models.evaluation.strict import Strict
from ecd_models.metrics import eps_mae
from ecd_models.model import DensityModel
from ecd_models.prediction.functionals import list_functionals
from ecd_models.prediction.plausibility import warn_once
from ecd_models.prediction.predict import predict
from ecd_models.stopwatch import measure_steps, step
from ecd_models.training.trained_on import KEY, TrainedOn

COULOMB = 14.399645  # e^2 / (4 pi epsilon_0) in eV Å
LONGEST_REASON = 300  # characters of a reason for a failure


class AtomElectrons(Strict):
    """The electrons in the spheres of an element's atoms: those of the density by atom, and the prediction's error.

    error: the mean over the atoms of |predicted - true|; largest_error: the largest, with its sign.
    """

    atoms: int
    electrons: float
    error: float
    largest_error: float


class Seconds(Strict):
    """Seconds: reading the density (io), finding neighbours (graph), the rest of the prediction (network), errors.

    Compiled kernels find the neighbours of grid points while they compute, which counts as network.
    """

    io: float
    graph: float
    network: float
    errors: float


class CrystalResult(Strict):
    """The error of a model on one crystal; errors in percent, electrons, eV, seconds and MB.

    regions, atom_electrons: None where an element has no covalent radius. potential_error_eV: the root mean square of
    the electrostatic potential of the difference of the densities, both scaled to mean zero.
    """

    id: str
    formula: str
    compound: str
    natoms: int
    elements: list[str]
    functional: str | None
    spacegroup: int | None
    crystal_system: str | None
    points: int
    seen: str | None
    eps_mae_percent: float
    superposed_atoms_percent: float | None
    regions: dict[str, RegionError] | None
    electrons: float
    predicted_electrons: float
    atom_electrons: dict[str, AtomElectrons] | None
    potential_error_eV: float
    seconds: Seconds
    peak_memory_MB: float
    peak_device_memory_MB: float | None


def evaluate_crystal(model: DensityModel, store: Store, id: str) -> CrystalResult:
    """The CrystalResult of a model on a crystal of a store.

    Raises
    ------
    EcdError : the density cannot be read or is zero, or the model gives no density: its output has a wrong shape, is
        not finite, or so large that its errors are not.
    """
    reset_peak_memory(model.device)
    with measure_steps() as seconds:
        with step("io"):
            rho = store[id]
        with step("prediction"):
            guess = _predict(model, rho)
    memory, device_memory = read_peak_memory(model.device)
    record = _read_record(model.metadata.get(KEY))
    start = time.perf_counter()
    try:
        with np.errstate(all="ignore"):  # what is not finite is refused below
            measured = _measure(model, rho, guess)
        return CrystalResult(
            id=id,
            **_describe(store, id, rho),
            seen=None if record is None else record.seen(id, rho.crystal.formula),
            **measured,
            seconds=_divide_seconds(seconds, time.perf_counter() - start),
            peak_memory_MB=memory,
            peak_device_memory_MB=device_memory,
        )
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        raise EcdError(
            f"the {fault['loc'][0]} of {id} cannot be measured ({fault['msg']}): its density is zero, or the "
            "prediction is too large"
        ) from None


def _divide_seconds(seconds: Mapping[str, float], errors: float) -> Seconds:
    prediction, finding = seconds["prediction"], seconds.get("graph", 0.0)
    network = max(prediction - finding, 0.0)
    return Seconds(io=seconds["io"], graph=min(finding, prediction), network=network, errors=errors)


@lru_cache(maxsize=1)
def _read_record(text: str | None) -> TrainedOn | None:
    """The record of what trained a model, which is unpacked once and not for each crystal."""
    return None if text is None else TrainedOn.from_metadata({KEY: text})


def _compare_with_training(model: DensityModel, rho: Density) -> None:
    """Raises EcdError if a reference has other electrons than the valences in the model's training data make.

    A warning tells where it is of another method with as many electrons.
    """
    if (learned := model.training_valences) is None:
        return
    method = find_core_treatment(rho)
    if method and learned.method not in ("", method):
        warn_once(
            model,
            f"{model.name} learned densities of {learned.made_by}, and is judged by those of {method}: what they differ"
            " by near the nuclei counts as its error",
        )
    due = learned.electrons(rho.crystal)
    if due is not None and not is_same_electron_count(rho.nelect, due):
        raise EcdError(
            f"it has {rho.nelect:.2f} electrons where the valences that {model.name} learned make {due:g}: it is of"
            " other potentials, and an error would say nothing of the model"
        )


def _predict(model: DensityModel, rho: Density) -> Density:
    """The prediction; whatever a network raises becomes one sentence, so that the other crystals are evaluated."""
    _compare_with_training(model, rho)
    try:
        functional = rho.meta.get("functional") if list_functionals(model) else None  # that of the reference
        guess = predict(model, rho.crystal, shape=rho.shape, functional=functional, refuse=False)
    except (EcdError, MemoryError):
        raise
    except Exception as error:
        if os.environ.get("ECD_DEBUG"):
            raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:LONGEST_REASON]
        raise EcdError(
            f"{model.name} fails on {rho.crystal.formula} ({reason}): a network returns a finite number for each probe"
        ) from error
    bad = int(guess.values.size - np.count_nonzero(np.isfinite(guess.values)))
    if bad:
        raise EcdError(f"{model.name} predicts {bad:,} of {guess.values.size:,} values that are not finite numbers")
    return guess


def _describe(store: Store, id: str, rho: Density) -> dict[str, Any]:
    """What the index of the store says about a crystal, by the names of the fields."""
    row = store.row(id)
    spacegroup = row["spacegroup"]
    number = int(spacegroup) if spacegroup == spacegroup and spacegroup else None  # pandas has NaN for a null
    functional = row["functional"]
    return {
        "formula": rho.crystal.formula,
        "compound": reduce_formula(rho.crystal.formula),
        "natoms": len(rho.crystal),
        "elements": list(rho.crystal.elements),
        "functional": functional if isinstance(functional, str) and functional else None,
        "spacegroup": number,
        "crystal_system": None if number is None else crystal_system(number),
        "points": int(rho.values.size),
    }


def _measure(model: DensityModel, rho: Density, guess: Density) -> dict[str, Any]:
    """The errors of a prediction by the names of the fields."""
    known = has_radii(rho.crystal)
    return {
        "eps_mae_percent": 100 * eps_mae(guess, rho),
        "superposed_atoms_percent": None
        if model.atoms is None
        else 100 * eps_mae(model.atoms.free(rho.crystal, rho.shape), rho),
        "regions": split_error(guess, rho) if known else None,
        "electrons": rho.nelect,
        "predicted_electrons": guess.nelect,
        "atom_electrons": _compare_atoms(rho, guess) if known else None,
        "potential_error_eV": measure_potential_error(guess.values - rho.values, rho.lattice),
    }


def _compare_atoms(rho: Density, guess: Density) -> dict[str, AtomElectrons]:
    """The AtomElectrons by element."""
    true, predicted = count_atom_electrons(rho.crystal, rho.values, guess.values)
    symbols = np.array(rho.crystal.symbols)
    found = {}
    for symbol in rho.crystal.elements:
        mine = symbols == symbol
        error = (predicted - true)[mine]
        found[symbol] = AtomElectrons(
            atoms=int(mine.sum()),
            electrons=float(true[mine].mean()),
            error=float(np.abs(error).mean()),
            largest_error=float(error[np.abs(error).argmax()]),
        )
    return found


def measure_potential_error(difference: Floats, lattice: Floats) -> float:
    """The root mean square in eV of the electrostatic potential of a charge density [a, b, c] in e/Å^3.

    V(G) = 4 pi e^2 rho(G) / G^2, and V(0) = 0, so that a wrong number of electrons counts by its shape alone.
    """
    waves = [fft.fftfreq(n, 1 / n) for n in difference.shape]
    index = np.stack(np.meshgrid(*waves[:2], np.arange(difference.shape[2] // 2 + 1), indexing="ij"), axis=-1)
    squares = np.square(2 * np.pi * index @ np.linalg.inv(lattice).T).sum(axis=-1)
    squares[0, 0, 0] = np.inf
    potential = fft.irfftn(4 * np.pi * COULOMB * fft.rfftn(difference) / squares, s=difference.shape)
    return float(np.sqrt(np.square(potential).mean()))
