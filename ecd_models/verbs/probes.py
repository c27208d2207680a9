"""Verbs that make a store ready for others to read from: probes to stream, folders for the Hugging Face Hub."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ecd_models.verbs.options import Quiet


def extract(
    store: Annotated[Path, typer.Argument(help="A store on this machine.")],
    per_crystal: Annotated[
        int | None, typer.Option(help="Probes a crystal; 16384, or as many as the extract has already.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Which random grid points: 0, or the extract's.")] = None,
    workers: Annotated[int, typer.Option(help="Processes that decode.", min=1)] = 1,
    quiet: Quiet = False,
) -> None:
    """Write random grid points of every crystal next to a store, for training from a disk or URL; continues."""
    from ecd_data.store.probes_extract import extract_probes

    report = extract_probes(store, per_crystal=per_crystal, seed=seed, workers=workers, progress=not quiet)
    for id, reason in report.failed.items():
        print(f"left out: {id}: {reason}", file=sys.stderr)
    print(
        f"{report.folder}: {report.added} added ({report.bytes / 1e6:.2f} MB), {report.skipped} there already, "
        f"{len(report.failed)} left out; {report.settings.per_crystal} probes a crystal"
    )
    raise typer.Exit(1 if report.failed else 0)
