"""Verbs that show densities: a picture of one or two, and numbers that compare two."""

from __future__ import annotations

import json as json_format
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ecd_data.errors import UsageError
from ecd_models.cli.options import Json, Source, Unit, check_page, check_picture, density_file, model_option
from ecd_models.cli.sources import find_density
from ecd_models.cli.terminal import print, print_lines

if TYPE_CHECKING:
    from ecd_data.bader import BaderComparison
    from ecd_data.comparison import Comparison
    from ecd_data.density import Density

StoreOfIds = Annotated[
    str | None, typer.Option("--store", help="Store that holds the ids: a path, a URL, pbe, hse or ood.")
]


def plot(
    source: Source,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="Picture to write, a file that ends in .png, .pdf or .svg.", callback=check_picture
        ),
    ],
    reference: Annotated[
        str | None, typer.Argument(help="A second density, which is subtracted from the first.")
    ] = None,
    model: Annotated[str | None, model_option("Checkpoint or name of a model; its prediction is drawn too.")] = None,
    store: StoreOfIds = None,
    plane: Annotated[str, typer.Option(help="Cell axis that the plane cuts: a, b or c.")] = "c",
    at: Annotated[
        float | None,
        typer.Option(help="Position of the plane along that axis as a fraction; default: the heaviest atom."),
    ] = None,
    scale: Annotated[
        str, typer.Option(help="Colour scale: linear, log, or auto (log where few points stand out).")
    ] = "auto",
    unit: Unit = None,
) -> None:
    """Draw a plane of a density with its atoms; of two densities, both and the first minus the second."""
    from ecd_data.plots.picture import plot_density, plot_slices

    _refuse_two_references(model, reference)
    view = {"axis": plane, "at": at, "scale": scale}
    one, two = _choose_units([source, *([reference] if reference else [])], unit)
    rho = find_density(source, store, one)
    if reference is not None:
        from ecd_data.comparison import compare

        comparison = compare(rho, find_density(reference, store, two))
        panels = _name_panels(reference, source)
        notes = plot_slices(comparison.b, comparison.a, output, names=panels, **view)  # type: ignore[arg-type]
        notes = [*comparison.notes, *notes]
    elif model is not None:
        notes = plot_slices(rho, _predict(rho, model), output, Path(source).name, **view)  # type: ignore[arg-type]
    else:
        notes = plot_density(rho, output, Path(source).name, **view)  # type: ignore[arg-type]
    for note in notes:
        print(f"note: {note}")
    print(f"picture: {output}")


def view(
    source: Source,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Page to write, a file that ends in .html.", callback=check_page)
    ],
    reference: Annotated[
        str | None, typer.Argument(help="A second density, which is subtracted from the first.")
    ] = None,
    model: Annotated[
        str | None, model_option("Checkpoint or name of a model, whose prediction is compared with the density.")
    ] = None,
    store: StoreOfIds = None,
    unit: Unit = None,
) -> None:
    """Write a page that shows a density in a browser, without a network: isosurfaces, planes, lines, averages.

    With a second density or a model, the page shows both densities, their difference and the error map.
    """
    from ecd_data.viewer import view

    _refuse_two_references(model, reference)
    one, two = _choose_units([source, *([reference] if reference else [])], unit)
    rho = find_density(source, store, one)
    if reference is not None:
        names = _name_panels(source, reference)
        names = names if names[0] != names[1] else (source, f"{source} (second)")
        page = view(rho, find_density(reference, store, two), names=names, title=f"{names[0]} − {names[1]}")
    elif model is not None:
        name = Path(source).name
        page = view(_predict(rho, model), rho, names=(f"prediction of {Path(model).name}", name), title=name)
    else:
        page = view(rho, title=Path(source).name)
    page.save(output)
    for note in page.notes:
        print(f"note: {note}")
    print(f"page: {output}, {output.stat().st_size / 1e6:.1f} MB")


def _refuse_two_references(model: str | None, reference: str | None) -> None:
    if model is not None and reference is not None:
        raise UsageError("a model's prediction is compared with one density: leave out --model or the second density")


def _predict(rho: Density, model: str) -> Density:
    """The prediction of a model for the crystal of a density, on its grid."""
    from ecd_models import load_model, predict

    return predict(load_model(model), rho.crystal, shape=rho.shape, refuse=False)


def _choose_units(sources: list[str], unit: str | None) -> tuple[str | None, str | None]:
    """The unit for each source, None for one that is no cube or XSF; UsageError where `unit` fits none of them."""
    from ecd_data.formats import choose_unit

    units = [choose_unit(source, unit) for source in sources]
    if unit is not None and not any(units):
        raise UsageError(
            f"{' and '.join(sources)}: no cube or XSF, which alone leave their unit open: leave --unit out"
        )
    return units[0], units[1] if len(units) > 1 else None


def _name_panels(*sources: str) -> tuple[str, str]:
    """The titles of two panels: the names of the files, with their folders where the names are equal."""
    one, two = (Path(source).name for source in sources)
    return (one, two) if one != two else (sources[0], sources[1])


def compare(
    source: Source,
    reference: Annotated[str, typer.Argument(help="The density that it is compared with, named in the same way.")],
    store: StoreOfIds = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File for the first minus the second density, such as diff_CHGCAR.",
            callback=density_file,
        ),
    ] = None,
    bader: Annotated[bool, typer.Option("--bader", help="Compare the Bader charges of the atoms too.")] = False,
    aeccar: Annotated[
        list[str] | None,
        typer.Option(
            help="All-electron density with the Bader basins; give AECCAR0 and AECCAR2, which are added; repeatable."
        ),
    ] = None,
    json: Json = False,
    unit: Unit = None,
) -> None:
    """Compare a density with a reference of the same crystal: eps_mae, electrons, the largest difference."""
    from ecd_data import write
    from ecd_data.comparison import compare

    if output is not None and "diff" not in output.name.lower():
        raise UsageError(f"{output}: the name has to tell that it is a difference, as in diff_{output.name}")
    if aeccar and not bader:
        raise UsageError("--aeccar has the basins of Bader charges: give --bader too, or leave it out")
    one, two = _choose_units([source, reference], unit)
    comparison = compare(find_density(source, store, one), find_density(reference, store, two))
    charges = _compare_bader(comparison, aeccar or []) if bader else None
    if json:
        more = {"bader": charges.as_dict()} if charges else {}
        print_lines(json_format.dumps({**comparison.as_dict(), **more}, indent=1))
    else:
        print(f"{source} against {reference}")
        print_lines(comparison)
        if charges:
            print_lines(charges)
    if output is not None:
        comment = f"difference: {source} - {reference}".encode("unicode_escape").decode()
        write(output, replace(comparison.difference, meta={**comparison.difference.meta, "comment": comment}))
        if not json:
            unit = "e/bohr^3" if ".cube" in output.name.lower() else "e/Å^3 times the volume of the cell, as in VASP"
            print(f"{output}: {source} - {reference} in {unit}, {comparison.difference.nelect:+.4f} electrons")


def _compare_bader(comparison: Comparison, aeccar: list[str]) -> BaderComparison:
    """The Bader charges of both densities on their common grid, within the basins of the sum of all-electron files."""
    from ecd_data.bader import compare_bader

    parts = [find_density(path) for path in aeccar]
    reference = sum(parts[1:], parts[0]) if parts else None
    if reference is not None and reference.shape != comparison.b.shape:
        reference = reference.resample(comparison.b.shape)
    return compare_bader(comparison.a, comparison.b, reference)
