"""`train`: steps, validations and saves of a training run, in any number of processes."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import nan
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from ecd_data.errors import UsageError
from ecd_data.release.data_origin import Origin
from ecd_data.store.probes.draw import ProbeReader
from ecd_data.work.interrupts import stop_between_steps
from ecd_data.work.process_pool import refuse_unguarded_script
from ecd_data.work.recent_cache import RecentCache
from ecd_models.batch import ProbeBatch, collate, split_into_passes
from ecd_models.device_batch import BatchBuffer, pack, pack_passes
from ecd_models.grid_batch import GridBatch, collate_grids
from ecd_models.model import DensityModel
from ecd_models.task_data import TaskData, training_data
from ecd_models.training.config import TrainConfig
from ecd_models.training.distributed import Processes, join_processes
from ecd_models.training.fit_run import fit, has_closed_form_fit
from ecd_models.training.grid_items import GridDataset
from ecd_models.training.learning_rate import learning_rate
from ecd_models.training.losses import subtract_target
from ecd_models.training.probe_batches import EpochBatches, ProbeDataset, subset
from ecd_models.training.run_folder import Run, lock_run
from ecd_models.training.start_run import build_trainer
from ecd_models.training.train_step import Step, seed_step
from ecd_models.training.worker_errors import CatchingDataset, keep_batch, raise_errors

VALIDATION_SEED = 43  # draws the validation points of all runs, so that errors of several seeds differ by models alone


@dataclass(frozen=True)
class Progress:
    """Where a training is after a step: its loss, errors and speed, for `report`.

    loss, train_error : means since the last validation; errors are fractions.
    validation_error, best_error : the last and the smallest error of a validation, None before the first one.
    crystals, probes : of one step, in all processes together.
    """

    step: int
    steps: int
    loss: float
    train_error: float
    validation_error: float | None
    best_error: float | None
    crystals: int
    probes: int


Report = Callable[[Progress], None]


@dataclass(frozen=True)
class TrainResult:
    """The best model of a run, its validation error (a fraction), the run's files and the origin of its data."""

    model: DensityModel
    best_error: float
    best: Path
    log: Path
    origin: Origin


def train(config: TrainConfig, report: Report | None = None) -> TrainResult:
    """The best model of a run with `config`; an interrupted run is continued from its last state.

    The folder config.out gets config.json, log.csv, last.safetensors and best.safetensors, which record where the data
    come from; the checkpoints also record which crystals trained them. Ctrl-C and SIGTERM end the run after the current
    step and save it. Under torchrun each process takes its share of every step.

    Parameters
    ----------
    config : the settings of the run.
    report : is called after every step, in the first process only.

    Raises
    ------
    UsageError : the folder holds a run of another configuration or other data, or another training writes it; or a task
        of the benchmark has only the sample's data and config.sample is not set.
    EcdError : the loss or the weights are not finite numbers, or no validation error is.
    KeyboardInterrupt : Ctrl-C or SIGTERM ended the run, which is saved.
    """
    if config.workers and multiprocessing.get_start_method() != "fork":  # a fork does not import the script
        refuse_unguarded_script()
    threads = torch.get_num_threads()
    torch.set_num_threads(config.threads or threads)
    try:
        with stop_between_steps() as should_stop, join_processes(config.device) as processes:
            data = training_data(config)
            with lock_run(config.out, processes):
                run = Run.open(config, data.origin, processes.is_first)
                processes.wait()
                if has_closed_form_fit(config):
                    return _fit(config, data, run, processes, report, should_stop)
                return _Training(config, data, run, processes).finish(report, should_stop)
    finally:
        torch.set_num_threads(threads)


