"""One training step: gradients of the passes, summed over the processes, clipped; Adam; the average of the weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from ecd_data.errors import UsageError
from ecd_models.batch import ProbeBatch
from ecd_models.device_batch import BatchBuffer, DeviceBatch
from ecd_models.model import DensityModel
from ecd_models.training.config import TrainConfig
from ecd_models.training.cuda_graphs import CudaGraphs
from ecd_models.training.distributed import Processes

OPTIMIZER, AVERAGE, SCALER = "optimizer.", "average.", "scaler."
TF32 = "tf32"  # products of float32 numbers cut to 11 bits, on the tensor cores
AHEAD = 2  # steps that a GPU may be behind: enough that it never waits


class StepSums(NamedTuple):
    """Of one step, over all crystals and processes: mean loss, sum |error| and sum |density| in e/Å^3."""

    loss: float
    error: float
    density: float
    stopped: bool


class Step:
    """A step that a device may still be at; `read` waits for it and gives its sums."""

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
        loss, error, density, stopped = self._sums.tolist()
        return StepSums(loss, error, density, stopped > 0)


class Learner:
    """A model with what changes its weights: optimiser, scaler of small gradients, average over steps."""

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
            self.graphs = CudaGraphs(self.work, model.parameters())
        self.scaler = torch.amp.GradScaler(self.kind, enabled=self.dtype == torch.float16)

    @property
    def judged(self) -> DensityModel:
        """The model that is validated and kept as the best: the average where there is one."""
        return self.model if self.average is None else cast(DensityModel, self.average.module)

    @property
    def ahead(self) -> int:
        """How many steps may be given to the device before the sums of an earlier one are read."""
        return AHEAD if self.kind == "cuda" else 0

    def step(self, passes: Sequence[ProbeBatch | BatchBuffer], lr: float, stop: bool = False) -> Step:
        """Change the weights by the gradient of the mean loss over all passes of all processes.

        The weights stay as they are where the loss is not finite. `stop` of any process is told to all. On a GPU
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
                sums += self.work(moved.unpack() if isinstance(moved, BatchBuffer) else moved)
        self.processes.sum_gradients(self.model.parameters())
        flag = torch.full((1,), float(stop), dtype=torch.float64, device=device)
        sums = self.processes.sum(torch.cat([sums, flag]))
        self._apply(lr, sums[0])
        return Step(sums)

    def work(self, batch: ProbeBatch | DeviceBatch) -> Tensor:
        """Leave the gradients of a pass in the parameters; its share of the sums: loss, |error|, |density| [3]."""
        assert batch.target is not None
        probes = self.config.accumulate * self.config.batch_size * self.config.probes * self.processes.count
        with self._products():
            difference = batch.weigh(self._output(batch) - batch.target)
            errors = batch.divide_by_mean(difference) if self.config.relative_loss else difference
            loss = (errors.abs() if self.config.loss == "l1" else errors**2).sum() / probes
            self.scaler.scale(loss).backward()
        density = batch.target if batch.target.ndim == 1 else batch.target[:, 0]
        return torch.stack([loss.detach(), difference.detach().abs().sum(), density.abs().sum()])

    def _output(self, batch: ProbeBatch | DeviceBatch) -> Tensor:
        if self.dtype == torch.float32:
            return self.model(batch)
        with torch.autocast(self.kind, self.dtype):
            return self.model(batch).float()

    @contextmanager
    def _products(self) -> Iterator[None]:
        """Where matrix products are of the precision that was asked for."""
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
        if self.kind == "cuda" and not self.scaler.is_enabled():  # told on the device, which nothing waits for
            self.optimizer.found_inf = (~loss.isfinite()).float()  # type: ignore[attr-defined]
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


class WeightAverage(AveragedModel):
    """An exponential average whose decay grows with the steps, so that it forgets the first weights."""

    def __init__(self, model: DensityModel, decay: float) -> None:
        super().__init__(model)
        self._decay, self._count = decay, 0  # the count is known without asking the device for it

    @torch.no_grad()
    def update_parameters(self, model: torch.nn.Module) -> None:
        """Take in the weights after a step."""
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
        """Take on a state."""
        found = super().load_state_dict(*args, **options)
        self._count = int(self.n_averaged)
        return found


def require_precision(kind: str, precision: str) -> None:
    """Raise UsageError where the device has no fast products of this precision."""
    if precision == TF32:
        if kind != "cuda" or torch.cuda.get_device_capability() < (8, 0):
            raise UsageError(f"precision = 'tf32' is not there on this {kind}: take float32")
    elif precision != "float32":
        require_autocast(kind, getattr(torch, precision))


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
