"""The search for GPAW's interpreter and its PAW setups."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ecd_data.errors import MissingDependencyError, UsageError

OLDEST_VERSION = (26, 7)  # the density and the restart use parts of GPAW that were rewritten up to this version
SETUPS = "PBE"
QUERY = "import json, gpaw, gpaw.cgpaw; print(json.dumps([gpaw.__version__, [str(p) for p in gpaw.setup_paths]]))"


@dataclass(frozen=True)
class PawSetup:
    """One PAW dataset: element symbol, path, number of valence electrons, SHA-256 of the file."""

    symbol: str
    path: Path
    valence: float
    sha256: str


@dataclass(frozen=True)
class GpawReport:
    """The interpreter that was found, its version of GPAW, the folders of PAW setups, and their SHA-256 by element."""

    python: str
    version: str
    folders: tuple[Path, ...]
    sha256: dict[str, str]

    def __str__(self) -> str:
        where = ", ".join(map(str, self.folders))
        return f"GPAW {self.version}: {self.python}\nPAW setups: {len(self.sha256)} elements in {where}"


def find_gpaw(python: str | Path | None = None, setups: str | Path | None = None) -> GpawReport:
    """A report of the interpreter with GPAW and of its PAW setups.

    Parameters
    ----------
    python : the interpreter; by default $ECD_GPAW_PYTHON, else this one.
    setups : a folder of <symbol>.PBE.gz; by default the search path of that GPAW.

    Raises
    ------
    MissingDependencyError : GPAW is not installed or too old.
    UsageError : there are no setups.
    """
    program = str(python or os.environ.get("ECD_GPAW_PYTHON") or sys.executable)
    program = str(Path(shutil.which(program) or program).absolute())  # steps run in other folders
    version, folders = _query_gpaw(program)
    if tuple(int(n) for n in re.findall(r"\d+", version)[:2]) < OLDEST_VERSION:
        raise MissingDependencyError(
            f"{program} has GPAW {version}: install {OLDEST_VERSION[0]}.{OLDEST_VERSION[1]} or later"
        )
    where = (Path(setups).absolute(),) if setups is not None else tuple(Path(f) for f in folders)
    return GpawReport(program, version, where, {s: p.sha256 for s, p in load_setups(where).items()})


def _query_gpaw(program: str) -> tuple[str, list[str]]:
    """The version and the search path of the GPAW of an interpreter; raises MissingDependencyError without GPAW."""
    try:
        done = subprocess.run(
            [program, "-P", "-c", QUERY], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120
        )
        version, folders = json.loads(done.stdout.strip().splitlines()[-1])
        return str(version), [str(folder) for folder in folders]
    except (OSError, ValueError, IndexError, TypeError, subprocess.TimeoutExpired):
        raise MissingDependencyError(
            f"{program} cannot import GPAW: install it (pip install gpaw, with a C compiler, libxc and BLAS; or conda"
            " install -c conda-forge gpaw) or name an interpreter that has it with $ECD_GPAW_PYTHON"
        ) from None


def load_setups(folders: Iterable[Path], symbols: Iterable[str] | None = None) -> dict[str, PawSetup]:
    """The PAW setups for PBE by element, each from the first folder that has it.

    Parameters
    ----------
    folders : folders of <symbol>.PBE or <symbol>.PBE.gz.
    symbols : only these elements; by default all.

    Raises
    ------
    UsageError : an element has no setup, or a setup is damaged.
    """
    folders = list(folders)
    paths: dict[str, Path] = {}
    for folder in reversed(folders):
        for ending in ("", ".gz"):  # the compressed file replaces the plain one, as GPAW prefers it
            found = folder.glob(f"*.{SETUPS}{ending}")
            paths |= {p.name.split(".")[0]: p for p in found if re.fullmatch(rf"[A-Z][a-z]?\.{SETUPS}{ending}", p.name)}
    where = ", ".join(map(str, folders)) or "the search path of GPAW"
    if not paths:
        raise UsageError(
            f"{where} holds no PAW setups (<symbol>.{SETUPS}.gz): pip install gpaw-data, or name their folder"
        )
    wanted = sorted(paths) if symbols is None else list(dict.fromkeys(symbols))
    missing = [symbol for symbol in wanted if symbol not in paths]
    if missing:
        raise UsageError(
            f"no PAW setup for {', '.join(missing)} in {where}: give a folder that has {missing[0]}.{SETUPS}.gz"
        )
    return {symbol: _read_setup(symbol, paths[symbol]) for symbol in wanted}


def _read_setup(symbol: str, path: Path) -> PawSetup:
    content = path.read_bytes()
    try:
        text = gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError) as error:
        raise UsageError(f"{path} is a damaged PAW setup ({error}): install it again") from None
    match = re.search(rb'<atom[^>]*\bvalence="\s*([\d.eE+]+)\s*"', text)
    if match is None:
        raise UsageError(f"{path} names no valence: it is not a PAW setup of GPAW")
    return PawSetup(symbol, path, float(match[1]), hashlib.sha256(content).hexdigest())
