"""The table of runs from several starts: a row for each crystal, and the means with their intervals."""

from __future__ import annotations

from collections.abc import Sequence

from ecd_models.scf.bench import ATOMS
from ecd_models.scf.measure import CrystalRuns, Gain, list_starts, measure_gains

Row = tuple[str, ...]
GAIN_HEAD = (
    "start",
    "n",
    "achieved ratio",
    "time saved",
    "of all time",
    "slowed",
    "of the oracle's gain in time",
    "in steps",
    "in solver iterations",
)


def format_table(crystals: Sequence[CrystalRuns], clock: str = "wall") -> str:
    """The steps and seconds of all runs, and the gains of each start, as text."""
    names = [ATOMS, *list_starts(crystals)]
    rows: list[Row] = [("steps (seconds)", *names)]
    rows += [(c.id, *(_format_cell(c, name, clock) for name in names)) for c in crystals]
    gains = list(measure_gains(crystals, clock))
    lines = [f"steps and {clock} seconds of each run, inference and preparation included", *_align(rows), ""]
    if gains:
        optimal = gains[0].optimal
        lines.append(f"optimal ratio {optimal} (mean of 1/steps from superposed atoms, population standard deviation)")
    lines += _align([GAIN_HEAD, *(format_gain(gain) for gain in gains)])
    return "\n".join([*lines, *_list_remarks(crystals, gains)])


def _format_cell(crystal: CrystalRuns, name: str, clock: str) -> str:
    run = crystal.runs.get(name)
    if run is None:
        return "-"
    return f"{run.steps if run.steps is not None else 'none'} ({run.seconds(clock):.1f})"


def format_gain(gain: Gain) -> Row:
    """The cells of a start below GAIN_HEAD."""
    shares = [
        str(share) if share is not None else "-"
        for share in (gain.oracle_share, gain.oracle_steps, gain.oracle_iterations)
    ]
    return (
        gain.name,
        str(len(gain.ids)),
        f"{gain.achieved.mean:.3f} ± {gain.achieved.std:.3f}",
        str(gain.time_saved),
        f"{gain.total_time_saved:.3f}",
        f"{gain.slowed:.2f}",
        *shares,
    )


def _list_remarks(crystals: Sequence[CrystalRuns], gains: Sequence[Gain]) -> list[str]:
    remarks = [
        f"{gain.name}: ended in another state: {', '.join(gain.other_state)}" for gain in gains if gain.other_state
    ]
    failed = [(c.id, name, reason) for c in crystals for name, reason in c.failed.items()]
    remarks += [f"{id}: no run from {name}: {reason}" for id, name, reason in failed]
    remarks += [
        f"{c.id} from {name}: {run.loops[0]} steps of PBE, then {' + '.join(map(str, run.loops[1:]))} in exchange loops"
        for c in crystals
        for name, run in c.runs.items()
        if len(run.loops) > 1
    ]
    return remarks + [
        f"{c.id}: {name} did not converge" for c in crystals for name, run in c.runs.items() if run.steps is None
    ]


def _align(rows: Sequence[Row]) -> list[str]:
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]
