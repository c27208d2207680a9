"""Verbs for what a density gives without a self-consistency: gaps, energies and forces; tables of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ecd_data.errors import UsageError
from ecd_models.cli.options import writable
from ecd_models.cli.scf_options import ScfOptions, takes_scf_options
from ecd_models.cli.scf_reports import end_verb, save_record
from ecd_models.cli.terminal import print, print_lines


@takes_scf_options
def gaps(
    shared: ScfOptions,
    one_loop: Annotated[
        bool,
        typer.Option("--one-loop", help="Compute also the gap after one exchange loop of HSE06 from each density."),
    ] = False,
    every: Annotated[bool, typer.Option("--every", help="Print the gaps of every crystal too.")] = False,
) -> None:
    """Compute band gaps from predicted densities without a self-consistency, beside PBE, HSE06 and measured ones."""
    from ecd_models.scf.gap_table import format_gap_table, format_gaps, report_gaps
    from ecd_models.scf.gaps import run_gaps
    from ecd_models.scf.measured_gaps import make_gap_jobs

    report = shared.show(run_gaps, make_gap_jobs(shared.crystals, **shared.choice), one_loop=one_loop)
    if report.crystals:
        print_lines(format_gap_table(report.crystals))
        if every:
            print_lines("\n" + format_gaps(report.crystals))
    save_record(report_gaps(report), shared.output, "gaps")
    end_verb(report)


@takes_scf_options
def energies(shared: ScfOptions) -> None:
    """Measure the errors of energies and forces that a density gives without a self-consistency."""
    from ecd_models.scf.energies import run_energies
    from ecd_models.scf.energy_table import format_energy_table, report_energies
    from ecd_models.scf.jobs import make_scf_jobs

    report = shared.show(run_energies, make_scf_jobs(shared.crystals, **shared.choice))
    if report.crystals:
        print_lines(format_energy_table(report.crystals))
    save_record(report_energies(report), shared.output, "energies")
    end_verb(report)


def table(
    files: Annotated[
        list[Path], typer.Argument(help="JSON files of `ecd scf run`, `gaps` or `energies`; of one kind.")
    ],
    clock: Annotated[str, typer.Option(help="Clock that runs are compared by: wall or cpu.")] = "wall",
    apply_doubts: Annotated[
        bool,
        typer.Option("--apply-doubts", help="Count the run from superposed atoms where the prediction is doubtful."),
    ] = False,
    convergence: Annotated[
        bool,
        typer.Option(
            "--convergence", help="Print for runs how the error falls with each step, and ratios at looser thresholds."
        ),
    ] = False,
    every: Annotated[bool, typer.Option("--every", help="Print every crystal too.")] = False,
) -> None:
    """Print the tables of earlier runs, gaps or energies as Markdown, from several files together."""
    from ecd_models.scf.saved_tables import format_files

    if convergence and apply_doubts:
        raise UsageError("--convergence shows how the errors of all runs fell: leave --apply-doubts out")
    print_lines(format_files(files, clock=clock, apply_doubts=apply_doubts, convergence=convergence, every=every))


def figure(
    files: Annotated[list[Path], typer.Argument(help="JSON files that `ecd scf gaps -o` wrote.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Picture to write, .png or .pdf.", callback=writable)],
    methods: Annotated[
        list[str] | None, typer.Option("--method", help="Row of the table of gaps to draw; repeatable; default: all.")
    ] = None,
) -> None:
    """Draw gaps against measured ones, and the distribution of the times that they took."""
    from ecd_models.scf.gap_figure import draw_gaps
    from ecd_models.scf.saved_tables import load_gaps

    draw_gaps(load_gaps(files), output, methods)
    print(f"picture: {output}")
