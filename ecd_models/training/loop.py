"""Training: seeded probes, Adam, best checkpoint by validation error, exact resume, any number of processes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import nan
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from ecd_data.errors import EcdError, UsageError
from ecd_data.release.data_origin import Origin
from ecd_data.store.probes.draw import ProbeReader
from ecd_data.work.interrupts import stop_between_steps
from ecd_data.work.recent_cache import RecentCache
from ecd_models.batch import ProbeBatch, passes
from ecd_models.device_batch import BatchBuffer, pack, pack_passes
from ecd_models.model import DensityModel
from ecd_models.task_data import TaskData, training_data
from ecd_models.training.config import TrainConfig
from ecd_models.training.distributed import Processes, joined
from ecd_models.training.fit_run import fit, is_fitted_at_once
from ecd_models.training.learning_rate import learning_rate
from ecd_models.training.probe_batches import EpochBatches, ProbeDataset, subset
from ecd_models.training.run_folder import Run
from ecd_models.training.start_run import begun
from ecd_models.training.train_step import Step


@dataclass(frozen=True)
class Progress:
    """Where a run is: told after every step. Errors are fractions; validation is None until the first one.

    crystals and probes: of one step, in all processes.
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
    """The best model of a run, its validation error (fraction), where its files are and where its data come from."""

    model: DensityModel
    best_error: float
    best: Path
    log: Path
    origin: Origin


def train(config: TrainConfig, report: Report | None = None) -> TrainResult:
    """The best model of a run with `config`; a run that was interrupted or killed goes on where it was saved last.

    Writes config.json, log.csv, last.safetensors and best.safetensors under config.out, which say where the data come
    from; the checkpoints also say which crystals trained them. Ctrl-C and SIGTERM end the run after the step under way,
    saved. Under torchrun each process takes its share of every step. Raises UsageError where the folder holds a run of
    another configuration or other data, or where a task of the benchmark has only the sample's data and config.sample
    is not set; EcdError where the loss is not finite.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(config.threads or threads)
    try:
        with stop_between_steps() as stopped, joined(config.device) as processes:
            return _train(config, processes, report, stopped)
    finally:
        torch.set_num_threads(threads)


def _train(
    config: TrainConfig, processes: Processes, report: Report | None, stopped: Callable[[], bool]
) -> TrainResult:
    data = training_data(config)
    run = Run.open(config, data.origin, processes.first)
    processes.wait()
    if is_fitted_at_once(config):
        if processes.count > 1:
            raise UsageError(f"{config.model} is fitted by one process: start it without torchrun")

        def told(step: int) -> None:
            if report is not None:
                errors = nan, nan, run.validation_error, run.best_error
                report(Progress(step, config.steps, *errors, len(data.ids("train")), config.probes))

        fit(config, data, run, told, stopped)
        return TrainResult(run.best_model(), float(run.best_error or 0.0), run.best, run.log, data.origin)
    learner = begun(config, data, run, processes)
    validation = _validation_batches(config, data, learner.model, processes)
    crystals = config.accumulate * config.batch_size * processes.count
    pending: deque[Step] = deque()  # steps that a GPU may still be at
    for batches in _steps(config, data, learner.model, run, processes, crystals):
        lr = learning_rate(config, run.step, run.reductions)
        pending.append(learner.step(batches, lr, stopped()))
        run.advance(crystals)
        judged = run.step % config.validate_every == 0 or run.step == config.steps
        saved = judged or bool(config.save_every and run.step % config.save_every == 0)
        stop = _read(pending, run, 0 if saved else learner.ahead)
        if stop:
            _read(pending, run, 0)
        if judged:
            run.validated(lr, validation_error(learner.judged, validation, processes), learner.judged)
            run.save(learner)
        elif saved or stop:
            run.save(learner)
        if report is not None and processes.first:
            errors = run.loss, run.train_error, run.validation_error, run.best_error
            report(Progress(run.step, config.steps, *errors, crystals, crystals * config.probes))
        if stop:
            raise KeyboardInterrupt
        if run.finished:
            break
    if run.best_error is None:  # no step was asked for: what the run started from is judged
        run.validated(0.0, validation_error(learner.judged, validation, processes), learner.judged)
        run.save(learner)
    processes.wait()
    best_error = float("nan") if run.best_error is None else run.best_error  # 0 is an error, too
    return TrainResult(run.best_model(), best_error, run.best, run.log, data.origin)


def _read(pending: deque[Step], run: Run, left: int) -> bool:
    """Take the sums of all steps but the last `left` into the run; whether a process was asked to end."""
    stopped = False
    while len(pending) > left:
        sums = pending.popleft().read()
        if sums.loss - sums.loss != 0:
            step = run.step - len(pending) - 1
            raise EcdError(f"{run.config.out}: the loss is {sums.loss} at step {step}: lower lr and run again")
        run.count(sums)
        stopped |= sums.stopped
    return stopped


def _steps(
    config: TrainConfig, data: TaskData, model: DensityModel, run: Run, processes: Processes, crystals: int
) -> Iterator[list[ProbeBatch | BatchBuffer]]:
    """What this process's share of each remaining step passes through the network."""
    ids = subset(data.ids("train"), config.fraction, config.seed)
    if run.finished or not ids:
        return iter(())
    share = (config.cache_mb << 20) // (max(1, config.workers) * processes.on_this_machine)
    samples = _samples(config, data, model, config.probes, config.seed, share)
    draws = EpochBatches(ids, crystals, config.seed, run.drawn, config.steps - run.step, processes.share)
    cut = partial(passes, crystals=config.batch_size, max_edges=config.max_edges)
    made = partial(pack_passes, cut, _arrangement(model, processes))
    pinned = torch.device(processes.device).type == "cuda"
    loader = DataLoader(samples, batch_sampler=draws, collate_fn=made, num_workers=config.workers, pin_memory=pinned)
    return iter(loader)


