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
    """The processes of a run: `count` of them, of which this is number `rank`, computing on `device`.

    joined: whether sums go through torch.distributed, as they do for the one process that torchrun starts, too.
    """

    rank: int = 0
    count: int = 1
    device: str = "cpu"
    joined: bool = False

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and shows progress."""
        return self.rank == 0

    @property
    def on_this_machine(self) -> int:
        """How many of the processes run on this machine, as torchrun says."""
        return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if self.joined else 1

    def share(self, items: Sequence[Item]) -> list[Item]:
        """Those of the items that are this process's."""
        return list(items[self.rank :: self.count])

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes."""
        if self.joined:
            distributed.all_reduce(values)
        return values

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Give every process the summed gradients, in one message."""
        if not self.joined:
            return
        trained = list(parameters)
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in trained])
        parts = self.sum(flat).split([p.numel() for p in trained])
        for parameter, part in zip(trained, parts, strict=True):
            parameter.grad = part.view_as(parameter)

    def wait(self) -> None:
        """Go on when all processes have come here."""
        self.sum(torch.zeros(1, device=self.device))


def is_first() -> bool:
    """Whether this is the process that talks, before or after it has joined others."""
    return int(os.environ.get("RANK", "0")) == 0


@contextmanager
def joined(device: str) -> Iterator[Processes]:
    """The processes that torchrun started, or this one alone; several CUDA processes take a device each."""
    local = int(os.environ.get("LOCAL_RANK", "0"))
    joins = int(os.environ.get("WORLD_SIZE", "1")) > 1 or "TORCHELASTIC_RUN_ID" in os.environ  # torchrun says so
    device = f"cuda:{local}" if device == "cuda" and joins else device
    _check_device(device)
    if not joins:
        yield Processes(device=device)
        return
    if device.startswith("cuda"):
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield Processes(distributed.get_rank(), distributed.get_world_size(), device, joined=True)
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