def _fit(
    config: TrainConfig,
    data: TaskData,
    run: Run,
    processes: Processes,
    report: Report | None,
    should_stop: Callable[[], bool],
) -> TrainResult:
    """The best model of a run whose model is fitted in closed form."""
    if processes.count > 1:
        raise UsageError(f"{config.model} is fitted by one process: start it without torchrun")

    def report_pass(step: int) -> None:
        if report is not None:
            errors = nan, nan, run.validation_error, run.best_error
            report(Progress(step, config.steps, *errors, len(data.ids("train")), config.probes))

    fit(config, data, run, report_pass, should_stop)
    return _result(run, data)


def _result(run: Run, data: TaskData) -> TrainResult:
    model = run.best_model()
    assert run.best_error is not None
    return TrainResult(model, run.best_error, run.best, run.log, data.origin)


class _Training:
    """The steps and validations of a run, from where it is to its end."""

    def __init__(self, config: TrainConfig, data: TaskData, run: Run, processes: Processes) -> None:
        self.config, self.data, self.run, self.processes = config, data, run, processes
        self.trainer = build_trainer(config, data, run, processes)
        self.validation = _validation_batches(config, data, self.trainer.model, processes)
        self.crystals = config.accumulate * config.batch_size * processes.count  # of one step
        self.pending: deque[Step] = deque()  # steps that a GPU may still compute

    def finish(self, report: Report | None, should_stop: Callable[[], bool]) -> TrainResult:
        """The result of the run after its remaining steps."""
        config, run, processes = self.config, self.run, self.processes
        for batches in _step_batches(config, self.data, self.trainer.model, run, processes, self.crystals):
            stop = self._make_step(batches, should_stop())
            if report is not None and processes.is_first:
                errors = run.loss, run.train_error, run.validation_error, run.best_error
                report(
                    Progress(run.step, self.config.steps, *errors, self.crystals, self.crystals * self.config.probes)
                )
            if stop:
                raise KeyboardInterrupt
            if run.finished:
                break
        if run.validation_error is None:  # the run has no steps: the model that it started from is validated
            self._validate(0.0)
            run.save(self.trainer)
        processes.wait()
        return _result(run, self.data)

    def _make_step(self, batches: Sequence[ProbeBatch | BatchBuffer | GridBatch], stop: bool) -> bool:
        """Make one step, with the validation and the save that follow it; whether a process was asked to stop."""
        config, run = self.config, self.run
        lr = learning_rate(config, run.step, run.reductions)
        seed_step(config.seed, run.step, self.processes.rank)
        self.pending.append(self.trainer.step(batches, lr, stop))
        run.advance(self.crystals)
        validate = run.step % config.validate_every == 0 or run.step == config.steps
        save = validate or bool(config.save_every and run.step % config.save_every == 0)
        stop = self._read_sums(0 if save else self.trainer.max_pending)
        if stop:
            self._read_sums(0)
        if (save or stop) and not self.trainer.weights_are_finite():  # before they replace the last good state
            raise run.explain_divergence(f"the weights are not finite numbers after step {run.step}")
        if validate:
            self._validate(lr)
        if save or stop:
            run.save(self.trainer)
        return stop

    def _validate(self, lr: float) -> None:
        model = self.trainer.validation_model
        self.run.record_validation(lr, validation_error(model, self.validation, self.processes), model)

    def _read_sums(self, left: int) -> bool:
        """Add the sums of all steps but the last `left` to the run; whether a process was asked to stop."""
        stop = False
        while len(self.pending) > left:
            sums = self.pending.popleft().read()
            if sums.loss - sums.loss != 0:
                step = self.run.step - len(self.pending) - 1
                raise self.run.explain_divergence(f"the loss is {sums.loss} at step {step}")
            self.run.add_sums(sums)
            stop |= sums.stop
        return stop


