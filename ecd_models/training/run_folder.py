"""The folder of a training run: configuration, logs, last state and best model, each replaced as a whole."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from ecd_data.errors import EcdError, StoreError, UsageError
from ecd_data.io.atomic_write import write_whole
from ecd_data.io.lock import lock_folder
from ecd_data.release.data_origin import Origin
from ecd_models.checkpoint import Checkpoint, load_checkpoint, load_model, read_metadata, save_checkpoint
from ecd_models.model import DensityModel
from ecd_models.training.config import TrainConfig
from ecd_models.training.distributed import Processes
from ecd_models.training.logs import CsvLog, TensorBoardLog
from ecd_models.training.train_step import StepSums, Trainer
from ecd_models.training.trained_on import KEY, TrainedOn

log = logging.getLogger("ecd_models")

# The settings that may change when a run is continued: no result of the steps already made depends on them (but for
# `steps` with the cosine schedule, which `Run.open` refuses).
CHANGEABLE: tuple[str, ...] = (
    "steps",
    "out",
    "device",
    "cuda_graphs",
    "workers",
    "threads",
    "cache_mb",
    "data_dir",
    "save_every",
    "max_edges",
)
CHANGEABLE += ("patience", "tensorboard", "start", "sample")
SAVED = ("step", "drawn", "best_error", "validation_error", "stale", "reductions")


class Run:
    """The files of one run, and its figures: the step, the errors, and the means since the last validation.

    config: the settings, of which `out` is the folder. writes: whether this process writes the files, which one does.
    """

    def __init__(self, config: TrainConfig, writes: bool = True) -> None:
        self.config, self.folder, self.writes = config, Path(config.out), writes
        self.best, self.last = self.folder / "best.safetensors", self.folder / "last.safetensors"
        self.log = self.folder / "log.csv"
        self.step = self.drawn = 0
        self.trained_on: TrainedOn | None = None
        self.best_error: float | None = None
        self.validation_error: float | None = None
        self.stale = self.reductions = 0
        self._loss = self._error = self._density = 0.0
        self._count, self._seconds, self._resumed = 0, 0.0, time.monotonic()
        logs: list[Any] = [CsvLog(self.log)]
        if config.tensorboard:
            logs.append(TensorBoardLog(self.folder / "tensorboard"))
        self._logs = logs if writes else []

    @classmethod
    def open(cls, config: TrainConfig, origin: Origin, writes: bool = True) -> Self:
        """The run of a configuration, new or to be continued.

        Raises
        ------
        UsageError : the folder holds a run of another configuration, or one whose crystals are not those of `origin`.
        """
        run = cls(config, writes)
        path = run.folder / "config.json"
        text = json.dumps(config.to_dict() | origin.to_dict(), indent=2, sort_keys=True)
        if path.exists() and run.last.exists():
            before = _read_record(path)
            if _drop_changeable(before) != _drop_changeable(json.loads(text)):
                raise UsageError(f"{run.folder} holds a run of another configuration: name another out or remove it")
            if before.get("split_hash", origin.split_hash) != origin.split_hash:
                raise UsageError(
                    f"{run.folder} holds a run on other crystals, and the data are now {origin}: give it the data that "
                    "it began with, or name another out"
                )
            if before.get("store_hash", origin.store_hash) != origin.store_hash:
                raise UsageError(
                    f"{run.folder} holds a run on other densities, and the data are now {origin}: a crystal of the "
                    "store was added, removed or changed; give it the store as it began with, or name another out"
                )
            run.refuse_fewer_steps()
            if config.schedule == "cosine" and before.get("steps", config.steps) != config.steps:
                raise UsageError(
                    f"{run.folder} holds a run whose cosine schedule ends at steps = {before['steps']}, which decided"
                    f" the learning rates so far: leave steps so, or name another out and start = {run.best}"
                )
        if writes:
            run.folder.mkdir(parents=True, exist_ok=True)
            with write_whole(path) as temporary:  # a killed run leaves a whole record
                temporary.write_text(text)
        return run

    def refuse_fewer_steps(self) -> None:
        """Raise UsageError where the last state has made more steps than the configuration wants."""
        made = int(read_metadata(self.last).get("step", 0))
        if made > self.config.steps:
            raise UsageError(
                f"{self.folder} holds a run that has made {made} steps, more than steps = {self.config.steps}: a run"
                f" cannot go back, so set steps to {made} or more, or name another out for a new run"
            )

    @property
    def loss(self) -> float:
        """The mean loss since the last validation."""
        return self._loss / max(1, self._count)

    @property
    def train_error(self) -> float:
        """The sum of |error| over the sum of |density| since the last validation, a fraction."""
        return self._error / self._density if self._density else float("nan")

    @property
    def seconds(self) -> float:
        """The time spent in the run in s, over all calls that continued it."""
        return self._seconds + time.monotonic() - self._resumed

    @property
    def finished(self) -> bool:
        """Whether all steps are made, or `patience` ended the run early."""
        return self.step >= self.config.steps or 0 < self.config.patience <= self.stale

    def advance(self, crystals: int) -> None:
        """Count a step of so many crystals; `add_sums` adds its sums once they are known."""
        self.step, self.drawn = self.step + 1, self.drawn + crystals

    def add_sums(self, sums: StepSums) -> None:
        """Add the sums of a step to the means since the last validation."""
        self._loss, self._error = self._loss + sums.loss, self._error + sums.error
        self._density, self._count = self._density + sums.density, self._count + 1

    def record_validation(self, lr: float, error: float, model: DensityModel) -> None:
        """Log a validation at learning rate `lr`, write the model if it is the best, and start the means again.

        A model whose error is not a finite number is never the best; the run may still get over it.
        """
        self.validation_error = error
        better = isfinite(error) and (self.best_error is None or error < self.best_error)
        if not isfinite(error) and self.writes:
            log.warning(
                "%s: the validation error at step %d is %s, so this model is not kept", self.folder, self.step, error
            )
        self.stale = 0 if better else self.stale + 1
        if self.stale and self.stale % max(1, self.config.lr_patience) == 0:
            self.reductions += 1
        for rows in self._logs:
            rows.add(self.step, lr, self.loss, 100 * self.train_error, 100 * error, self.seconds)
        if better:
            self.best_error = error
            if self.writes:
                metadata = {"config": self.config.to_dict(), "step": self.step, "validation_error": error}
                save_checkpoint(self.best, model, metadata | self._data_record())
        self._loss = self._error = self._density = 0.0
        self._count = 0

    def save(self, trainer: Trainer) -> None:
        """Write the state of the trainer as the last state."""
        if self.writes:
            self.save_state(trainer.model, trainer.state())

    def save_state(self, model: DensityModel, tensors: Mapping[str, Tensor]) -> None:
        """Write a model, and the tensors that its next steps depend on, as the last state."""
        if self.writes:
            figures = [self._loss, self._error, self._density, self._count, self.seconds]
            state = {name: getattr(self, name) for name in SAVED}
            metadata = {**state, "figures": figures} | self._data_record()
            save_checkpoint(self.last, model, metadata, tensors)

    def _data_record(self) -> dict[str, str]:
        """The record of the training data in the metadata of a checkpoint."""
        return {} if self.trained_on is None else {KEY: self.trained_on.text}

    def read_last_state(self) -> Checkpoint | None:
        """The last state of the run, None for a new run."""
        return load_checkpoint(self.last) if self.last.exists() else None

    def restore(self, metadata: dict[str, Any]) -> None:
        """Set the figures to those of a last state."""
        for name in SAVED:
            setattr(self, name, metadata[name])
        self._loss, self._error, self._density, self._count, self._seconds = metadata["figures"]

    def open_logs(self) -> None:
        """Open the logs and drop their rows after the step of the run."""
        for rows in self._logs:
            rows.resume(self.step)

    def best_model(self) -> DensityModel:
        """The model with the smallest validation error; raises EcdError where no validation error is finite."""
        if self.best_error is None:
            raise self.explain_divergence(
                f"no validation error is a finite number, the last one is {self.validation_error}"
            )
        return load_model(self.best)

    def explain_divergence(self, what: str) -> EcdError:
        """The error of a run whose numbers overflowed, with the way to train with other settings."""
        start = f", or go on from its best model with start = {self.best}" if self.best_error is not None else ""
        return EcdError(
            f"{self.folder}: {what}: train with a lower lr than {self.config.lr} or with clip_norm = 1, and name"
            f" another out, since the run of a folder keeps its settings{start}"
        )


@contextmanager
def lock_run(out: str, processes: Processes) -> Iterator[None]:
    """A context in which the first of these processes alone writes the folder of a run, which is made if need be.

    Raises
    ------
    UsageError : another training writes it, or it is a file.
    """
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file: name a folder as out")
    if not processes.is_first:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    try:
        release = lock_folder(folder, processes)
    except StoreError as error:
        raise UsageError(f"another training writes {folder}: wait for its end, or name another out") from error
    try:
        yield
    finally:
        release()


def _read_record(path: Path) -> dict[str, Any]:
    """The settings and the origin of the data in the config.json of a run."""
    try:
        record = json.loads(path.read_text())
        if isinstance(record, dict):
            return record
    except ValueError:
        pass
    raise UsageError(
        f"{path} is damaged and does not say what the run was trained with: name another out, or remove it if this is "
        "the configuration that the run began with"
    )


def _drop_changeable(record: Mapping[str, Any]) -> dict[str, object]:
    """The settings in a config.json that must not change when a run is continued."""
    values = TrainConfig.from_dict(record).to_dict()  # keys that are not written have their defaults
    return {key: value for key, value in values.items() if key not in CHANGEABLE}
