"""Verbs for self-consistency: count steps, write restarts of VASP, measure what a density saves."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ecd_data.errors import UsageError
from ecd_models.cli.completion import complete_models
from ecd_models.cli.dft import Pseudo, Pwx
from ecd_models.cli.options import Data, Grid, Json, Quiet, Sample, writable
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
        typer.Option("--model", "-m", help="Checkpoint or name; predicts the density.", autocompletion=complete_models),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(help="CHGCAR of the same atoms and POTCAR whose PAW occupancies are written behind the density."),
    ] = None,
    potcar: Annotated[Path | None, typer.Option(help="POTCAR of the run: its electrons, and to compare.")] = None,
    incar: Annotated[Path | None, typer.Option(help="INCAR of the run, to which the restart's tags are added.")] = None,
    nelect: Annotated[float | None, typer.Option(help="Electrons of the run, over those of the files.")] = None,
    grid: Grid = None,
    encut: Annotated[float | None, typer.Option(help="Take the fine grid of VASP at this ENCUT in eV.")] = None,
    prec: Annotated[str | None, typer.Option(help="PREC of VASP for --encut; default: the INCAR's, or normal.")] = None,
    allow_valence_mismatch: Annotated[
        bool, typer.Option("--allow-valence-mismatch", help="Write even where the model is of other potentials.")
    ] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
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
    crystals: Annotated[
        list[str],
        typer.Argument(help="Structure files, folders, JSON of records; or one task, configuration or store."),
    ],
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model", "-m", help="Checkpoint or name to start from; repeatable.", autocompletion=complete_models
        ),
    ] = None,
    densities: Annotated[
        list[Path] | None, typer.Option("--density", help="Density file to start from, of one crystal; repeatable.")
    ] = None,
    part: Annotated[str | None, typer.Option(help="Of a task: its part; default test.")] = None,
    ids: Annotated[list[str] | None, typer.Option("--id", help="Of a task: only this crystal; repeatable.")] = None,
    data: Data = None,
    sample: Sample = False,
    limit: Annotated[int | None, typer.Option(help="Only the first crystals.")] = None,
    kspacing: Annotated[float, typer.Option(help="k spacing in 2 pi / Å of structure files.")] = 0.04,
    functional: Annotated[str, typer.Option(help="Of structure files: pbe, or hse with its loops apart.")] = "pbe",
    conv_thr: Annotated[float, typer.Option(help="Convergence threshold of pw.x in Ry, of all runs.")] = 1e-8,
    clock: Annotated[
        str, typer.Option(help="Compare by wall or by cpu time; cpu on a machine that is shared.")
    ] = "wall",
    own_restart: Annotated[
        bool, typer.Option("--own-restart", help="Also pw.x's restart from its own charge-density file.")
    ] = False,
    first_threshold: Annotated[
        float, typer.Option(help="How well the first step from a density solves for orbitals, in Ry.")
    ] = 1e-4,
    own_threshold: Annotated[
        bool, typer.Option("--own-threshold", help="Also every start with pw.x's own first threshold of orbitals.")
    ] = False,
    allow_valence_mismatch: Annotated[
        bool, typer.Option("--allow-valence-mismatch", help="Start even from models of other potentials.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="JSON file with every run.", callback=writable)
    ] = None,
    work: Annotated[Path | None, typer.Option(help="Keep the engine's files here; a second call continues.")] = None,
    pwx: Pwx = None,
    pseudo: Pseudo = None,
    quiet: Quiet = False,
) -> None:
    """Measure what starting densities save Quantum ESPRESSO: superposed atoms, converged, of models, of files."""
    from ecd_models import load_model
    from ecd_models.scf.jobs import make_scf_jobs
    from ecd_models.scf.measure import report as record
    from ecd_models.scf.run import file_start, model_start, run_starts
    from ecd_models.scf.table import format_table

    chosen: Any = {"part": part, "ids": ids, "data_dir": data, "sample": sample, "limit": limit}
    jobs = make_scf_jobs(crystals, **chosen, kspacing=kspacing, functional=functional)
    networks = {name: load_model(name) for name in models or []}
    starts = {name: model_start(name, network, allow=allow_valence_mismatch) for name, network in networks.items()}
    starts |= {str(path): file_start(path) for path in densities or []}
    settings: Any = {"conv_thr": conv_thr, "own_restart": own_restart}
    settings |= {"first_threshold": first_threshold, "own_threshold": own_threshold}
    report = show_crystals(run_starts, jobs, starts, quiet, **settings, pwx=pwx, pseudo=pseudo, work=work)
    if report.crystals:
        print_lines(format_table(report.crystals, clock))
    save_record(record(report.crystals, report.settings), output, "runs")
    end_verb(report)
