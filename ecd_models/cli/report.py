"""The verb `report`: results as one HTML page."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from ecd_data.errors import UsageError
from ecd_models.cli.options import Quiet, writable
from ecd_models.cli.terminal import print

ENDINGS = (".html", ".htm", ".pdf", ".png")


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
        typer.Option("--output", "-o", help="Page to write: .html, or with Chromium .pdf, .png.", callback=check_page),
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
    workers: Annotated[int, typer.Option(help="Number of processes that predict at the same time.")] = 1,
    quiet: Quiet = False,
) -> None:
    """Write one HTML page that opens without a network: our tables beside the paper's, figures, worst predictions."""
    from functools import partial

    from ecd_data.io.atomic_write import write_whole
    from ecd_models.report.chromium import find_chromium, print_page
    from ecd_models.report.inputs import read_inputs
    from ecd_models.report.report import make_report
    from ecd_models.report.shipped import evaluate_shipped
    from ecd_models.training.progress_display import evaluation_progress

    if files and results is not None:
        raise UsageError("--results is for the shipped models alone: leave it out, or name no files")
    printed = output.suffix.lower() in (".pdf", ".png")
    if printed and find_chromium() is None:
        with tempfile.TemporaryDirectory() as folder:
            print_page(Path(folder), output)  # says what is missing before minutes of work
    if not files:
        folder_of_results = results or output.with_name(f"{output.stem}_results")
        progress = partial(evaluation_progress, not quiet)
        files = list(evaluate_shipped(folder_of_results, workers, progress, stored=results is None))
        print(f"results: {', '.join(sorted({str(file.parent) for file in files}))}")
    html = make_report(read_inputs(files), pictures, title)
    if printed:
        with tempfile.TemporaryDirectory() as folder:
            page = Path(folder) / "report.html"
            page.write_text(html, encoding="utf-8")
            print_page(page, output)
    else:
        with write_whole(output) as aside:
            aside.write_text(html, encoding="utf-8")
    print(f"report: {output} ({output.stat().st_size / 1e6:.1f} MB)")