def _arrangement(model: DensityModel, processes: Processes) -> str | None:
    """How the network wants batches arranged, None where it computes in blocks that suit a processor."""
    return getattr(model.network, "arrangement", None) if torch.device(processes.device).type == "cuda" else None


@torch.no_grad()
def validation_error(
    model: DensityModel, batches: Sequence[ProbeBatch | BatchBuffer], processes: Processes | None = None
) -> float:
    """Mean over crystals of sum|rho - prediction| / sum|rho| at their probes, a fraction; a crystal a batch.

    Errors of the magnetization, where there is one, count like those of the density.
    """
    processes = processes or Processes()
    was_training = model.training
    model.eval()
    sums = torch.zeros(2, dtype=torch.float64, device=processes.device)
    for each in batches:
        batch = each.unpack() if isinstance(each, BatchBuffer) else each
        assert batch.target is not None
        density = batch.target if batch.target.ndim == 1 else batch.target[:, 0]
        error = (batch.weigh(model(batch) - batch.target)).abs().sum() / density.abs().sum()
        sums[0] += error
    sums[1] = len(batches)
    model.train(was_training)
    total, count = processes.sum(sums).tolist()
    return total / count


def _samples(
    config: TrainConfig, data: TaskData, model: DensityModel, probes: int, seed: int, cache_bytes: int
) -> ProbeDataset:
    """The items of a run's crystals; half of the bytes for decoded densities, half for neighbours and atoms."""
    store = data.store

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
    )


def _validation_batches(
    config: TrainConfig, data: TaskData, model: DensityModel, processes: Processes
) -> list[ProbeBatch | BatchBuffer]:
    """The same probes of the first validation crystals for the whole run, drawn with a seed of their own."""
    samples = _samples(config, data, model, config.validation_probes, config.seed + 1, cache_bytes=0)
    ids = data.ids("validation")[: config.validation_crystals]
    device, kind = processes.device, _arrangement(model, processes)
    items = (samples[0, id] for id in processes.share(ids))
    return [(item if kind is None else pack(item, kind)).to(device=device) for item in items]
