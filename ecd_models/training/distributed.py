"""Training in several processes, on one machine or many: `torchrun` starts them, gradients are summed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn

from ecd_data.errors import UsageError

Item = TypeVar("Item")


@dataclass(frozen=True)
class Processes:
    """The processes of a run: `count` of them, of which this one has the number `rank` and computes on `device`.

    in_group: whether sums use torch.distributed; also true for a single process that torchrun started.
    """

    rank: int = 0
    count: int = 1
    device: str = "cpu"
    in_group: bool = False

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and shows progress."""
        return self.rank == 0

    @property
    def on_this_machine(self) -> int:
        """How many of the processes run on this machine, as torchrun says."""
        return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if self.in_group else 1

    def share(self, items: Sequence[Item]) -> list[Item]:
        """The share of the items that this process takes."""
        return list(items[self.rank :: self.count])

    def sum(self, values: Tensor) -> Tensor:
        """The sum of a tensor over all processes, in place."""
        if self.in_group:
            distributed.all_reduce(values)
        return values

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace the gradients by their sums over all processes, with one message."""
        if not self.in_group:
            return
        trained = list(parameters)
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in trained])
        parts = self.sum(flat).split([p.numel() for p in trained])
        for parameter, part in zip(trained, parts, strict=True):
            parameter.grad = part.view_as(parameter)

    def wait(self) -> None:
        """Return once all processes have called this."""
        self.sum(torch.zeros(1, device=self.device))


def is_first_process() -> bool:
    """Whether this process writes to the terminal; can be called before `join_processes`."""
    return int(os.environ.get("RANK", "0")) == 0


@contextmanager
def join_processes(device: str) -> Iterator[Processes]:
    """The processes that torchrun started, or this one alone; on GPUs each process of a machine takes another one.

    Raises UsageError if the device cannot be used.
    """
    local = int(os.environ.get("LOCAL_RANK", "0"))
    under_torchrun = int(os.environ.get("WORLD_SIZE", "1")) > 1 or "TORCHELASTIC_RUN_ID" in os.environ
    device = f"cuda:{local}" if device == "cuda" and under_torchrun else device
    _check_device(device)
    if not under_torchrun:
        yield Processes(device=device)
        return
    if device.startswith("cuda"):
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield Processes(distributed.get_rank(), distributed.get_world_size(), device, in_group=True)
    finally:
        distributed.destroy_process_group()


def _check_device(name: str) -> None:
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(
            f"device {name!r} cannot be used here ({reason}): take cpu, or a torch built for it"
        ) from error
