"""The start of a run: from its own last state, from another checkpoint, or with new weights drawn by seed."""

from __future__ import annotations

import logging
from dataclasses import fields
from typing import Any

import torch

from ecd_data.errors import UsageError
from ecd_models.atoms.electron_count import fit_valences, sum_electrons
from ecd_models.atoms.valences import merge_valences, read_training_valences
from ecd_models.checkpoint import Checkpoint, load_checkpoint, load_model, load_published_run
from ecd_models.model import DensityModel
from ecd_models.networks import build_model, model_class
from ecd_models.task_data import TaskData
from ecd_models.training.choose_atoms import is_pair_model, load_bonded_atoms, make_superposed_atoms
from ecd_models.training.config import TrainConfig
from ecd_models.training.distributed import Processes
from ecd_models.training.probe_batches import subset
from ecd_models.training.run_folder import Run
from ecd_models.training.train_step import Trainer
from ecd_models.training.trained_on import TrainedOn, find_training_crystals

log = logging.getLogger("ecd_models")


def build_trainer(config: TrainConfig, data: TaskData, run: Run, processes: Processes) -> Trainer:
    """The learner of a run at the step where it goes on, its figures restored."""
    own = run.read_last_state()
    other = load_start(config) if config.start and own is None else None
    checkpoint = own or other
    _require_whole_grids(config)
    run.trained_on = _find_record(config, data, own, other)
    if own is None:
        _warn_of_seen_validation(config, data, run.trained_on)
    model = make_model(config, data) if checkpoint is None else checkpoint.model.train()
    if own is None or model.training_valences is None:
        _add_valences(model, config, data)
    trainer = Trainer(model.to(processes.device), config, processes)
    try:
        if own is not None:
            trainer.restore(own.state)
            run.restore(own.metadata)
        elif other is not None and config.continued:
            trainer.restore(other.state)
            run.step = int(other.metadata["step"])
            run.reductions = _read_reductions(config, other)
            if run.step >= config.steps:
                raise UsageError(f"it is at step {run.step} already, and steps = {config.steps} counts its steps too")
    except UsageError as error:
        raise UsageError(f"{run.last if own else config.start} cannot be continued: {error}") from error
    run.open_logs()
    return trainer


def _read_reductions(config: TrainConfig, start: Checkpoint) -> int:
    """How often "plateau" had reduced the learning rate of a checkpoint that is continued."""
    if config.schedule == "plateau" and "reductions" not in start.metadata:
        raise UsageError(
            "it does not say how often schedule = 'plateau' has reduced its learning rate: take another schedule, or "
            "its weights alone (continued = false)"
        )
    return int(start.metadata.get("reductions", 0))


def _require_whole_grids(config: TrainConfig) -> None:
    """Raise UsageError where whole grids are wanted of a network that is evaluated at points."""
    if config.whole_grids and not getattr(model_class(config.model), "whole_grids", False):
        raise UsageError(f"whole_grids = true is for models in closed form, not for {config.model}: leave it out")
    if config.options.get("functionals") and not config.whole_grids:
        raise UsageError("several functionals are learned from whole densities: set whole_grids = true")
    if config.spin and not config.whole_grids and getattr(model_class(config.model), "whole_grids", False):
        raise UsageError(f"{config.model} learns the magnetization from whole densities: set whole_grids = true")


def _find_record(config: TrainConfig, data: TaskData, own: Checkpoint | None, other: Checkpoint | None) -> TrainedOn:
    """The crystals that train the model: as its last state says, else those of the run and of its start."""
    saved = TrainedOn.from_metadata(own.metadata) if own is not None else None
    record = saved or find_training_crystals(config, data, None if other is None else other.model.metadata)
    if (
        saved is None and config.difference and is_pair_model(config.atoms)
    ):  # the crystals that it was fitted on count as well
        record = record.merge(TrainedOn.from_metadata(load_model(config.atoms).metadata))
    return record


