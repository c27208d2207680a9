"""Tables of runs from several starts, as text and as Markdown: each run, mean gains, what the densities are of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ecd_data.markdown import make_markdown_table
from ecd_models.scf.bench import ATOMS
from ecd_models.scf.gains import CLOCKS, CrystalRuns, Gain, list_starts, measure_gains
from ecd_models.scf.scf_runs import ScfRun

Row = tuple[str, ...]
RUN_HEAD = ("crystal", "start", "eps_mae, %", "steps", "ratio", "seconds", "time saved")
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
TUPLES = ("loops", "doubts", "errors_Ry")  # of a run, which JSON has as lists


def format_table(crystals: Sequence[CrystalRuns], clock: str = "wall") -> str:
    """What every run took, the gains of each start, and where its density came from, as text."""
    gains = list(measure_gains(crystals, clock))
    lines = [
        f"{clock} seconds include inference and preparation",
        *_align([RUN_HEAD, *_list_runs(crystals, clock)]),
        "",
    ]
    if gains:
        optimal = gains[0].optimal
        lines.append(f"optimal ratio {optimal} (mean of 1/steps from superposed atoms, population standard deviation)")
    lines += _align([GAIN_HEAD, *(_format_gain(gain) for gain in gains)])
    return "\n".join([*lines, *list_origins(crystals), *_list_remarks(crystals, gains)])


def format_gain_table(crystals: Sequence[CrystalRuns], clock: str) -> str:
    """The gains of each start, as Markdown."""
    gains = list(measure_gains(crystals, clock))
    lines = [f"optimal ratio {gains[0].optimal}", ""] if gains else []
    return "\n".join([*lines, make_markdown_table(GAIN_HEAD, map(_format_gain, gains))])


def format_run_table(crystals: Sequence[CrystalRuns], clock: str) -> str:
    """eps_mae of the start, steps and seconds of every run, and where the densities of each start came from."""
    table = make_markdown_table(RUN_HEAD, _list_runs(crystals, clock))
    return "\n".join([table, "", *(f"- {line}" for line in list_origins(crystals))])


def _list_runs(crystals: Sequence[CrystalRuns], clock: str) -> list[Row]:
    """A row below RUN_HEAD for each run of each crystal."""
    names = [ATOMS, *list_starts(crystals)]
    return [_format_run(c, name, clock) for c in crystals for name in names if name in c.runs]


def _format_run(crystal: CrystalRuns, name: str, clock: str) -> Row:
    run, ratio = crystal.runs[name], crystal.measure_ratio(name)
    return (
        crystal.id,
        name,
        "-" if run.eps_mae is None else f"{100 * run.eps_mae:.2f}",
        "none" if run.steps is None else str(run.steps),
        "-" if ratio is None else f"{ratio:.3f}",
        f"{run.seconds(clock):.1f}",
        f"{crystal.measure_time_saved(name, clock):.3f}",
    )


def list_origins(crystals: Sequence[CrystalRuns]) -> list[str]:
    """A line for each start and each origin of the parts of its densities, such as "density predicted"."""
    found: dict[tuple[str, str], list[str]] = {}
    for name in [ATOMS, *list_starts(crystals)]:
        for crystal in crystals:
            if name in crystal.runs:
                origin = _describe_origin(crystal.runs[name].channels)
                found.setdefault((name, origin), []).append(crystal.id)
    runs = {name: sum(name in c.runs for c in crystals) for name, _ in found}
    return [
        f"{name}: {origin}" + ("" if len(ids) == runs[name] else f" ({', '.join(ids)})")
        for (name, origin), ids in found.items()
        if origin
    ]


def _describe_origin(channels: Mapping[str, str | None]) -> str:
    return ", ".join(f"{part} {origin}" if origin else f"no {part}" for part, origin in channels.items())


def _format_gain(gain: Gain) -> Row:
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


def report_runs(crystals: Sequence[CrystalRuns], settings: dict[str, Any]) -> dict[str, Any]:
    """The settings, all runs of all crystals and the gains by each clock, for JSON."""
    return {
        "settings": settings,
        "crystals": {
            c.id: {
                "formula": c.formula,
                "natoms": c.natoms,
                "runs": {name: asdict(run) for name, run in c.runs.items()},
                "failed": c.failed,
            }
            for c in crystals
        },
        "gains": {clock: [gain.to_dict() for gain in measure_gains(crystals, clock)] for clock in CLOCKS},
    }


def read_run_report(data: dict[str, Any]) -> list[CrystalRuns]:
    """The runs of crystals from what `report_runs` made."""
    return [
        CrystalRuns(
            id, c["formula"], c["natoms"], {name: _read_run(run) for name, run in c["runs"].items()}, c["failed"]
        )
        for id, c in data["crystals"].items()
    ]


def _read_run(run: dict[str, Any]) -> ScfRun:
    values: dict[str, Any] = {key: tuple(value) if key in TUPLES else value for key, value in run.items()}
    return ScfRun(**values)


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
    left = sum(head in ("crystal", "start") for head in rows[0])  # columns of names
    return [
        "  ".join([*map(str.ljust, row[:left], widths), *map(str.rjust, row[left:], widths[left:])]).rstrip()
        for row in rows
    ]
