"""Passes through the network as recorded CUDA graphs: one launch for what are a thousand kernels and more."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ecd_models.device_batch import BatchBuffer, DeviceBatch, common_sizes

log = logging.getLogger("ecd_models")
TRIALS = 3  # runs before one is recorded: they load kernels, fill caches and let libraries choose
KEPT = 128  # graphs that are kept, some 20 MB each: a training on crystals of all sizes meets about as many layouts


class Recording(NamedTuple):
    """A graph, the batch that it reads, what it gives and the gradients that it leaves."""

    graph: Any
    batch: BatchBuffer
    sums: Tensor
    gradients: list[Tensor | None]


class CudaGraphs:
    """Runs `work`, which leaves gradients in the parameters and gives sums, from a graph for batches of about a size.

    What a batch gives depends on no other batch, see `common_sizes`. Where a graph cannot be recorded, one line says so
    and `work` runs as it is from then on.
    """

    def __init__(self, work: Callable[[DeviceBatch], Tensor], parameters: Iterable[nn.Parameter]) -> None:
        self.work, self.parameters = work, list(parameters)
        self.recordings: OrderedDict[tuple[Any, ...], Recording] = OrderedDict()
        self.possible = True
        self._pool: Any = None

    def __call__(self, batch: BatchBuffer, device: torch.device | str, alone: bool) -> Tensor:
        """The sums of a batch; its gradients are added to those that are there. alone: no other pass is in the step."""
        filled = batch.fill_up(common_sizes(batch))
        recording = self._recording(filled, device) if self.possible else None
        if recording is None:
            return self.work(filled.to(device).unpack())
        recording.batch.buffer.copy_(filled.buffer, non_blocking=True)
        recording.graph.replay()
        self._add(recording.gradients, alone)
        return recording.sums

    def _add(self, gradients: list[Tensor | None], alone: bool) -> None:
        pairs = [(p, g) for p, g in zip(self.parameters, gradients, strict=True) if g is not None]
        before = [(p.grad, g) for p, g in pairs if p.grad is not None]
        if before:
            torch._foreach_add_([old for old, _ in before], [g for _, g in before])
        for p, g in pairs:
            if p.grad is None:
                p.grad = g if alone else g.clone()  # the next pass writes over the graph's own

    def _recording(self, batch: BatchBuffer, device: torch.device | str) -> Recording | None:
        key = batch.layout
        if key not in self.recordings and not self._keep(key, batch.to(device)):
            return None
        self.recordings.move_to_end(key)
        return self.recordings[key]

    def _keep(self, key: tuple[Any, ...], batch: BatchBuffer) -> bool:
        """Record a graph and keep it; False where that cannot be done."""
        before = [p.grad for p in self.parameters]
        try:
            self.recordings[key] = self._record(batch)
        except RuntimeError as error:
            self.possible = False
            self.recordings.clear()
            log.warning("no CUDA graphs, steps run kernel by kernel: %s", str(error).splitlines()[0])
            return False
        finally:
            for p, g in zip(self.parameters, before, strict=True):
                p.grad = g
        if len(self.recordings) > KEPT:
            self.recordings.popitem(last=False)
        return True

    def _record(self, batch: BatchBuffer) -> Recording:
        stream, current = torch.cuda.Stream(), torch.cuda.current_stream()
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            for _ in range(TRIALS):
                self._clear()
                self.work(batch.unpack())
        current.wait_stream(stream)
        self._clear()
        graph = torch.cuda.CUDAGraph()
        # other threads, as the one that pins batches, may go on meanwhile
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            sums = self.work(batch.unpack())
        self._pool = graph.pool()
        return Recording(graph, batch, sums, [p.grad for p in self.parameters])

    def _clear(self) -> None:
        for p in self.parameters:
            p.grad = None
