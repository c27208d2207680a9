"""One training step: the gradients of its passes, summed over the processes; Adam; the average of the weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from ecd_data.errors import UsageError
from ecd_models.batch import ProbeBatch
from ecd_models.device_batch import BatchBuffer, DeviceBatch
from ecd_models.grid_batch import GridBatch
from ecd_models.model import DensityModel
from ecd_models.training.config import TrainConfig
from ecd_models.training.cuda_graphs import CudaGraphs
from ecd_models.training.distributed import Processes
from ecd_models.training.losses import LOSSES, subtract_target

OPTIMIZER, AVERAGE, SCALER = "optimizer.", "average.", "scaler."
TF32 = "tf32"  # products of float32 numbers rounded to 11 bits, which tensor cores compute fast
MAX_PENDING = 2  # steps that a GPU may have left to compute: with two it never waits for the next one


class StepSums(NamedTuple):
    """The mean loss, sum |error| and sum |density| in e/Å^3 of one step; stop: a process was asked to stop."""

    loss: float
    error: float
    density: float
    stop: bool


class Step:
    """A step that a device may still compute; `read` waits for it and returns its sums."""

    def __init__(self, sums: Tensor) -> None:
        self._sums, self._done = sums, None
        if sums.is_cuda:
            self._sums = torch.empty(sums.shape, dtype=sums.dtype, pin_memory=True).copy_(sums, non_blocking=True)
            self._done = torch.cuda.Event()
            self._done.record()

    def read(self) -> StepSums:
        """The sums of the step."""
        if self._done is not None:
            self._done.synchronize()
        loss, error, density, stop = self._sums.tolist()
        return StepSums(loss, error, density, stop > 0)


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed torch's generators for a step of one process: a resumed run repeats what dropout and the like draw."""
    torch.manual_seed(int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0]))


