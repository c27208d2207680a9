"""A training run of a model that is fitted at once: a pass over the crystals a step, the same files as other runs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np

from ecd_data.crystal import Floats
from ecd_data.density import Density
from ecd_data.errors import UsageError
from ecd_models.atoms.fitted import SuperposedAtoms
from ecd_models.atoms.valences import learned_from
from ecd_models.metrics import eps_mae
from ecd_models.model import DensityModel
from ecd_models.networks import build_model, model_class
from ecd_models.task_data import TaskData
from ecd_models.training.choose_atoms import superposed_atoms
from ecd_models.training.config import TrainConfig
from ecd_models.training.fit_pair_density import PairFit
from ecd_models.training.probe_batches import subset
from ecd_models.training.run_folder import Run
from ecd_models.training.trained_on import record_of

log = logging.getLogger("ecd_models")

MOST_PASSES = 20
WHOLE = 0.01  # electrons: fitted atoms whose number is as near to a whole one have that


def is_fitted_at_once(config: TrainConfig) -> bool:
    """Whether the model of a configuration has a fit of its own in place of steps of an optimiser."""
    return hasattr(model_class(config.model), "on_grid")


def fit(
    config: TrainConfig, data: TaskData, run: Run, told: Callable[[int], None], stopped: Callable[[], bool]
) -> None:
    """Fit the pair model in config.steps passes, each judged on the validation crystals; the best is the run's.

    A run that was interrupted begins again, one that is complete stays. Raises UsageError for settings that a fit
    cannot follow, KeyboardInterrupt where it is stopped between two passes.
    """
    _check(config)
    done = run.interrupted()
    if done is not None and done.metadata["step"] >= config.steps:
        run.restore(done.metadata)
        return
    run.begin()
    run.trained_on = record_of(config, data)
    ids = subset(data.ids("train"), config.fraction, config.seed)
    table = data.store.index.set_index("id").loc[ids]
    atoms = with_whole_electrons(superposed_atoms(config, data))
    formulas = {id: _composition(numbers) for id, numbers in table["numbers"].items()}
    network: Any = build_model(config.model, **config.options)
    fitting = PairFit(data.store.__getitem__, formulas, atoms, network.config, config.probes, config.seed)
    for step in range(1, config.steps + 1):
        model = DensityModel(fitting.next_solution(), atoms, config.model)
        model.learned = learned_from(data.store, ids)
        run.step = step
        run.validated(0.0, closed_form_error(model, data, config.validation_crystals), model.eval())
        run.save_state(model, {})
        told(step)
        if stopped() and step < config.steps:
            raise KeyboardInterrupt


def _check(config: TrainConfig) -> None:
    if config.steps > MOST_PASSES:
        raise UsageError(
            f"{config.model} is fitted in a few passes over the crystals: set steps to 1 for least squares, 3 for "
            f"least absolute errors, not {config.steps}"
        )
    if config.start or config.spin:
        wrong = "start" if config.start else "spin"
        raise UsageError(f"{config.model} is fitted at once and has no {wrong}: leave it out")


def _composition(numbers: Floats) -> str:
    """What is the same for crystals of one composition: atomic numbers and their counts in lowest terms."""
    kinds, counts = np.unique(np.asarray(numbers, dtype=np.int64), return_counts=True)
    return str(dict(zip(kinds.tolist(), (counts // np.gcd.reduce(counts)).tolist(), strict=True)))


def with_whole_electrons(atoms: SuperposedAtoms) -> SuperposedAtoms:
    """The same atoms, each with a whole number of electrons where it nearly has one: then densities have, too."""
    electrons = atoms.coefficients.sum(axis=1, keepdims=True)
    whole = np.rint(electrons)
    near = (abs(electrons - whole) < WHOLE) & (whole > 0)
    scale = np.divide(whole, electrons, out=np.ones_like(electrons), where=near)
    return SuperposedAtoms(atoms.coefficients * scale, atoms.exponents)


def closed_form_error(model: DensityModel, data: TaskData, most: int) -> float:
    """The mean eps_mae over the first validation crystals on their whole grids, a fraction."""
    assert model.atoms is not None
    errors = []
    for id in data.ids("validation")[:most]:
        rho = data.store[id]
        values = model.atoms(rho.crystal, rho.shape).values + model.network.on_grid(rho.crystal, rho.shape)
        errors.append(eps_mae(Density(rho.crystal, values), rho))
    return float(np.mean(errors))