def _warn_of_seen_validation(config: TrainConfig, data: TaskData, record: TrainedOn) -> None:
    """Warn where validation crystals trained the checkpoint or the pair model that the run starts from."""
    validation = data.parts.get("validation", [])
    if seen := record.ids.intersection(validation):
        log.warning(
            "%d of the %d validation crystals trained %s: the validation error is too small for crystals that a model "
            "never saw, and the choice of the best weights rests on the others",
            len(seen),
            len(validation),
            config.start or config.atoms,
        )


def _add_valences(model: DensityModel, config: TrainConfig, data: TaskData) -> None:
    """Store in the model the electrons of each element in the training crystals, merged with those of its start."""
    ids = subset(data.ids("train"), config.fraction, config.seed)  # none for a fraction of 0, which trains on nothing
    if not ids:
        return
    valences = read_training_valences(data.store, ids)
    if config.difference and is_pair_model(config.atoms):
        _, warning = merge_valences(load_model(config.atoms).training_valences, valences)
        if warning is not None:
            log.warning("%s, what the network is added to, %s", config.atoms, warning)
    model.training_valences, warning = merge_valences(model.training_valences, valences)
    if warning is not None:
        log.warning("%s %s", config.start, warning)


def load_start(config: TrainConfig) -> Checkpoint:
    """The checkpoint that config.start names; raises UsageError if its model is not that of the configuration."""
    if config.start.endswith(".safetensors"):
        checkpoint = load_checkpoint(config.start)
    elif config.continued:
        checkpoint = load_published_run(config.start)
    else:
        checkpoint = Checkpoint(load_model(config.start), {}, {})
    model = checkpoint.model
    found: Any = model.network.config
    wanted: Any = _build_network(config).config
    if type(found) is not type(wanted):
        raise UsageError(f"{config.start} is a {model.name}, the configuration wants a {config.model}: name its model")
    pairs = {field.name: (getattr(found, field.name), getattr(wanted, field.name)) for field in fields(wanted)}
    if other := [f"{name} = {has} (configuration: {due})" for name, (has, due) in pairs.items() if has != due]:
        raise UsageError(f"{config.start} has {', '.join(other)}: give the options it was made with")
    if config.difference != (model.atoms is not None):
        learned = "the difference to superposed atoms" if model.atoms is not None else "whole densities"
        raise UsageError(f"{config.start} learned {learned}: set difference = {str(not config.difference).lower()}")
    _refuse_other_atoms(config, model)
    if config.exact_nelect != (model.valences is not None):
        does = "scales its densities" if model.valences is not None else "does not scale its densities"
        due = str(not config.exact_nelect).lower()
        raise UsageError(f"{config.start} {does} to the crystal's electrons: set exact_nelect = {due}")
    return checkpoint


def _refuse_other_atoms(config: TrainConfig, model: DensityModel) -> None:
    """Raise UsageError where `atoms` names others than those that the start learned with, and which it keeps."""
    if not config.atoms or model.atoms is None:
        return
    if is_pair_model(config.atoms):
        same = load_bonded_atoms(config.atoms).key == model.atoms.key
    else:  # a last.safetensors does not say
        same = model.metadata.get("config", {}).get("atoms", config.atoms) == config.atoms
    if not same:
        raise UsageError(
            f"{config.start} keeps the superposed atoms that it learned with, which are not those of atoms ="
            f" {config.atoms!r}: leave atoms out (--set atoms=)"
        )


def make_model(config: TrainConfig, data: TaskData) -> DensityModel:
    """A model with weights drawn from config.seed, and with the atoms and electrons that the configuration asks for."""
    network = _build_network(config)
    store, ids = data.store, data.ids("train")
    atoms = make_superposed_atoms(config, data) if config.difference else None
    valences = None
    if config.exact_nelect:
        rows = store.index[store.index["id"].isin(ids)]
        valences = fit_valences(zip(rows["numbers"], rows["nelect"], strict=True))
        for numbers in rows["numbers"]:
            sum_electrons(numbers, valences)  # an unknown element is an error now, not after the training
    return DensityModel(network, atoms, config.model, valences)


def _build_network(config: TrainConfig) -> torch.nn.Module:
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
