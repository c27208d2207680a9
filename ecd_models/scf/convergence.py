"""How the error of the self-consistency falls step by step, and what a start saves at looser thresholds.

pw.x prints an estimate of the error in Ry after each step, quadratic in that of the density, and ends where it is below
conv_thr. A step divides it by about the same factor from every start, so a start saves

    log10(first error from superposed atoms / first error from it) / (decades a step)

steps. Up to a looser threshold a run takes the same steps, so one run tells the ratios of all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ecd_data.markdown import make_markdown_table
from ecd_models.scf.bench import ATOMS, ORACLE
from ecd_models.scf.gains import CrystalRuns, list_starts
from ecd_models.scf.scf_runs import ScfRun

THRESHOLDS = (1e-4, 1e-6, 1e-8)  # Ry; pw.x's own conv_thr is 1e-6
HEAD = ["start", "n", "first error, Ry (median)", "decades a step"]


def count_steps_to(run: ScfRun, threshold: float) -> int | None:
    """The steps after which the estimated error is below a threshold in Ry; None where the run never came there."""
    return next((step for step, error in enumerate(run.errors_Ry, 1) if error < threshold), None)


def format_convergence_table(crystals: Sequence[CrystalRuns]) -> str:
    """First errors, decades a step, and for each threshold the achieved ratio and the share of the oracle's steps."""
    head = [*HEAD]
    for threshold in THRESHOLDS:
        head += [f"ratio, to {threshold:g} Ry", "of the oracle's steps"]
    rows = [_convergence_row(crystals, name) for name in [ATOMS, *list_starts(crystals)]]
    return make_markdown_table(head, [row for row in rows if row])


def _convergence_row(crystals: Sequence[CrystalRuns], name: str) -> list[str]:
    runs = [c.runs[name] for c in crystals if name in c.runs and c.runs[name].errors_Ry]
    if not runs:
        return []
    first = np.median([run.errors_Ry[0] for run in runs])
    rates = [np.log10(run.errors_Ry[0] / run.errors_Ry[-1]) / (len(run.errors_Ry) - 1) for run in runs if run.has_rate]
    rate = f"{np.mean(rates):.2f}" if rates else "-"
    shares = [text for threshold in THRESHOLDS for text in _share_steps(crystals, name, threshold)]
    return [name, str(len(runs)), f"{first:.1e}", rate, *shares]


def _share_steps(crystals: Sequence[CrystalRuns], name: str, threshold: float) -> tuple[str, str]:
    """The achieved ratio at a threshold and the share of the steps that the converged density saves."""
    counts = [
        [count_steps_to(c.runs[start], threshold) for start in (ATOMS, ORACLE, name)]
        for c in crystals
        if all(start in c.runs for start in (ATOMS, ORACLE, name))
    ]
    whole = np.array([row for row in counts if None not in row], dtype=np.float64)
    if name == ATOMS or not len(whole):
        return "-", "-"
    atoms, oracle, found = whole.T
    saved = (atoms - oracle).sum()
    return f"{(found / atoms).mean():.3f}", f"{(atoms - found).sum() / saved:.3f}" if saved > 0 else "-"
