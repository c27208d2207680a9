"""Runs of self-consistencies read back from the JSON of `ecd scf run`, of one file or several."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ecd_data.errors import FormatError, UsageError
from ecd_models.scf.gains import CrystalRuns
from ecd_models.scf.scf_runs import ScfRun

TUPLES = ("loops", "doubts", "errors_Ry")


def read_runs(paths: Sequence[Path]) -> list[CrystalRuns]:
    """The runs of all crystals in some JSON files; those of one crystal in several files are put together.

    Raises FormatError where a file is none of `ecd scf run`, and UsageError where files disagree about a run from
    superposed atoms, or had other settings: such runs cannot be compared.
    """
    found: dict[str, CrystalRuns] = {}
    settings: dict[str, Any] = {}
    for path in paths:
        data = _read(path)
        if settings and data["settings"] != settings:
            raise UsageError(f"{path} has other settings than {paths[0]}: give files of runs with the same settings")
        settings = data["settings"]
        for id, crystal in data["crystals"].items():
            runs = {name: _read_run(run) for name, run in crystal["runs"].items()}
            new = CrystalRuns(id, crystal["formula"], crystal["natoms"], runs, crystal["failed"])
            found[id] = _join(found[id], new, path) if id in found else new
    return list(found.values())


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text())
        if not all("runs" in crystal for crystal in data["crystals"].values()):
            raise KeyError("runs")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FormatError(f"{path} is no file that `ecd scf run -o` wrote ({error}): run it again") from error
    return data


def _read_run(run: dict[str, Any]) -> ScfRun:
    values: dict[str, Any] = {key: tuple(value) if key in TUPLES else value for key, value in run.items()}
    return ScfRun(**values)


def _join(first: CrystalRuns, second: CrystalRuns, path: Path) -> CrystalRuns:
    if any(first.runs[name] != run for name, run in second.runs.items() if name in first.runs and name == "atoms"):
        raise UsageError(f"{path} has another run of {first.id} from superposed atoms than the files before: use one")
    return replace(first, runs={**second.runs, **first.runs}, failed={**second.failed, **first.failed})
