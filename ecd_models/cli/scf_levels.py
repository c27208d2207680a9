"""Verbs for what a density gives without a self-consistency: gaps, energies and forces; tables of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ecd_data.errors import UsageError
from ecd_models.cli.dft import Pseudo, Pwx
from ecd_models.cli.options import Data, Quiet, Sample, model_option, writable
from ecd_models.cli.scf_reports import end_verb, save_record, show_crystals
from ecd_models.cli.terminal import print, print_lines

Crystals = Annotated[
    list[str],
    typer.Argument(help="Structure files, folders of them, JSON of records; or one task, configuration or store."),
]
Models = Annotated[
    list[str] | None,
    model_option("Checkpoint or name of a model whose prediction is used; repeatable."),
]
Densities = Annotated[list[Path] | None, typer.Option("--density", help="Density file of one crystal; repeatable.")]
Part = Annotated[str | None, typer.Option(help="Part of the task or store to take crystals from; default: test.")]
Ids = Annotated[list[str] | None, typer.Option("--id", help="Take only this crystal of the task or store; repeatable.")]
Limit = Annotated[int | None, typer.Option(help="Largest number of crystals.")]
KSpacing = Annotated[float, typer.Option(help="Spacing of k points in 2 pi / Å for structure files.")]
Work = Annotated[
    Path | None, typer.Option(help="Folder that keeps the files of pw.x, so that a second call continues.")
]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="JSON file with every value.", callback=writable)]
Allow = Annotated[
    bool, typer.Option("--allow-valence-mismatch", help="Use a model even if its valences are not those of the run.")
]


def gaps(
    crystals: Crystals,
    models: Models = None,
    densities: Densities = None,
    part: Part = None,
    ids: Ids = None,
    data: Data = None,
    sample: Sample = False,
    limit: Limit = None,
    kspacing: KSpacing = 0.04,
    one_loop: Annotated[
        bool,
        typer.Option("--one-loop", help="Compute also the gap after one exchange loop of HSE06 from each density."),
    ] = False,
    every: Annotated[bool, typer.Option("--every", help="Print the gaps of every crystal too.")] = False,
    allow_valence_mismatch: Allow = False,
    output: Output = None,
    work: Work = None,
    pwx: Pwx = None,
    pseudo: Pseudo = None,
    quiet: Quiet = False,
) -> None:
    """Compute band gaps from predicted densities without a self-consistency, beside PBE, HSE06 and measured ones."""
    from ecd_models.scf.gap_table import format_gap_table, format_gaps, report_gaps
    from ecd_models.scf.gaps import run_gaps
    from ecd_models.scf.measured_gaps import make_gap_jobs

    chosen: Any = {"part": part, "ids": ids, "data_dir": data, "sample": sample, "limit": limit, "kspacing": kspacing}
    jobs = make_gap_jobs(crystals, **chosen)
    starts = make_starts(models, densities, allow_valence_mismatch)
    engine: Any = {"pwx": pwx, "pseudo": pseudo, "work": work}
    report = show_crystals(run_gaps, jobs, starts, quiet, one_loop=one_loop, **engine)
    if report.crystals:
        print_lines(format_gap_table(report.crystals))
        if every:
            print_lines("\n" + format_gaps(report.crystals))
    save_record(report_gaps(report), output, "gaps")
    end_verb(report)


def energies(
    crystals: Crystals,
    models: Models = None,
    densities: Densities = None,
    part: Part = None,
    ids: Ids = None,
    data: Data = None,
    sample: Sample = False,
    limit: Limit = None,
    kspacing: KSpacing = 0.04,
    allow_valence_mismatch: Allow = False,
    output: Output = None,
    work: Work = None,
    pwx: Pwx = None,
    pseudo: Pseudo = None,
    quiet: Quiet = False,
) -> None:
    """Measure the errors of energies and forces that a density gives without a self-consistency."""
    from ecd_models.scf.energies import run_energies
    from ecd_models.scf.energy_table import format_energy_table, report_energies
    from ecd_models.scf.jobs import make_scf_jobs

    chosen: Any = {"part": part, "ids": ids, "data_dir": data, "sample": sample, "limit": limit, "kspacing": kspacing}
    jobs = make_scf_jobs(crystals, **chosen)
    starts = make_starts(models, densities, allow_valence_mismatch)
    report = show_crystals(run_energies, jobs, starts, quiet, pwx=pwx, pseudo=pseudo, work=work)
    if report.crystals:
        print_lines(format_energy_table(report.crystals))
    save_record(report_energies(report), output, "energies")
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


def make_starts(models: list[str] | None, densities: list[Path] | None, allow: bool) -> dict[str, Any]:
    """The starts by name: predictions of models, and density files; allow: models of other valences too."""
    from ecd_models import load_model
    from ecd_models.scf.run import file_start, model_start

    starts: dict[str, Any] = {name: model_start(name, load_model(name), allow=allow) for name in models or []}
    return starts | {str(path): file_start(path) for path in densities or []}
