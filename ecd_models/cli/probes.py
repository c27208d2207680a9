"""Verbs that prepare a store for its readers: probes for streaming, folders for the Hugging Face Hub."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ecd_models.cli.options import Data, Quiet, Workers
from ecd_models.cli.terminal import print

MAX_REASONS = 20  # of crystals left out that are printed


def extract(
    store: Annotated[Path, typer.Argument(help="Store on this machine.")],
    per_crystal: Annotated[
        int | None,
        typer.Option(help="Probes for each crystal; default: as many as an existing extract has, else 16384."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Random seed for the choice of grid points; default: that of an existing extract, else 0."),
    ] = None,
    workers: Workers = 1,
    quiet: Quiet = False,
) -> None:
    """Write random grid points of each crystal into a store, to train from a disk or URL; a second call continues."""
    from ecd_data.store.probes.extract import extract_probes

    report = extract_probes(store, per_crystal=per_crystal, seed=seed, workers=workers, progress=not quiet)
    for reason in list(report.failed.values())[:MAX_REASONS]:
        print(f"left out: {reason}", file=sys.stderr)
    if len(report.failed) > MAX_REASONS:
        print(f"left out: {len(report.failed) - MAX_REASONS} more", file=sys.stderr)
    print(
        f"{report.folder}: {report.added} added ({report.bytes / 1e6:.2f} MB), {report.skipped} there already, "
        f"{len(report.failed)} left out; {report.settings.per_crystal} probes a crystal"
    )
    raise typer.Exit(1 if report.failed else 0)


def export_hub(
    folder: Annotated[Path, typer.Argument(help="Folder to write.")],
    config: Annotated[
        list[str] | None,
        typer.Option(help="Configuration or task, such as pbe; repeatable; default: all sets in the data folder."),
    ] = None,
    store: Annotated[str | None, typer.Option(help="Your own store, instead of a configuration.")] = None,
    split_file: Annotated[
        Path | None,
        typer.Option(
            help="With --store: its split, the JSON file that `ecd split make` writes; default: all crystals in train."
        ),
    ] = None,
    data: Data = None,
    split: Annotated[
        list[str] | None, typer.Option(help="Split to write: train, validation or test; repeatable; default: all.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(help="Pattern of ids to leave out, such as 'icsd-*'; repeatable.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Largest number of crystals of each split.")] = None,
    decoded: Annotated[
        str,
        typer.Option(
            help="float32 adds the grids for readers without ecd-data; none writes only the bytes of the store."
        ),
    ] = "float32",
    shard_mb: Annotated[int, typer.Option(help="Largest size of a file in MB, before compression.")] = 500,
    license: Annotated[str | None, typer.Option(help="Licence of your own densities, such as cc-by-4.0.")] = None,
    workers: Workers = 1,
    quiet: Quiet = False,
) -> None:
    """Write a folder for the Hugging Face Hub that plain `datasets` reads; a second call continues."""
    from ecd_data.hub.export import export_hub

    done = export_hub(
        folder,
        configurations=config or (),
        store=store,
        split_file=split_file,
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
