"""Set-up and checks in one word each: python3 make.py train|test|slow|lint|docs|setup. It makes .venv itself."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
STAMP = VENV / "ecd-setup"
INPUTS = ("pyproject.toml", "constraints.txt", "hatch_build.py", "ecd_data/formats/numbers.c")
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
# A process for each core, up to four: each of them takes about 1 GB. They begin with equal shares of the files in their
# order, so few make the same fixtures, and who has finished takes over tests of another.
WORKERS = ["-n", str(min(CORES, 4)), "--dist", "worksteal"]
TASKS = {
    "setup": [],
    "train": [["python", "examples/train_chargE3net.py"]],
    "test": [["python", "-m", "pytest", "-m", "not slow", *WORKERS]],
    "slow": [["python", "-m", "pytest", "-m", "slow"]],  # one by one: they use all cores, gigabytes and time limits
    "docs": [["mkdocs", "build", "--strict", "--config-file", ".ci/mkdocs.yml"]],
    "lint": [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]],
}


def setup() -> None:
    """Make .venv with everything pinned in constraints.txt, once for each state of the files that define it."""
    inputs = b"".join((ROOT / name).read_bytes() for name in INPUTS)
    state = hashlib.sha256(inputs + str(ROOT).encode()).hexdigest()
    if STAMP.exists() and STAMP.read_text() == state:
        return
    print(f"Setting up {VENV}, once; this takes a few minutes", flush=True)
    try:
        venv.create(VENV, with_pip=True, clear=True)
    except subprocess.CalledProcessError:
        sys.exit("this Python cannot make virtual environments: install its venv module (Debian: python3-venv)")
    pip = [str(BIN / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--constraint", "constraints.txt", "--editable", ".[dev]"], cwd=ROOT, check=True)
    STAMP.write_text(state)


def main() -> int:
    """The exit code of the first command that fails, else 0."""
    if sys.version_info < (3, 11):  # noqa: UP036 - this script is what an older Python meets first
        print(f"ecd needs Python 3.11 or newer, this is {sys.version.split()[0]}: run a newer python3", file=sys.stderr)
        return 2
    task, *rest = sys.argv[1:] or ["test"]
    if task not in TASKS:
        print(f"usage: python3 make.py {'|'.join(TASKS)}", file=sys.stderr)
        return 2
    try:
        setup()
        for command in TASKS[task]:
            subprocess.run([str(BIN / command[0]), *command[1:], *rest], cwd=ROOT, check=True)
    except subprocess.CalledProcessError as error:
        return error.returncode
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
