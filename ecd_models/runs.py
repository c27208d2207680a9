"""A training run on disk: configuration, log, last state and best model, each replaced as a whole."""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path
from typing import Self

import torch

from ecd_data.errors import UsageError
from ecd_models.checkpoint import load_checkpoint, load_model, save_checkpoint
from ecd_models.config import TrainConfig
from ecd_models.model import DensityModel

COLUMNS = ("step", "lr", "train_loss", "train_error_percent", "validation_error_percent", "seconds")


class Run:
    """The files of one run and the figures since its last validation."""

    def __init__(self, config: TrainConfig) -> None:
        self.config, self.folder = config, Path(config.out)
        self.best, self.last = self.folder / "best.safetensors", self.folder / "last.safetensors"
        self.log = self.folder / "log.csv"
        self.best_error: float | None = None
        self.validation_error: float | None = None
        self._losses = self._densities = 0.0
        self._count, self._seconds, self._resumed = 0, 0.0, time.monotonic()

    @classmethod
    def open(cls, config: TrainConfig) -> Self:
        """The run of a configuration, new or to be continued; raises UsageError where the folder holds another run."""
        run = cls(config)
        path = run.folder / "config.json"
        text = json.dumps(config.to_dict(), indent=2, sort_keys=True)
        if path.exists() and run.last.exists() and _without_length(path.read_text()) != _without_length(text):
            raise UsageError(f"{run.folder} holds a run of another configuration: name another out or remove it")
        if run.folder.exists() and not run.folder.is_dir():
            raise UsageError(f"{run.folder} is a file: name a folder as out")
        run.folder.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return run

    @property
    def loss(self) -> float:
        """Mean L1 loss in e/Å^3 since the last validation."""
        return self._losses / max(1, self._count)

    @property
    def train_error(self) -> float:
        """Summed |error| over summed density since the last validation, a fraction."""
        return self._losses / self._densities if self._densities else float("nan")

    def count(self, loss: float, density: float) -> None:
        """Take in a step's mean |error| and mean |density| in e/Å^3."""
        self._losses, self._densities, self._count = self._losses + loss, self._densities + density, self._count + 1

    def validated(self, step: int, lr: float, error: float) -> None:
        """Log a validation and start the means anew."""
        self.validation_error = error
        row = (step, f"{lr:.6g}", f"{self.loss:.6g}", f"{100 * self.train_error:.4f}", f"{100 * error:.4f}")
        new = not self.log.exists()
        with open(self.log, "a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(COLUMNS)
            writer.writerow((*row, f"{self.seconds:.1f}"))
        self._losses = self._densities = 0.0
        self._count = 0

    @property
    def seconds(self) -> float:
        """Time spent in the run, over all its resumptions."""
        return self._seconds + time.monotonic() - self._resumed

    def save(self, step: int, model: DensityModel, optimizer: torch.optim.Optimizer) -> None:
        """Write the last state and, where the last validation was the best, the best model."""
        if self.validation_error is not None and (self.best_error is None or self.validation_error < self.best_error):
            self.best_error = self.validation_error
            metadata = {"config": self.config.to_dict(), "step": step, "validation_error": self.best_error}
            save_checkpoint(self.best, model, metadata)
        figures = [self._losses, self._densities, self._count, self.seconds]
        state = {"step": step, "best_error": self.best_error, "validation_error": self.validation_error}
        save_checkpoint(self.last, model, {**state, "figures": figures}, _optimizer_tensors(optimizer))

    def restored_model(self) -> DensityModel | None:
        """The model of the last state, None for a new run."""
        return load_model(self.last).train().to(self.config.device) if self.last.exists() else None

    def restore(self, optimizer: torch.optim.Optimizer, schedule: torch.optim.lr_scheduler.LambdaLR) -> int:
        """The step to go on from, with optimiser and schedule set to it; 0 for a new run."""
        if not self.last.exists():
            self.log.unlink(missing_ok=True)
            return 0
        _, state, tensors = load_checkpoint(self.last)
        _restore_optimizer(optimizer, tensors)
        step = int(state["step"])
        self.best_error, self.validation_error = state["best_error"], state["validation_error"]
        self._losses, self._densities, self._count, self._seconds = state["figures"]
        schedule.last_epoch = step
        for group, base in zip(optimizer.param_groups, schedule.base_lrs, strict=True):
            group["lr"] = base * schedule.lr_lambdas[0](step)
        self._trim_log(step)
        return step

    def _trim_log(self, step: int) -> None:
        """Drop rows after the state that a killed run left: they will be written again."""
        if self.log.exists():
            rows = list(csv.reader(self.log.read_text().splitlines()))
            with open(self.log, "w", newline="") as file:
                csv.writer(file).writerows(rows[:1] + [row for row in rows[1:] if int(row[0]) <= step])

    def best_model(self) -> DensityModel:
        """The model of the best validation."""
        return load_model(self.best)


def _without_length(text: str) -> dict[str, object]:
    """A configuration without what may change when a run goes on."""
    free = ("steps", "out", "device", "workers", "threads", "cache_mb", "data_dir")
    return {key: value for key, value in json.loads(text).items() if key not in free}


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The optimiser's tensors by "<parameter>.<name>"."""
    states = optimizer.state_dict()["state"]
    return {f"{key}.{name}": torch.as_tensor(value) for key, state in states.items() for name, value in state.items()}


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    states: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        parameter, name = key.split(".", 1)
        states.setdefault(int(parameter), {})[name] = value
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
