"""Training: seeded probes, L1 loss, Adam, best checkpoint by validation error, exact resume."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ecd_data.errors import EcdError, UsageError
from ecd_data.interrupts import stop_between_steps
from ecd_models.batch import ProbeBatch, collate
from ecd_models.config import TrainConfig
from ecd_models.data import TaskData, task_data
from ecd_models.model import DensityModel
from ecd_models.networks import build_model
from ecd_models.networks.atoms import fit_superposed_atoms
from ecd_models.runs import Run
from ecd_models.samples import EpochBatches, ProbeDataset

log = logging.getLogger("ecd_models")


@dataclass(frozen=True)
class Progress:
    """Where a run is: told after every step. Errors are fractions; validation is None until the first one."""

    step: int
    steps: int
    loss: float
    train_error: float
    validation_error: float | None
    best_error: float | None


Report = Callable[[Progress], None]


@dataclass(frozen=True)
class TrainResult:
    """The best model of a run, its validation error (fraction) and where the run's files are."""

    model: DensityModel
    best_error: float
    best: Path
    log: Path


def train(config: TrainConfig, report: Report | None = None) -> TrainResult:
    """The best model of a run with `config`; a run that was interrupted goes on where it was.

    Writes config.json, log.csv, last.safetensors and best.safetensors under config.out. Ctrl-C and SIGTERM end the run
    after the step under way, saved. Raises UsageError where the folder holds a run of another configuration, EcdError
    where the loss is not finite.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(config.threads or threads)
    try:
        with stop_between_steps() as stopped:
            return _train(config, report, stopped)
    finally:
        torch.set_num_threads(threads)


def _train(config: TrainConfig, report: Report | None, stopped: Callable[[], bool]) -> TrainResult:
    _check_device(config.device)
    data = task_data(config.task, config.data_dir)
    run = Run.open(config)
    model = run.restored_model() or new_model(config, data)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: config.lr_decay ** (t / config.lr_decay_steps))
    step = run.restore(optimizer, schedule)
    samples = _samples(config, data, model, config.probes, config.seed)
    validation = _validation_batches(config, data, model)
    batches = EpochBatches(data.ids("train"), config.batch_size, config.seed, step, config.steps)
    for batch in DataLoader(samples, batch_sampler=batches, collate_fn=collate, num_workers=config.workers):
        batch = batch.to(device=config.device)
        optimizer.zero_grad()
        loss = (model(batch) - _target(batch)).abs().mean()
        if not torch.isfinite(loss):
            raise EcdError(f"{config.out}: the loss is {loss.item()} at step {step}: lower lr and run again")
        loss.backward()
        optimizer.step()
        schedule.step()
        step += 1
        run.count(loss.item(), _target(batch).abs().mean().item())
        if step % config.validate_every == 0 or step == config.steps:
            run.validated(step, float(schedule.get_last_lr()[0]), validation_error(model, validation))
            run.save(step, model, optimizer)
        if report is not None:
            report(Progress(step, config.steps, run.loss, run.train_error, run.validation_error, run.best_error))
        if stopped():
            run.save(step, model, optimizer)
            raise KeyboardInterrupt
    return TrainResult(run.best_model(), run.best_error or float("nan"), run.best, run.log)


def _check_device(name: str) -> None:
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(
            f"device {name!r} cannot be used here ({reason}): take cpu, or a torch built for it"
        ) from error


def new_model(config: TrainConfig, data: TaskData) -> DensityModel:
    """A model with weights drawn from config.seed and, for difference learning, atoms fitted on the training part."""
    torch.manual_seed(config.seed)
    network = build_model(config.model, **config.options)
    atoms = None
    if config.difference:
        started = time.monotonic()
        ids = data.ids("train")
        atoms = fit_superposed_atoms(data.store[id] for id in ids)
        log.info("fitted superposed atoms on %d crystals in %.0f s", len(ids), time.monotonic() - started)
    return DensityModel(network, atoms, config.model).to(config.device)


@torch.no_grad()
def validation_error(model: DensityModel, batches: list[ProbeBatch]) -> float:
    """Mean over crystals of sum|rho - prediction| / sum|rho| at their probes, a fraction; a crystal a batch."""
    model.eval()
    errors = [(model(b) - _target(b)).abs().sum() / _target(b).abs().sum() for b in batches]
    model.train()
    return float(torch.stack(errors).mean())


def _samples(config: TrainConfig, data: TaskData, model: DensityModel, probes: int, seed: int) -> ProbeDataset:
    return ProbeDataset(
        data.store.__getitem__,
        cutoff=model.network.cutoff,
        probes=probes,
        seed=seed,
        atoms=model.atoms,
        cache_bytes=config.cache_mb << 20,
    )


def _validation_batches(config: TrainConfig, data: TaskData, model: DensityModel) -> list[ProbeBatch]:
    """The same probes of the first validation crystals for the whole run, drawn with a seed of their own."""
    samples = _samples(config, data, model, config.validation_probes, config.seed + 1)
    ids = data.ids("validation")[: config.validation_crystals]
    return [samples[0, id].to(device=config.device) for id in ids]


def _target(batch: ProbeBatch) -> Tensor:
    assert batch.target is not None
    return batch.target
