"""Passes through the network as recorded CUDA graphs: one launch in place of a thousand kernels and more."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ecd_models.device_batch import BatchBuffer, DeviceBatch, common_sizes

log = logging.getLogger("ecd_models")
WARMUP_RUNS = 3  # before a recording: they load kernels, fill caches and let libraries choose algorithms
MAX_GRAPHS = 128  # bounds the memory, some 20 MB a graph; a training on crystals of all sizes has about as many layouts


class Recording(NamedTuple):
    """A recorded graph, the batch that it reads, and the sums and gradients that it writes."""

    graph: Any
    batch: BatchBuffer
    sums: Tensor
    gradients: list[Tensor | None]


class CudaGraphs:
    """Runs `work`, which returns sums and leaves gradients in the parameters, from one graph for batches of one layout.

    The result of a batch does not depend on the batches before it, see `common_sizes`. If a graph cannot be recorded,
    a warning says so, and `work` runs without graphs from then on.
    """

    def __init__(self, work: Callable[[DeviceBatch], Tensor], parameters: Iterable[nn.Parameter]) -> None:
        self.work, self.parameters = work, list(parameters)
        self.recordings: OrderedDict[tuple[Any, ...], Recording] = OrderedDict()
        self.possible = True
        self._pool: Any = None

    def __call__(self, batch: BatchBuffer, device: torch.device | str, alone: bool) -> Tensor:
        """The sums of a batch; its gradients are added to those of the parameters.

        alone: whether the step has no other pass, so that the gradients need no copy.
        """
        padded = batch.pad(common_sizes(batch))
        recording = self._find_recording(padded, device) if self.possible else None
        if recording is None:
            return self.work(padded.to(device).unpack())
        recording.batch.buffer.copy_(padded.buffer, non_blocking=True)
        recording.graph.replay()
        self._add_gradients(recording.gradients, alone)
        return recording.sums

    def _add_gradients(self, gradients: list[Tensor | None], alone: bool) -> None:
        pairs = [(p, g) for p, g in zip(self.parameters, gradients, strict=True) if g is not None]
        before = [(p.grad, g) for p, g in pairs if p.grad is not None]
        if before:
            torch._foreach_add_([old for old, _ in before], [g for _, g in before])
        for p, g in pairs:
            if p.grad is None:
                p.grad = g if alone else g.clone()  # the next pass overwrites the gradients of the graph

    def _find_recording(self, batch: BatchBuffer, device: torch.device | str) -> Recording | None:
        key = batch.layout
        if key not in self.recordings and not self._add_recording(key, batch.to(device)):
            return None
        self.recordings.move_to_end(key)
        return self.recordings[key]

    def _add_recording(self, key: tuple[Any, ...], batch: BatchBuffer) -> bool:
        """Record a graph for batches of a layout; whether that succeeded."""
        before = [p.grad for p in self.parameters]
        try:
            self.recordings[key] = self._record(batch)
        except RuntimeError as error:
            self.possible = False
            self.recordings.clear()
            log.warning("CUDA graphs cannot be used, steps run kernel by kernel: %s", str(error).splitlines()[0])
            return False
        finally:
            for p, g in zip(self.parameters, before, strict=True):
                p.grad = g
        if len(self.recordings) > MAX_GRAPHS:
            self.recordings.popitem(last=False)
        return True

    def _record(self, batch: BatchBuffer) -> Recording:
        stream, current = torch.cuda.Stream(), torch.cuda.current_stream()
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            for _ in range(WARMUP_RUNS):
                self._clear_gradients()
                self.work(batch.unpack())
        current.wait_stream(stream)
        self._clear_gradients()
        graph = torch.cuda.CUDAGraph()
        # "thread_local" lets other threads, such as the one that pins batches, call CUDA meanwhile
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            sums = self.work(batch.unpack())
        self._pool = graph.pool()
        return Recording(graph, batch, sums, [p.grad for p in self.parameters])

    def _clear_gradients(self) -> None:
        for p in self.parameters:
            p.grad = None
