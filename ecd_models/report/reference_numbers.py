"""Stored results of this repository that every report shows beside its own.

They are the JSON files of `ecd scf run` and `ecd scf gaps` in docs/scf_results, and the results of a learning curve in
docs/learning_curve, which the wheel has beside this module.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median

from ecd_models.evaluation.results import Results, read_results
from ecd_models.report.inputs import ScfGain

CLOCK = "cpu"  # achieved ratios do not depend on it


@dataclass(frozen=True)
class GapErrors:
    """The errors of a method's gaps: mean |error| in eV over `crystals` with a measured gap, median CPU seconds."""

    method: str
    crystals: int
    mean_error: float
    cpu_seconds: float


def find_stored(name: str) -> Path:
    """The folder of stored results of that name: that of the wheel, else that of the repository's docs."""
    inside = Path(__file__).parent / name
    return inside if inside.is_dir() else Path(__file__).parents[2] / "docs" / name


@cache
def read_stored_curve() -> tuple[Results, ...]:
    """The results of the linear pair model fitted on fewer compounds of the sample; empty without the files."""
    return tuple(read_results(path) for path in sorted(find_stored("learning_curve").glob("*.json.gz")))


@cache
def read_stored_gains() -> tuple[ScfGain, ...]:
    """The achieved ratio of each start in the files runs-*.json; crystals of files with equal settings go together."""
    from ecd_models.scf.gains import measure_gains
    from ecd_models.scf.saved_tables import load_runs

    by_settings: dict[str, list[Path]] = {}
    for path in sorted(find_stored("scf_results").glob("runs-*.json")):
        settings = json.loads(path.read_text(encoding="utf-8"))["settings"]
        by_settings.setdefault(json.dumps(settings, sort_keys=True), []).append(path)
    return tuple(
        ScfGain(f"{len(gain.ids)} crystals", gain.name, gain.achieved.mean, gain.achieved.std)
        for paths in by_settings.values()
        for gain in measure_gains(load_runs(paths), CLOCK)
    )


@cache
def read_stored_gaps() -> tuple[GapErrors, ...]:
    """The errors of gaps from self-consistent and from predicted densities in the files gaps*.json, as in docs/scf.md.

    Empty without the files.
    """
    from ecd_models.scf.gaps import measure_error
    from ecd_models.scf.saved_tables import load_gaps

    paths = sorted(find_stored("scf_results").glob("gaps*.json"))
    measured = [one for one in load_gaps(paths) if one.measured_eV is not None]
    found = []
    for method in dict.fromkeys(name for one in measured for name in one.gaps):
        seconds = [one.gaps[method].cpu_seconds for one in measured if method in one.gaps]
        found.append(GapErrors(method, len(seconds), measure_error(measured, method), median(seconds)))
    return tuple(found)
