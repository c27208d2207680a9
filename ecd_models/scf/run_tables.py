"""What starts save, as Markdown, with the rule when not to start from a prediction applied where asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ecd_models.scf.bench import ATOMS
from ecd_models.scf.doubts import doubt_cell
from ecd_models.scf.gap_table import format_row
from ecd_models.scf.measure import CrystalRuns, list_starts, measure_gains
from ecd_models.scf.scf_runs import ScfRun
from ecd_models.scf.table import GAIN_HEAD, format_gain


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
    """Steps and seconds of every run and eps_mae of every start, as Markdown."""
    names = [ATOMS, *list_starts(crystals)]
    head = ["steps (seconds; eps_mae in %)", *names]
    rows = [[c.id, *(_run_cell(c.runs.get(name), clock) for name in names)] for c in crystals]
    return "\n".join([format_row(head), format_row(["---"] * len(head)), *map(format_row, rows)])


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


def _run_cell(run: ScfRun | None, clock: str) -> str:
    if run is None:
        return "-"
    steps = "none" if run.steps is None else str(run.steps)
    error = "" if run.eps_mae is None else f"; {100 * run.eps_mae:.2f}"
    return f"{steps} ({run.seconds(clock):.1f}{error})"
