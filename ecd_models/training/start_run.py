"""What a run begins with: its own last state, another run's checkpoint, or new weights drawn by seed."""

from __future__ import annotations

import logging
from dataclasses import fields
from typing import Any

import torch

from ecd_data.errors import UsageError
from ecd_models.atoms.electron_count import electrons_of_numbers, fitted_valences
from ecd_models.atoms.valences import joined, learned_from
from ecd_models.checkpoint import Checkpoint, load_checkpoint, load_model, load_published_run
from ecd_models.model import DensityModel
from ecd_models.networks import build_model
from ecd_models.task_data import TaskData
from ecd_models.training.choose_atoms import is_pair_model, superposed_atoms
from ecd_models.training.config import TrainConfig
from ecd_models.training.distributed import Processes
from ecd_models.training.run_folder import Run
from ecd_models.training.train_step import Learner
from ecd_models.training.trained_on import TrainedOn, record_of

log = logging.getLogger("ecd_models")


def begun(config: TrainConfig, data: TaskData, run: Run, processes: Processes) -> Learner:
    """The learner of a run at the step where it goes on, its figures restored."""
    own = run.interrupted()
    other = started(config) if config.start and own is None else None
    known = own or other
    run.trained_on = _record(config, data, own, other)
    model = new_model(config, data) if known is None else known.model.train()
    if own is None or model.learned is None:
        _record_learned(model, config, data)
    learner = Learner(model.to(processes.device), config, processes)
    try:
        if own is not None:
            learner.restore(own.state)
            run.restore(own.metadata)
        elif other is not None and config.continued:
            learner.restore(other.state)
            run.step = int(other.metadata["step"])
            if run.step >= config.steps:
                raise UsageError(f"it is at step {run.step} already, and steps = {config.steps} counts its steps too")
    except UsageError as error:
        raise UsageError(f"{run.last if own else config.start} cannot be continued: {error}") from error
    run.begin()
    return learner


def _record(config: TrainConfig, data: TaskData, own: Checkpoint | None, other: Checkpoint | None) -> TrainedOn:
    """What trains the model of a run: as its last state says, else its own crystals and those of its start."""
    stated = TrainedOn.from_metadata(own.metadata) if own is not None else None
    record = stated or record_of(config, data, None if other is None else other.model.metadata)
    if stated is None and config.difference and is_pair_model(config.atoms):  # its crystals are seen as well
        record = record.joined(TrainedOn.from_metadata(load_model(config.atoms).metadata))
    return record


def _record_learned(model: DensityModel, config: TrainConfig, data: TaskData) -> None:
    """Note in the model the electrons of each element in the training crystals, with those that it knew already."""
    ids = data.ids("train") if config.fraction else []  # on a fraction of 0 nothing is learned
    if not ids:
        return
    learned = learned_from(data.store, ids)
    if config.difference and is_pair_model(config.atoms):
        _, warning = joined(load_model(config.atoms).learned, learned)
        if warning is not None:
            log.warning("%s, what the network is added to, %s", config.atoms, warning)
    model.learned, warning = joined(model.learned, learned)
    if warning is not None:
        log.warning("%s %s", config.start, warning)


def started(config: TrainConfig) -> Checkpoint:
    """The checkpoint that a run starts from; raises UsageError where it is of another model."""
    if config.start.endswith(".safetensors"):
        checkpoint = load_checkpoint(config.start)
    elif config.continued:
        checkpoint = load_published_run(config.start)
    else:
        checkpoint = Checkpoint(load_model(config.start), {}, {})
    model = checkpoint.model
    there: Any = model.network.config
    wanted: Any = _network(config).config
    if type(there) is not type(wanted):
        raise UsageError(f"{config.start} is a {model.name}, the configuration wants a {config.model}: name its model")
    for field in fields(wanted):
        has, due = getattr(there, field.name), getattr(wanted, field.name)
        if has != due:
            raise UsageError(
                f"{config.start} has {field.name} = {has}, the configuration {due}: give the options it was made with"
            )
    if config.difference != (model.atoms is not None):
        learned = "the difference to superposed atoms" if model.atoms is not None else "whole densities"
        raise UsageError(f"{config.start} learned {learned}: set difference = {str(not config.difference).lower()}")
    return checkpoint


def new_model(config: TrainConfig, data: TaskData) -> DensityModel:
    """A model with weights drawn from config.seed and, where asked for, atoms and electrons of the training part."""
    network = _network(config)
    store, ids = data.store, data.ids("train")
    atoms = superposed_atoms(config, data) if config.difference else None
    valences = None
    if config.exact_nelect:
        rows = store.index[store.index["id"].isin(ids)]
        valences = fitted_valences(zip(rows["numbers"], rows["nelect"], strict=True))
        for numbers in rows["numbers"]:
            electrons_of_numbers(numbers, valences)  # told before the work, not after
    return DensityModel(network, atoms, config.model, valences)


def _network(config: TrainConfig) -> torch.nn.Module:
    torch.manual_seed(config.seed)
    spin = {"outputs": 2} if config.spin else {}
    try:
        return build_model(config.model, **config.options, **spin)
    except UsageError as error:
        if "'outputs'" in str(error):
            raise UsageError(
                f"{config.model} gives no magnetization: train without spin, or give its configuration `outputs`"
            ) from error
        raise
