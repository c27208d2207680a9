"""One training step: gradients of the passes, summed over the processes, clipped; Adam; the average of the weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from ecd_data.errors import UsageError
from ecd_models.batch import ProbeBatch
from ecd_models.model import DensityModel
from ecd_models.training.config import TrainConfig
from ecd_models.training.distributed import Processes

OPTIMIZER, AVERAGE, SCALER = "optimizer.", "average.", "scaler."


class StepSums(NamedTuple):
    """Of one step, over all crystals and processes: mean loss, sum |error| and sum |density| in e/Å^3."""

    loss: float
    error: float
    density: float
    stopped: bool


class Learner:
    """A model with what changes its weights: optimiser, scaler of small gradients, average over steps."""

    def __init__(self, model: DensityModel, config: TrainConfig, processes: Processes) -> None:
        self.model, self.config, self.processes = model, config, processes
        self.optimizer = torch.optim.Adam(model.parameters(), lr=config.lr, fused=True)
        if config.weight_decay:
            self.optimizer = torch.optim.AdamW(
                model.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True
            )
        self.average = AveragedModel(model, multi_avg_fn=_ramped(config.ema)) if config.ema else None
        self.kind = torch.device(processes.device).type
        self.dtype = getattr(torch, config.precision)
        if self.dtype != torch.float32:
            require_autocast(self.kind, self.dtype)
        self.scaler = torch.amp.GradScaler(self.kind, enabled=self.dtype == torch.float16)

    @property
    def judged(self) -> DensityModel:
        """The model that is validated and kept as the best: the average where there is one."""
        return self.model if self.average is None else cast(DensityModel, self.average.module)

    def step(self, passes: Sequence[ProbeBatch], lr: float, stop: bool = False) -> StepSums:
        """Change the weights by the gradient of the mean loss over all passes of all processes.

        The weights stay as they are where the loss is not finite. `stop` of any process is told to all.
        """
        self.optimizer.zero_grad()
        probes = self.config.accumulate * self.config.batch_size * self.config.probes * self.processes.count
        sums = torch.zeros(4, dtype=torch.float64, device=self.processes.device)
        sums[3] = stop
        for batch in passes:
            batch = batch.to(device=self.processes.device)
            assert batch.target is not None
            difference = self._output(batch) - batch.target
            counted = self._relative(difference, batch) if self.config.relative_loss else difference
            loss = (counted.abs() if self.config.loss == "l1" else counted**2).sum() / probes
            self.scaler.scale(loss).backward()
            density = batch.target if batch.target.ndim == 1 else batch.target[:, 0]
            sums[:3] += torch.stack([loss.detach(), difference.detach().abs().sum(), density.abs().sum()])
        self.processes.sum_gradients(self.model.parameters())
        loss, error, density, stopped = self.processes.sum(sums).tolist()
        if loss - loss == 0:
            self._apply(lr)
        return StepSums(loss, error, density, stopped > 0)

    @staticmethod
    def _relative(difference: Tensor, batch: ProbeBatch) -> Tensor:
        """Errors divided by the mean density of their crystal."""
        assert batch.mean is not None, "a relative loss needs the mean density of each crystal"
        mean = batch.mean[batch.probe_crystal]
        return difference / (mean if difference.ndim == 1 else mean[:, None])

    def _output(self, batch: ProbeBatch) -> Tensor:
        if self.dtype == torch.float32:
            return self.model(batch)
        with torch.autocast(self.kind, self.dtype):
            return self.model(batch).float()

    def _apply(self, lr: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        if self.config.clip_norm:
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            self.average.update_parameters(self.model)

    def state(self) -> dict[str, Tensor]:
        """All tensors, beside the weights, that the next steps depend on."""
        tensors: dict[str, Tensor] = {}
        for key, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"{OPTIMIZER}{key}.{name}": torch.as_tensor(value) for name, value in moments.items()}
        if self.average is not None:
            tensors |= {AVERAGE + name: value for name, value in self.average.state_dict().items()}
        scaler = self.scaler.state_dict()
        return tensors | {SCALER + name: torch.tensor(value) for name, value in scaler.items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take on a state; raises UsageError where it has no optimiser of this model."""
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in _under(tensors, OPTIMIZER).items():
            parameter, name = key.split(".", 1)
            moments.setdefault(int(parameter), {})[name] = value
        trained = list(self.model.parameters())
        fits = [k in moments and moments[k]["exp_avg"].shape == p.shape for k, p in enumerate(trained)]
        if not all(fits) or len(moments) != len(trained):
            raise UsageError("it holds no state of an optimiser for this model: give the last.safetensors of a run")
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        average = _under(tensors, AVERAGE)
        if self.average is not None and average:
            self.average.load_state_dict(average)
        scaler = {name: value.item() for name, value in _under(tensors, SCALER).items()}
        if self.scaler.is_enabled() and scaler:
            self.scaler.load_state_dict(scaler)


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _ramped(decay: float) -> Callable[[Any, Any, Tensor | int], None]:
    """An exponential average whose decay grows with the steps, so that it forgets the first weights."""

    def update(averages: Any, current: Any, count: Tensor | int) -> None:
        n = int(count)
        torch._foreach_lerp_(averages, current, 1 - min(decay, (1 + n) / (10 + n)))

    return update


def require_autocast(kind: str, dtype: torch.dtype) -> None:
    """Raise UsageError where the device has no fast products of this type."""
    name = str(dtype).removeprefix("torch.")
    half = dtype == torch.float16
    if kind == "cuda":
        there = half or torch.cuda.is_bf16_supported()
    elif kind == "cpu":
        support = torch.ops.mkldnn._is_mkldnn_fp16_supported if half else torch.ops.mkldnn._is_mkldnn_bf16_supported
        there = bool(support())
    else:
        there = torch.amp.is_autocast_available(kind)
    if not there:
        raise UsageError(f"precision = {name!r} is not there on this {kind}: take float32")
