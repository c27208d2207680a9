"""Verbs that look at densities: one in a picture, two beside each other."""

from __future__ import annotations

import json as json_format
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ecd_data.errors import UsageError
from ecd_models.cli.options import Unit, density_file, picture
from ecd_models.cli.sources import density_of
from ecd_models.cli.terminal import print, print_lines

StoreOfIds = Annotated[str | None, typer.Option("--store", help="Store of the ids: a path, a URL, pbe or hse.")]


def plot(
    source: Annotated[str, typer.Argument(help="A density file, an id of the store, or STORE::ID.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Picture to write: .png, .pdf, .svg.", callback=picture)
    ],
    reference: Annotated[
        str | None, typer.Argument(help="A second one, which is subtracted and gives the colours.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Checkpoint or name, whose prediction is drawn beside it.")
    ] = None,
    store: StoreOfIds = None,
    plane: Annotated[str, typer.Option(help="The axis that the plane does not hold: a, b or c.")] = "c",
    at: Annotated[
        float | None, typer.Option(help="Fraction along that axis; default: through the heaviest atom.")
    ] = None,
    scale: Annotated[str, typer.Option(help="linear, log, or auto: log where few points stand out.")] = "auto",
    unit: Unit = None,
) -> None:
    """Draw a plane of a density with its atoms; of two, both and the first minus the second."""
    from ecd_data.plots.picture import plot_density, plot_slices

    if model is not None and reference is not None:
        raise UsageError("a model's prediction is compared with one density: leave out --model or the second density")
    view = {"axis": plane, "at": at, "scale": scale}
    one, two = _units([source, *([reference] if reference else [])], unit)
    rho = density_of(source, store, one)
    if reference is not None:
        from ecd_data.comparison import compare

        found = compare(rho, density_of(reference, store, two))
        notes = plot_slices(found.b, found.a, output, names=_names(reference, source), **view)  # type: ignore[arg-type]
        notes = [*found.notes, *notes]
    elif model is not None:
        from ecd_models import load_model, predict

        guess = predict(load_model(model), rho.crystal, shape=rho.shape, refuse=False)
        notes = plot_slices(rho, guess, output, Path(source).name, **view)  # type: ignore[arg-type]
    else:
        notes = plot_density(rho, output, Path(source).name, **view)  # type: ignore[arg-type]
    for note in notes:
        print(f"note: {note}")
    print(f"picture: {output}")


def _units(sources: list[str], unit: str | None) -> tuple[str | None, str | None]:
    """The unit for each source that leaves its own open, a cube or XSF; raises UsageError where none does."""
    from ecd_data.formats import choose_unit

    stated = [choose_unit(source, unit) for source in sources]
    if unit is not None and not any(stated):
        raise UsageError(
            f"{' and '.join(sources)}: neither cube nor XSF, which alone leave the unit open; no --unit then"
        )
    return stated[0], stated[1] if len(stated) > 1 else None


def _names(*sources: str) -> tuple[str, str]:
    """What two panels are called: the files' names, with their folders where the names are one."""
    one, two = (Path(source).name for source in sources)
    return (one, two) if one != two else (sources[0], sources[1])


def compare(
    source: Annotated[str, typer.Argument(help="A density file, an id of the store, or STORE::ID.")],
    reference: Annotated[str, typer.Argument(help="The one that it is compared with, likewise.")],
    store: StoreOfIds = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write the first minus the second, as diff_CHGCAR.", callback=density_file),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object instead of lines.")] = False,
    unit: Unit = None,
) -> None:
    """Say how a density differs from a reference of the same crystal: eps_mae, electrons, the largest difference."""
    from ecd_data import write
    from ecd_data.comparison import compare

    if output is not None and "diff" not in output.name.lower():
        raise UsageError(f"{output}: the name has to tell that it is a difference, as in diff_{output.name}")
    one, two = _units([source, reference], unit)
    found = compare(density_of(source, store, one), density_of(reference, store, two))
    if json:
        print_lines(json_format.dumps(found.as_dict(), indent=1))
    else:
        print(f"{source} against {reference}")
        print_lines(found)
    if output is not None:
        comment = f"difference: {source} - {reference}".encode("unicode_escape").decode()
        write(output, replace(found.difference, meta={**found.difference.meta, "comment": comment}))
        if not json:
            print(f"{output}: {source} - {reference}, {found.difference.nelect:+.4f} electrons")
