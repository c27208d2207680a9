"""What an evaluation ran on, and how much memory it took."""

from __future__ import annotations

import os
import platform
import sys
from contextlib import suppress
from pathlib import Path

import torch

import ecd_data
from ecd_data.work.processors import count_processors
from ecd_models.evaluation.strict import Strict

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"  # Linux: the peak of the memory of this process starts again from its present value


class Machine(Strict):
    """Processor, accelerator, memory and versions of the machine that an evaluation ran on."""

    processor: str
    cores: int
    threads: int
    workers: int
    memory_GB: float
    device: str
    python: str
    torch: str
    ecd: str


def describe_machine(device: torch.device, workers: int = 1) -> Machine:
    """The Machine that this process runs on, for a model on `device` and a number of processes."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    return Machine(
        processor=_processor_name(),
        cores=count_processors(),
        threads=torch.get_num_threads(),
        workers=workers,
        memory_GB=round(pages / 1e9, 1),
        device=name,
        python=platform.python_version(),
        torch=torch.__version__,
        ecd=ecd_data.__version__,
    )


def _processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def reset_peak_memory(device: torch.device) -> None:
    """Let the peaks of `read_peak_memory` start again, where the system allows it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with suppress(OSError):  # elsewhere than on Linux the peak is that of the process since it started
        RESET.write_text(RESET_PEAK)


def read_peak_memory(device: torch.device) -> tuple[float, float | None]:
    """The peak memory of this process in MB, and that of its tensors on the accelerator; None without one."""
    on_device = torch.cuda.max_memory_allocated(device) / 1e6 if device.type == "cuda" else None
    try:
        lines = STATUS.read_text().splitlines()
    except OSError:
        import resource  # Windows has none

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, on_device
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    return peak * 1024 / 1e6, on_device
