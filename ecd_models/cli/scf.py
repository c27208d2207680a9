"""Verbs for self-consistency: count steps, write restarts of VASP, measure what a density saves."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ecd_data.errors import UsageError
from ecd_models.cli.completion import complete_models
from ecd_models.cli.dft import Pseudo, Pwx
from ecd_models.cli.options import Data, Grid, Json, Quiet, Sample
from ecd_models.cli.scf_levels import (
    Allow,
    Crystals,
    Densities,
    Ids,
    KSpacing,
    Limit,
    Models,
    Output,
    Part,
    Work,
    make_starts,
)
from ecd_models.cli.scf_reports import end_verb, save_record, show_crystals
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


def restart(
    start: Annotated[Path, typer.Argument(help="A structure file, with -m; else a density file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write, without CHGCAR, INCAR or POSCAR.")],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="Checkpoint or name of a model that predicts the density.",
            autocompletion=complete_models,
        ),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(help="CHGCAR of the same atoms and POTCAR whose PAW occupancies are written after the density."),
    ] = None,
    potcar: Annotated[Path | None, typer.Option(help="POTCAR of the run, for its electrons and its elements.")] = None,
    incar: Annotated[
        Path | None, typer.Option(help="INCAR of the run, to which the tags of the restart are added.")
    ] = None,
    nelect: Annotated[
        float | None, typer.Option(help="Number of electrons of the run, in place of that in the files.")
    ] = None,
    grid: Grid = None,
    encut: Annotated[float | None, typer.Option(help="ENCUT in eV: use the fine grid of VASP at this cutoff.")] = None,
    prec: Annotated[
        str | None,
        typer.Option(help="PREC of VASP that --encut is meant for; default: that of the INCAR, else normal."),
    ] = None,
    allow_valence_mismatch: Annotated[
        bool, typer.Option("--allow-valence-mismatch", help="Write the folder even if the valences differ.")
    ] = False,
    device: Annotated[str, typer.Option(help="Device of the network: cpu, cuda, ...")] = "cpu",
    quiet: Quiet = False,
) -> None:
    """Write a folder from which VASP starts its self-consistency with a predicted or given density."""
    from ecd_models import load_model
    from ecd_models.cli.predict import on_device
    from ecd_models.scf.vasp_start import RunFiles, VaspGrid, find_start_density

    if not start.is_file():  # before a model is fetched for it
        raise UsageError(f"{start} does not exist: give a structure file with -m, or a density file")
    files = RunFiles.read(potcar, incar, reference)
    network = None if model is None else on_device(load_model(model), device)
    rule = VaspGrid(grid, encut, prec)
    rho, source = find_start_density(start, files, rule, network, allow=allow_valence_mismatch, show=not quiet)
    source |= {} if model is None else {"model": model}
    written = files.write(rho, output, nelect=nelect, source=source)
    for warning in written.warnings:
        print(f"ecd: {warning}", file=sys.stderr)
    print(f"{output}: POSCAR, INCAR, CHGCAR, restart.json; put POTCAR and KPOINTS beside them")
    print(written.effect)


def run(
    crystals: Crystals,
    models: Models = None,
    densities: Densities = None,
    part: Part = None,
    ids: Ids = None,
    data: Data = None,
    sample: Sample = False,
    limit: Limit = None,
    kspacing: KSpacing = 0.04,
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
    allow_valence_mismatch: Allow = False,
    output: Output = None,
    work: Work = None,
    pwx: Pwx = None,
    pseudo: Pseudo = None,
    quiet: Quiet = False,
) -> None:
    """Measure what Quantum ESPRESSO saves when it starts from a converged, a predicted or another density."""
    from ecd_models.scf.jobs import make_scf_jobs
    from ecd_models.scf.measure import report as record
    from ecd_models.scf.run import run_starts
    from ecd_models.scf.table import format_table

    chosen: Any = {"part": part, "ids": ids, "data_dir": data, "sample": sample, "limit": limit}
    jobs = make_scf_jobs(crystals, **chosen, kspacing=kspacing, functional=functional)
    starts = make_starts(models, densities, allow_valence_mismatch)
    settings: Any = {"conv_thr": conv_thr, "own_restart": own_restart}
    settings |= {"first_threshold": first_threshold, "own_threshold": own_threshold}
    report = show_crystals(run_starts, jobs, starts, quiet, **settings, pwx=pwx, pseudo=pseudo, work=work)
    if report.crystals:
        print_lines(format_table(report.crystals, clock))
    save_record(record(report.crystals, report.settings), output, "runs")
    end_verb(report)
