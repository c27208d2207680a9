"""Verbs for results: the report, entries of the leaderboard, and the leaderboard's page."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from ecd_data.errors import UsageError
from ecd_models.cli.options import PredictWorkers, Quiet, writable
from ecd_models.cli.terminal import print, print_lines

PRINTED = (".pdf", ".png")  # by Chromium
ENDINGS = (".html", ".htm", *PRINTED)
YAML = (".yaml", ".yml")


def check_page(file: Path | None) -> Path | None:
    """The page to write; UsageError where its name tells no format."""
    if file is not None and file.suffix.lower() not in ENDINGS:
        raise UsageError(f"{file}: the name tells no format of a page; let it end in {', '.join(ENDINGS)}")
    return writable(file)


def report(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Results of `ecd evaluate -o`, JSON of `ecd scf run -o`, log.csv of trainings; without them the"
            " results of the shipped models on the embedded sample."
        ),
    ] = None,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="Page to write: .html, or with Chromium .pdf, or .png of its top.",
            callback=check_page,
        ),
    ] = Path("report.html"),
    results: Annotated[
        Path | None,
        typer.Option(
            help="Evaluate the shipped models here, which takes some minutes, and keep their results in this folder;"
            " default: take the results that come with the package."
        ),
    ] = None,
    title: Annotated[str, typer.Option(help="Title of the page.")] = "How well do the densities fit?",
    pictures: Annotated[bool, typer.Option(help="Predict the worst crystals again and draw them.")] = True,
    workers: PredictWorkers = 1,
    quiet: Quiet = False,
) -> None:
    """Write one HTML page that opens without a network: our tables beside the paper's, figures, worst predictions."""
    from functools import partial

    from ecd_models.report.chromium import HEIGHT, require_chromium
    from ecd_models.report.inputs import read_inputs
    from ecd_models.report.report import make_report
    from ecd_models.report.shipped import evaluate_shipped
    from ecd_models.training.progress_display import evaluation_progress

    if files and results is not None:
        raise UsageError("--results is for the shipped models alone: leave it out, or name no files")
    if output.suffix.lower() in PRINTED:
        require_chromium(output)  # before minutes of work
    if not files:
        folder_of_results = results or output.with_name(f"{output.stem}_results")
        progress = partial(evaluation_progress, not quiet)
        files = list(evaluate_shipped(folder_of_results, workers, progress, stored=results is None))
        print(f"results: {', '.join(sorted({str(file.parent) for file in files}))}")
    _write_page(make_report(read_inputs(files), pictures, title), output)
    part = (
        f", the first {HEIGHT:,} pixels; .html and .pdf have the whole page" if output.suffix.lower() == ".png" else ""
    )
    print(f"report: {output} ({output.stat().st_size / 1e6:.1f} MB){part}")


def _write_page(html: str, output: Path) -> None:
    """Write a page as HTML, or print it with Chromium to PDF or PNG."""
    from ecd_data.io.atomic_write import write_whole
    from ecd_models.report.chromium import print_page

    if output.suffix.lower() in PRINTED:
        with tempfile.TemporaryDirectory() as folder:
            page = Path(folder) / "report.html"
            page.write_text(html, encoding="utf-8")
            print_page(page, output)
    else:
        with write_whole(output) as aside:
            aside.write_text(html, encoding="utf-8")


def submit(
    files: Annotated[
        list[Path], typer.Argument(help="An entry to check (YAML); or, with -o, results files to begin one from.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Entry to begin, a YAML file.", callback=writable)
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="With -o: file of the checkpoint, whose size is filled in.")
    ] = None,
) -> None:
    """Check an entry for the leaderboard and say what is wrong with it, or begin one from results files."""
    entries = [file for file in files if file.suffix in YAML]
    if output is None:
        if checkpoint is not None:
            raise UsageError("--checkpoint belongs to -o: leave it out to check an entry")
        if len(files) != 1 or not entries:
            raise UsageError("name one entry, a YAML file; with -o ENTRY.yaml results files begin one")
        _check(files[0])
        return
    if entries:
        raise UsageError(f"{entries[0]} is an entry: with -o name results files, JSON of `ecd evaluate -o`")
    if output.exists():
        raise UsageError(f"{output} is there already: name another file")
    if output.suffix not in YAML:
        raise UsageError(f"{output}: an entry is a YAML file; let its name end in .yaml")
    from ecd_models.leaderboard.entry import make_entry

    output.write_text(make_entry(files, checkpoint), encoding="utf-8")
    print(f"entry: {output}; fill in what is null, then `ecd submit {output}`")


def _check(path: Path) -> None:
    from ecd_models.leaderboard.board import ENTRIES
    from ecd_models.leaderboard.checks import check_entry

    entry, _, checks = check_entry(path)
    print_lines("\n".join(map(str, checks)))
    faults = sum(bool(check.fault) for check in checks)
    if faults:
        print(f"{path}: {faults} of {len(checks)} checks failed")
        raise typer.Exit(1)
    room = ENTRIES.parent.name
    print(f"{path}: {entry.model} is ready. Copy it to ecd_models/{room}/entries/ and its results to")
    print(
        f"ecd_models/{room}/results/ in a clone of the repository, and open a pull request, whose tests check the same."
    )


def leaderboard(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Page to write: .html or .md.", callback=writable)
    ] = Path("leaderboard.html"),
    entries: Annotated[Path | None, typer.Option(help="Folder of entries; default: those of the package.")] = None,
) -> None:
    """Write the leaderboard from its entries."""
    from ecd_data.io.atomic_write import write_whole
    from ecd_models.leaderboard.board import ENTRIES, read_board, render_board, render_board_as_markdown

    if output.suffix not in (".html", ".md"):
        raise UsageError(f"{output}: the name tells no format of a page; let it end in .html or .md")
    rows = read_board(entries or ENTRIES)
    text = render_board(rows) if output.suffix == ".html" else render_board_as_markdown(rows)
    with write_whole(output) as aside:
        aside.write_text(text, encoding="utf-8")
    print(f"leaderboard: {output}, {len({row.entry.model for row in rows})} models")
