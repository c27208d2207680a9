"""Verbs for self-consistency: count steps, measure what a density saves."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ecd_models.cli.options import Json
from ecd_models.cli.scf_options import ScfOptions, takes_scf_options
from ecd_models.cli.scf_reports import end_verb, save_record
from ecd_models.cli.terminal import print, print_lines


def steps(
    outcars: Annotated[list[Path], typer.Argument(help="OUTCARs of finished runs of one geometry, plain or .gz.")],
    json: Json = False,
) -> None:
    """Count the electronic steps of VASP runs; 1/steps is the ratio that a perfect starting density could reach."""
    from json import dumps

    from ecd_models.scf.outcars import count_all, optimal_ratio, report

    counts, refused = count_all(outcars)
    for reason in refused:
        print(f"ecd: {reason}", file=sys.stderr)
    if refused:
        raise typer.Exit(1)
    frozen = [count.path for count in counts if count.frozen]
    if frozen:
        more = f" and {len(frozen) - 3} more" if len(frozen) > 3 else ""
        print(
            f"the density was kept during the run (ICHARG >= 10) in {', '.join(frozen[:3])}{more}: these steps are not"
            " those of a self-consistency",
            file=sys.stderr,
        )
    if json:
        print_lines(dumps(report(counts), indent=2))
        return
    for count in counts:
        print(f"{count.steps:5d}  {count.path}")
    ratio = optimal_ratio(count.steps for count in counts)
    print(f"optimal ratio {ratio} (mean of 1/steps, population standard deviation, n = {len(counts)})")


@takes_scf_options
def run(
    shared: ScfOptions,
    functional: Annotated[
        str, typer.Option(help="Functional for structure files: pbe, or hse, whose loops are counted apart.")
    ] = "pbe",
    conv_thr: Annotated[float, typer.Option(help="Convergence threshold of pw.x in Ry.")] = 1e-8,
    clock: Annotated[str, typer.Option(help="Clock to compare by: wall, or cpu on a machine that is shared.")] = "wall",
    own_restart: Annotated[
        bool, typer.Option("--own-restart", help="Run also pw.x's restart from its own charge-density file.")
    ] = False,
    first_threshold: Annotated[
        float, typer.Option(help="Threshold in Ry for the orbitals of the first step from a density.")
    ] = 1e-4,
    own_threshold: Annotated[
        bool,
        typer.Option("--own-threshold", help="Run each start also with pw.x's own threshold for the first orbitals."),
    ] = False,
) -> None:
    """Measure what Quantum ESPRESSO saves when it starts from a converged, a predicted or another density."""
    from ecd_models.scf.gains import refuse_other_clock
    from ecd_models.scf.jobs import make_scf_jobs
    from ecd_models.scf.run import run_starts
    from ecd_models.scf.run_table import format_table, report_runs

    refuse_other_clock(clock)  # before hours of runs, not at their table
    jobs = make_scf_jobs(shared.crystals, **shared.choice, functional=functional)
    settings: Any = {"conv_thr": conv_thr, "own_restart": own_restart}
    settings |= {"first_threshold": first_threshold, "own_threshold": own_threshold}
    report = shared.show(run_starts, jobs, **settings)
    if report.crystals:
        print_lines(format_table(report.crystals, clock))
    save_record(report_runs(report.crystals, report.settings), shared.output, "runs")
    end_verb(report)
