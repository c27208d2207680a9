"""A training run of a model with a closed-form fit: each step is a pass over all crystals."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ecd_data.crystal import Floats
from ecd_data.density import Density
from ecd_data.errors import UsageError
from ecd_models.atoms.fitted import SuperposedAtoms
from ecd_models.atoms.valences import read_training_valences
from ecd_models.metrics import eps_mae
from ecd_models.model import DensityModel
from ecd_models.networks import build_model, model_class
from ecd_models.task_data import TaskData
from ecd_models.training.choose_atoms import is_pair_model, make_superposed_atoms
from ecd_models.training.config import TrainConfig
from ecd_models.training.fit_pair_density import PairFit, find_anchors
from ecd_models.training.probe_batches import subset
from ecd_models.training.run_folder import Run
from ecd_models.training.trained_on import find_training_crystals

log = logging.getLogger("ecd_models")

MAX_PASSES = 20  # refuses a configuration whose steps were meant for an optimiser
NOT_FITTED = ("start", "spin", "exact_nelect", "whole_grids", "near_nuclei")  # settings that a fit cannot follow
NEARLY_WHOLE = 0.01  # electrons: atoms this near to a whole number of electrons are scaled to have it


def has_closed_form_fit(config: TrainConfig) -> bool:
    """Whether the model of a configuration is fitted in closed form rather than by an optimiser."""
    cls = model_class(config.model)
    return hasattr(cls, "on_grid") and not hasattr(cls, "encode")


def fit(
    config: TrainConfig, data: TaskData, run: Run, report_step: Callable[[int], None], should_stop: Callable[[], bool]
) -> None:
    """Fit the pair model in config.steps passes, validate after each, and keep the best model in the run.

    An interrupted run starts again, since a fit has no state to continue from; a complete one is left as it is.

    Raises
    ------
    UsageError : the configuration has settings that a fit cannot use.
    KeyboardInterrupt : should_stop() was true between two passes.
    """
    _check_settings(config)
    last = run.read_last_state()
    if last is not None and last.metadata["step"] >= config.steps:
        run.restore(last.metadata)
        return
    run.open_logs()
    run.trained_on = find_training_crystals(config, data)
    ids = subset(data.ids("train"), config.fraction, config.seed)
    table = data.store.index.set_index("id").loc[ids]
    atoms = round_electrons(make_superposed_atoms(config, data))
    formulas = {id: _composition(numbers) for id, numbers in table["numbers"].items()}
    network: Any = build_model(config.model, **config.options)
    load = data.store.__getitem__
    sizes = network.config
    if config.anchors:
        sizes = replace(sizes, anchors=find_anchors(load, formulas, sizes.reach, config.anchors))
    pair_fit = PairFit(load, formulas, atoms, sizes, config.probes, config.seed)
    for step in range(1, config.steps + 1):
        model = DensityModel(pair_fit.next_solution(), atoms, config.model)
        model.training_valences = read_training_valences(data.store, ids)
        run.step = step
        run.record_validation(0.0, validate_closed_form(model, data, config.validation_crystals), model.eval())
        run.save_state(model, {})
        report_step(step)
        if should_stop() and step < config.steps:
            raise KeyboardInterrupt


def _check_settings(config: TrainConfig) -> None:
    if config.steps > MAX_PASSES:
        raise UsageError(
            f"{config.model} is fitted in a few passes over the crystals: set steps to 1 for least squares, 3 for "
            f"least absolute errors, not {config.steps}"
        )
    if wrong := next((name for name in NOT_FITTED if getattr(config, name)), None):
        raise UsageError(f"{config.model} is fitted in closed form and has no {wrong}: leave it out")
    if is_pair_model(config.atoms):
        raise UsageError(f"{config.model} cannot start from a pair model, which it is itself: leave atoms out")


def _composition(numbers: Floats) -> str:
    """A key of the composition: atomic numbers and their counts in lowest terms."""
    kinds, counts = np.unique(np.asarray(numbers, dtype=np.int64), return_counts=True)
    return str(dict(zip(kinds.tolist(), (counts // np.gcd.reduce(counts)).tolist(), strict=True)))


def round_electrons(atoms: SuperposedAtoms) -> SuperposedAtoms:
    """The same atoms with whole numbers of electrons where these are nearly whole, so that crystals have them, too."""
    electrons = atoms.coefficients.sum(axis=1, keepdims=True)
    whole = np.rint(electrons)
    nearly = (abs(electrons - whole) < NEARLY_WHOLE) & (whole > 0)
    scale = np.divide(whole, electrons, out=np.ones_like(electrons), where=nearly)
    return SuperposedAtoms(atoms.coefficients * scale, atoms.exponents)


def validate_closed_form(model: DensityModel, data: TaskData, count: int) -> float:
    """The mean eps_mae over the first `count` validation crystals on their whole grids, a fraction."""
    assert model.atoms is not None
    errors = []
    for id in data.ids("validation")[:count]:
        rho = data.store[id]
        values = model.atoms(rho.crystal, rho.shape).values + model.network.on_grid(rho.crystal, rho.shape)
        errors.append(eps_mae(Density(rho.crystal, values), rho))
    return float(np.mean(errors))
