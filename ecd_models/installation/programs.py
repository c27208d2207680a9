"""The GPU and the DFT programs. torch and GPAW are imported in a process of their own, and only where they matter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from ecd_data.errors import EcdError
from ecd_models.installation.finding import Finding

NVIDIA = Path("/dev/nvidiactl")  # exists where the kernel has NVIDIA's driver
QUESTION = """
import json, torch
seen = torch.cuda.is_available()
names = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())] if seen else []
print(json.dumps([torch.version.cuda, names]))
"""
PATIENCE = 120.0  # seconds for a process that imports torch, which takes long from a cold disk
ERRORS = (OSError, ImportError, ValueError, subprocess.SubprocessError, RuntimeError, EcdError)  # RuntimeError: no home


def examine_gpu() -> Iterator[Finding]:
    """The GPUs that torch sees, and whether Triton compiles kernels for them."""
    try:
        version = metadata.version("torch")
    except metadata.PackageNotFoundError:
        yield Finding("GPU", "absent", "without torch none is used", "pip install 'ecd-data[models]' gives torch")
        return
    if sys.platform == "darwin":
        yield Finding("GPU", "ok", f"torch {version} may use Apple's: --device mps")
        return
    if not NVIDIA.exists():
        yield Finding("GPU", "absent", f"no NVIDIA driver; torch {version} computes on the processor")
        return
    yield from _ask_torch(version)


def _ask_torch(version: str) -> Iterator[Finding]:
    """The GPUs that torch sees on a machine with NVIDIA's driver, in a process of its own, and Triton."""
    done = subprocess.run([sys.executable, "-c", QUESTION], capture_output=True, text=True, timeout=PATIENCE)
    answer = json.loads(done.stdout) if done.returncode == 0 else None
    if answer is None:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        yield Finding("GPU", "fault", f"torch {version} cannot be imported ({reason})", "install torch again")
        return
    built_for, names = answer
    if not names:
        text = f"there is an NVIDIA driver, but torch {version} sees no GPU"
        remedy = "update the driver" if built_for else "install a torch built for CUDA (pip install torch)"
        yield Finding("GPU", "warning", text, remedy)
        return
    yield Finding("GPU", "ok", f"{', '.join(names)}; torch {version} for CUDA {built_for}: --device cuda")
    triton = find_spec("triton") is not None
    yield Finding(
        "Triton",
        "ok" if triton else "absent",
        f"{metadata.version('triton')} compiles GPU kernels" if triton else "predictions on the GPU take longer",
        "" if triton else "pip install 'ecd-data[gpu]' gives it",
    )


def examine_espresso() -> Iterator[Finding]:
    """pw.x of Quantum ESPRESSO and its pseudopotentials."""
    from ecd_data.dft.pseudopotentials import find_pwx, pseudo_folder, pwx_version
    from ecd_data.errors import MissingDependencyError

    try:
        program = find_pwx()
        version = pwx_version(program)
        yield Finding("Quantum ESPRESSO", "ok", f"pw.x {version[0]}.{version[1]}: {program}")
    except MissingDependencyError as error:
        state = "warning" if os.environ.get("ECD_PWX") else "absent"
        text, _, remedy = str(error).partition(": ")
        yield Finding("Quantum ESPRESSO", state, text, remedy)  # type: ignore[arg-type]
    folder = pseudo_folder()
    files = sorted(folder.glob("*.upf")) if folder.is_dir() else []
    yield Finding(
        "pseudopotentials",
        "ok" if files else "absent",
        f"{len(files)} elements in {folder}" if files else f"none in {folder}",
        "" if files else "`ecd dft setup` fetches them",
    )


def examine_gpaw() -> Iterator[Finding]:
    """GPAW and its PAW setups; the interpreter is started only where there may be a GPAW."""
    from ecd_data.dft.gpaw_setups import find_gpaw

    named = os.environ.get("ECD_GPAW_PYTHON")
    if not named and find_spec("gpaw") is None:
        remedy = "pip install gpaw (with a C compiler, libxc and BLAS), or name a Python that has it: ECD_GPAW_PYTHON"
        yield Finding("GPAW", "absent", "not in this Python", remedy)
        return
    try:
        found = find_gpaw()
        yield Finding("GPAW", "ok", f"{found.version} of {found.python}, setups of {len(found.sha256)} elements")
    except EcdError as error:
        text, _, remedy = str(error).partition(": ")
        yield Finding("GPAW", "warning", text, remedy)
