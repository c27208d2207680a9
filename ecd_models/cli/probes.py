"""Verbs that make a store ready for others to read from: probes to stream, folders for the Hugging Face Hub."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ecd_models.cli.options import Data, Quiet
from ecd_models.cli.terminal import print

SHOWN = 20  # reasons why crystals were left out


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
    from ecd_data.store.probes.extract import extract_probes

    report = extract_probes(store, per_crystal=per_crystal, seed=seed, workers=workers, progress=not quiet)
    for reason in list(report.failed.values())[:SHOWN]:
        print(f"left out: {reason}", file=sys.stderr)
    if len(report.failed) > SHOWN:
        print(f"left out: {len(report.failed) - SHOWN} more", file=sys.stderr)
    print(
        f"{report.folder}: {report.added} added ({report.bytes / 1e6:.2f} MB), {report.skipped} there already, "
        f"{len(report.failed)} left out; {report.settings.per_crystal} probes a crystal"
    )
    raise typer.Exit(1 if report.failed else 0)


def export_hub(
    folder: Annotated[Path, typer.Argument(help="Folder to write.")],
    config: Annotated[
        list[str] | None, typer.Option(help="pbe, hse, a task, ...; may be repeated; default: the sets at hand.")
    ] = None,
    store: Annotated[str | None, typer.Option(help="A store of your own instead.")] = None,
    data: Data = None,
    split: Annotated[list[str] | None, typer.Option(help="train, validation or test; may be repeated.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="Pattern of ids to leave out, as in 'icsd-*'.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first crystals of each split.")] = None,
    decoded: Annotated[
        str, typer.Option(help="float32: the grids too, for readers without ecd-data; none: the store's bytes alone.")
    ] = "float32",
    shard_mb: Annotated[int, typer.Option(help="Largest file in MB, before compression.")] = 500,
    license: Annotated[str | None, typer.Option(help="The licence of your own densities, such as cc-by-4.0.")] = None,
    workers: Annotated[int, typer.Option(help="Processes that decode.", min=1)] = 1,
    quiet: Quiet = False,
) -> None:
    """Write a folder for the Hugging Face Hub that plain `datasets` reads; a second call continues."""
    from ecd_data.hub.export import export_hub

    done = export_hub(
        folder,
        configurations=config or (),
        store=store,
        data_dir=data,
        splits=split or (),
        exclude=exclude or (),
        limit=limit,
        decoded=decoded,
        shard_mb=shard_mb,
        license=license,
        workers=workers,
        progress=not quiet,
    )
    if done.restricted:
        print(
            f"{done.restricted} of the crystals have ids of the ICSD, which restricts redistribution: "
            "--exclude 'icsd-*' leaves them out",
            file=sys.stderr,
        )
    crystals = ", ".join(f"{name} {count}" for name, count in done.crystals.items())
    files = f"{done.written} files written, {done.skipped} there already, {done.bytes / 1e6:.2f} MB"
    print(f"{done.folder}: {crystals}; {files}")
    print(f"upload it with: hf upload YOUR/NAME {done.folder} --repo-type dataset")
