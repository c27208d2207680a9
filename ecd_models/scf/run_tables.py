"""What starts save, as Markdown, with the rule when not to start from a prediction applied where asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ecd_models.scf.bench import ATOMS
from ecd_models.scf.doubts import doubt_cell
from ecd_models.scf.gap_table import format_row
from ecd_models.scf.measure import CrystalRuns, measure_gains
from ecd_models.scf.scf_runs import ScfRun
from ecd_models.scf.table import GAIN_HEAD, RUN_HEAD, format_gain, list_origins, list_runs


def format_gain_table(crystals: Sequence[CrystalRuns], clock: str) -> str:
    """The gains of each start, as Markdown."""
    gains = list(measure_gains(crystals, clock))
    lines = [f"optimal ratio {gains[0].optimal}", ""] if gains else []
    return "\n".join(
        [
            *lines,
            format_row(GAIN_HEAD),
            format_row(["---"] * len(GAIN_HEAD)),
            *(format_row(format_gain(g)) for g in gains),
        ]
    )


def format_run_table(crystals: Sequence[CrystalRuns], clock: str) -> str:
    """eps_mae of the start, steps and seconds of every run, and where the densities of each start came from."""
    rows = [format_row(RUN_HEAD), format_row(["---"] * len(RUN_HEAD)), *map(format_row, list_runs(crystals, clock))]
    return "\n".join([*rows, "", *(f"- {line}" for line in list_origins(crystals))])


def replace_doubtful(crystals: Sequence[CrystalRuns]) -> list[CrystalRuns]:
    """The same runs, where a prediction with doubts is not used: its run is that from superposed atoms.

    The time of the prediction stays in it, as most doubts are known with the prediction; a small cell is known before,
    so nothing is predicted.
    """
    return [replace(c, runs={name: _follow_doubts(run, c) for name, run in c.runs.items()}) for c in crystals]


def _follow_doubts(run: ScfRun, crystal: CrystalRuns) -> ScfRun:
    small, atoms = doubt_cell(crystal.natoms) is not None, crystal.runs[ATOMS]
    if run.channels.get("density") != "predicted" or not (run.doubts or small):
        return run
    followed = replace(
        run,
        steps=atoms.steps,
        wall_seconds=atoms.wall_seconds,
        cpu_seconds=atoms.cpu_seconds,
        iterations=atoms.iterations,
        energy_eV=atoms.energy_eV,
    )
    return replace(followed, before_wall_seconds=0.0, before_cpu_seconds=0.0) if small else followed