class Trainer:
    """A model with its optimiser, the scaler of small gradients and the average of its weights over steps."""

    def __init__(self, model: DensityModel, config: TrainConfig, processes: Processes) -> None:
        self.model, self.config, self.processes = model, config, processes
        self.optimizer = torch.optim.Adam(model.parameters(), lr=config.lr, fused=True)
        if config.weight_decay:
            self.optimizer = torch.optim.AdamW(
                model.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True
            )
        self.average = WeightAverage(model, config.ema) if config.ema else None
        self.kind = torch.device(processes.device).type
        self.dtype = torch.float32 if config.precision == TF32 else getattr(torch, config.precision)
        require_precision(self.kind, config.precision)
        self.graphs: CudaGraphs | None = None
        if self.kind == "cuda" and config.cuda_graphs:
            self.graphs = CudaGraphs(self.compute_gradients, model.parameters())
        self.scaler = torch.amp.GradScaler(self.kind, enabled=self.dtype == torch.float16)

    @property
    def validation_model(self) -> DensityModel:
        """The model that validations use and the run keeps: the average of the weights if config.ema asks for one."""
        return self.model if self.average is None else cast(DensityModel, self.average.module)

    @property
    def max_pending(self) -> int:
        """The number of steps that the device may have left to compute before their sums are read."""
        return MAX_PENDING if self.kind == "cuda" else 0

    def step(self, passes: Sequence[ProbeBatch | BatchBuffer | GridBatch], lr: float, stop: bool = False) -> Step:
        """Change the weights by the gradient of the mean loss over all passes of all processes.

        If the loss is not finite, the weights do not change. All processes learn of a `stop` in any of them. On a GPU
        nothing here waits for the device.
        """
        self.optimizer.zero_grad()
        device = self.processes.device
        sums = torch.zeros(3, dtype=torch.float64, device=device)
        for batch in passes:
            if isinstance(batch, BatchBuffer) and self.graphs is not None:
                sums += self.graphs(batch, device, len(passes) == 1)
            else:
                moved = batch.to(device=device)
                sums += self.compute_gradients(moved.unpack() if isinstance(moved, BatchBuffer) else moved)
        self.processes.sum_gradients(self.model.parameters())
        flag = torch.full((1,), float(stop), dtype=torch.float64, device=device)
        sums = self.processes.sum(torch.cat([sums, flag]))
        self._apply(lr, sums[0])
        return Step(sums)

    def compute_gradients(self, batch: ProbeBatch | DeviceBatch | GridBatch) -> Tensor:
        """The sums of a pass: loss, |error|, |density| [3]; its gradients are added to those of the parameters."""
        assert batch.target is not None
        crystals = self.config.accumulate * self.config.batch_size * self.processes.count
        with self._matmul_precision():
            difference = subtract_target(self._output(batch), batch.target)
            errors = batch.divide_by_mean(difference) if self.config.relative_loss else difference
            if self.config.spin:
                errors = errors * errors.new_tensor([1.0, self.config.spin_weight])
            # The points of a whole grid are weighed by their number, so that a sum over them is a mean.
            loss = LOSSES[self.config.loss](batch, errors) / (
                crystals * (1 if self.config.whole_grids else self.config.probes)
            )
            self.scaler.scale(loss).backward()
        density = batch.target if batch.target.ndim == 1 else batch.target[:, 0]
        sums = [batch.weigh(part.detach().abs()).sum() for part in (difference, density)]
        return torch.stack([loss.detach(), *sums])

    def _output(self, batch: ProbeBatch | DeviceBatch | GridBatch) -> Tensor:
        if self.dtype == torch.float32:
            return self.model(batch)
        with torch.autocast(self.kind, self.dtype):
            return self.model(batch).float()

    @contextmanager
    def _matmul_precision(self) -> Iterator[None]:
        """A context in which products of float32 matrices have the configured precision."""
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high" if self.config.precision == TF32 else before)
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)

    def _apply(self, lr: float, loss: Tensor) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        if self.kind != "cuda" and not loss.isfinite():
            return
        if self.config.clip_norm:
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        if self.kind == "cuda" and not self.scaler.is_enabled():  # checked on the device: nothing waits
            self.optimizer.found_inf = (~loss.isfinite()).float()  # type: ignore[attr-defined]
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            self.average.update_parameters(self.model)

    def weights_are_finite(self) -> bool:
        """Whether all weights are finite numbers, in this process; waits for the device."""
        return bool(torch.stack([p.detach().isfinite().all() for p in self.model.parameters()]).all())

    def state(self) -> dict[str, Tensor]:
        """All tensors except the weights that the next steps depend on, by name.

        torch.distributed.checkpoint's state dict has settings that are no tensors, which safetensors cannot hold.
        """
        tensors: dict[str, Tensor] = {}
        for key, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"{OPTIMIZER}{key}.{name}": torch.as_tensor(value) for name, value in moments.items()}
        if self.average is not None:
            tensors |= {AVERAGE + name: value for name, value in self.average.state_dict().items()}
        scaler = self.scaler.state_dict()
        return tensors | {SCALER + name: torch.tensor(value) for name, value in scaler.items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Replace the state by `tensors`; raises UsageError if they hold no optimiser of this model."""
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in _select(tensors, OPTIMIZER).items():
            parameter, name = key.split(".", 1)
            moments.setdefault(int(parameter), {})[name] = value
        trained = list(self.model.parameters())
        match = [k in moments and moments[k]["exp_avg"].shape == p.shape for k, p in enumerate(trained)]
        if not all(match) or len(moments) != len(trained):
            raise UsageError("it holds no state of an optimiser for this model: give the last.safetensors of a run")
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        average = _select(tensors, AVERAGE)
        if self.average is not None and average:
            self.average.load_state_dict(average)
        scaler = {name: value.item() for name, value in _select(tensors, SCALER).items()}
        if self.scaler.is_enabled() and scaler:
            self.scaler.load_state_dict(scaler)


def _select(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names have a prefix, by the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


class WeightAverage(AveragedModel):
    """An exponential average of the weights, whose decay grows with the steps so that it forgets the first ones."""

    def __init__(self, model: DensityModel, decay: float) -> None:
        super().__init__(model)
        self._decay, self._count = (
            decay,
            0,
        )  # a count on the processor: reading that of the device would wait

    @torch.no_grad()
    def update_parameters(self, model: torch.nn.Module) -> None:
        """Add the weights after a step to the average."""
        averages: list[Tensor] = list(self.module.parameters())
        current: list[Tensor] = list(model.parameters())
        n = self._count
        if n:
            torch._foreach_lerp_(averages, current, 1 - min(self._decay, (1 + n) / (10 + n)))
        else:
            torch._foreach_copy_(averages, current)
        self.n_averaged += 1
        self._count += 1

    def load_state_dict(self, *args: Any, **options: Any) -> Any:
        """Replace the average by that of a state."""
        keys = super().load_state_dict(*args, **options)
        self._count = int(self.n_averaged)
        return keys


def require_precision(kind: str, precision: str) -> None:
    """Raises UsageError if a device has no fast products of this precision."""
    if precision == TF32:
        if kind != "cuda" or torch.cuda.get_device_capability() < (8, 0):
            raise UsageError(f"precision = 'tf32' is not available on this {kind}: take float32")
    elif precision != "float32":
        require_autocast(kind, getattr(torch, precision))


def require_autocast(kind: str, dtype: torch.dtype) -> None:
    """Raises UsageError if a device has no fast products of this type under autocast."""
    name = str(dtype).removeprefix("torch.")
    half = dtype == torch.float16
    if kind == "cuda":
        available = half or torch.cuda.is_bf16_supported()
    elif kind == "cpu":
        support = torch.ops.mkldnn._is_mkldnn_fp16_supported if half else torch.ops.mkldnn._is_mkldnn_bf16_supported
        available = bool(support())
    else:
        available = torch.amp.is_autocast_available(kind)
    if not available:
        raise UsageError(f"precision = {name!r} is not available on this {kind}: take float32")