def _step_batches(
    config: TrainConfig, data: TaskData, model: DensityModel, run: Run, processes: Processes, crystals: int
) -> Iterator[list[ProbeBatch | BatchBuffer | GridBatch]]:
    """The batches of each remaining step that this process passes through the network."""
    ids = subset(data.ids("train"), config.fraction, config.seed)
    if run.finished or not ids:
        return iter(())
    share = (config.cache_mb << 20) // (max(1, config.workers) * processes.on_this_machine)
    dataset = _probe_dataset(config, data, model, config.probes, config.seed, share, config.near_nuclei)
    draws = EpochBatches(ids, crystals, config.seed, run.drawn, config.steps - run.step, processes.share)
    join: Any = collate_grids if config.whole_grids else collate
    split = partial(split_into_passes, crystals=config.batch_size, max_edges=config.max_edges, join=join)
    pack_step = partial(pack_passes, split, _arrangement(model, processes))
    pin = torch.device(processes.device).type == "cuda"
    steps: Any = DataLoader(
        CatchingDataset(dataset, pack_step),
        batch_sampler=draws,
        collate_fn=keep_batch,
        num_workers=config.workers,
        pin_memory=pin,
    )
    return raise_errors(steps)


def _arrangement(model: DensityModel, processes: Processes) -> str | None:
    """The arrangement of batches that the network wants on a GPU; None on a processor, where it computes in blocks."""
    return getattr(model.network, "arrangement", None) if torch.device(processes.device).type == "cuda" else None


@torch.no_grad()
def validation_error(
    model: DensityModel, batches: Sequence[ProbeBatch | BatchBuffer | GridBatch], processes: Processes | None = None
) -> float:
    """The mean over crystals of sum|rho - prediction| / sum|rho| at their probes, a fraction.

    Each batch is one crystal. Errors of the magnetization, where there is one, count like those of the density.
    """
    processes = processes or Processes()
    was_training = model.training
    model.eval()
    sums = torch.zeros(2, dtype=torch.float64, device=processes.device)
    for each in batches:
        batch = each.unpack() if isinstance(each, BatchBuffer) else each
        assert batch.target is not None
        density = batch.target if batch.target.ndim == 1 else batch.target[:, 0]
        error = batch.weigh(subtract_target(model(batch), batch.target).abs()).sum() / batch.weigh(density.abs()).sum()
        sums[0] += error
    sums[1] = len(batches)
    model.train(was_training)
    total, count = processes.sum(sums).tolist()
    return total / count


def _probe_dataset(
    config: TrainConfig,
    data: TaskData,
    model: DensityModel,
    probes: int,
    seed: int,
    cache_bytes: int,
    near_nuclei: float = 0.0,
) -> ProbeDataset | GridDataset:
    """The items of a run's crystals; half of the bytes are for decoded densities, half for neighbours and atoms."""
    store = data.store
    if config.whole_grids:
        superpose = None if model.atoms is None else partial(model.network.superpose, model.atoms)
        cutoff = model.network.config.neighbors
        return GridDataset(store.__getitem__, cutoff, superpose, RecentCache(cache_bytes), config.spin)

    def nelect(id: str) -> float:
        return float(store.row(id)["nelect"])

    return ProbeDataset(
        ProbeReader(store.root, store.__getitem__, RecentCache(cache_bytes // 2)),
        cutoff=model.network.cutoff,
        probes=probes,
        seed=seed,
        atoms=model.atoms,
        spin=config.spin,
        nelect=nelect if config.relative_loss else None,
        near_nuclei=near_nuclei,
    )


def _validation_batches(
    config: TrainConfig, data: TaskData, model: DensityModel, processes: Processes
) -> list[ProbeBatch | BatchBuffer | GridBatch]:
    """Batches of the first validation crystals with probes that are the same for all runs, whatever their seeds."""
    dataset = _probe_dataset(config, data, model, config.validation_probes, VALIDATION_SEED, cache_bytes=0)
    ids = data.ids("validation")[: config.validation_crystals]
    device, kind = processes.device, _arrangement(model, processes)
    items = (dataset[0, id] for id in processes.share(ids))
    arranged = (item if kind is None or isinstance(item, GridBatch) else pack(item, kind) for item in items)
    return [batch.to(device=device) for batch in arranged]
