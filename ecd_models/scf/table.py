"""What self-consistencies from several starts took, as a table: a row a crystal, and the means with their intervals."""

from __future__ import annotations

from collections.abc import Sequence

from ecd_models.scf.bench import ATOMS
from ecd_models.scf.measure import CrystalRuns, Gain, list_starts, measure_gains

Row = tuple[str, ...]
GAIN_HEAD = ("start", "n", "achieved ratio", "time saved", "of all time", "slowed", "of the oracle's gain", "in steps")


def format_table(crystals: Sequence[CrystalRuns], clock: str = "wall") -> str:
    """Steps and seconds of every run, then the gains of each start."""
    names = [ATOMS, *list_starts(crystals)]
    rows: list[Row] = [("steps (seconds)", *names)]
    rows += [(c.id, *(_cell(c, name, clock) for name in names)) for c in crystals]
    found = list(measure_gains(crystals, clock))
    lines = [f"steps and {clock} seconds of each run, inference and preparation included", *_aligned(rows), ""]
    if found:
        optimal = found[0].optimal
        lines.append(f"optimal ratio {optimal} (mean of 1/steps from superposed atoms, population standard deviation)")
    lines += _aligned([GAIN_HEAD, *(_gain_row(gain) for gain in found)])
    return "\n".join([*lines, *_remarks(crystals, found)])


def _cell(crystal: CrystalRuns, name: str, clock: str) -> str:
    run = crystal.runs.get(name)
    if run is None:
        return "-"
    return f"{run.steps if run.steps is not None else 'none'} ({run.seconds(clock):.1f})"


def _gain_row(gain: Gain) -> Row:
    shares = [str(share) if share is not None else "-" for share in (gain.oracle_share, gain.oracle_steps)]
    return (
        gain.name,
        str(len(gain.ids)),
        f"{gain.achieved.mean:.3f} ± {gain.achieved.std:.3f}",
        str(gain.time_saved),
        f"{gain.total_time_saved:.3f}",
        f"{gain.slowed:.2f}",
        *shares,
    )


def _remarks(crystals: Sequence[CrystalRuns], found: Sequence[Gain]) -> list[str]:
    said = [f"{gain.name}: ended in another state: {', '.join(gain.other_state)}" for gain in found if gain.other_state]
    failed = [(c.id, name, reason) for c in crystals for name, reason in c.failed.items()]
    said += [f"{id}: no run from {name}: {reason}" for id, name, reason in failed]
    said += [
        f"{c.id} from {name}: {run.loops[0]} steps of PBE, then {' + '.join(map(str, run.loops[1:]))} in exchange loops"
        for c in crystals
        for name, run in c.runs.items()
        if len(run.loops) > 1
    ]
    return said + [
        f"{c.id}: {name} did not converge" for c in crystals for name, run in c.runs.items() if run.steps is None
    ]


def _aligned(rows: Sequence[Row]) -> list[str]:
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]
