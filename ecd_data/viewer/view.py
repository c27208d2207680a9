"""A View: one or two densities as a page of HTML that needs no network, for a file or a notebook."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecd_data.arguments import path_text
from ecd_data.comparison import compare
from ecd_data.density import Density
from ecd_data.errors import UsageError
from ecd_data.io.atomic_write import write_whole
from ecd_data.safe_text import printable
from ecd_data.viewer.fields import (
    Field,
    choose_fields,
    choose_shape,
    compare_fields,
    encode_field,
    refuse_not_finite,
)
from ecd_data.viewer.page import (
    ROUNDING,
    Rows,
    describe_cell,
    describe_coarser_grid,
    describe_comparison,
    describe_crystal,
    describe_density,
    render_page,
)

HEIGHT = 900  # pixels of the frame in a notebook


@dataclass(frozen=True)
class View:
    """A page of HTML that shows densities. A notebook shows it where it is the last value of a cell.

    Attributes
    ----------
    html : the page, complete in itself.
    title : its title.
    notes : sentences about the comparison, and about the page's grid where it is coarser than the densities'.
    """

    html: str
    title: str
    notes: tuple[str, ...]

    def save(self, path: str | Path) -> Path:
        """Write the page to a file and return its path.

        Raises
        ------
        UsageError : the name does not end in .html or .htm.
        OSError : the file cannot be written.
        """
        file = Path(path_text(path, "the page"))
        if file.suffix.lower() not in (".html", ".htm"):
            raise UsageError(f"{file}: a page is an HTML file: let its name end in .html")
        with write_whole(file) as part:
            part.write_text(self.html, encoding="utf-8")
        return file

    def __repr__(self) -> str:
        return f"View({self.title!r}, {len(self.html) / 1e6:.1f} MB)"

    def _repr_html_(self) -> str:
        """The page in a frame, which keeps its styles and scripts apart from those of the notebook."""
        page = html.escape(self.html, quote=True)
        return f'<iframe srcdoc="{page}" style="width:100%;height:{HEIGHT}px;border:0"></iframe>'


def view(
    rho: Density,
    reference: Density | None = None,
    *,
    title: str = "",
    names: tuple[str, str] = ("density", "reference"),
) -> View:
    """The View of a density; with a reference, of both and of the first minus the second.

    The page has isosurfaces with the atoms, planes through the cell, values along lines, planar averages, and a table
    of numbers. It shows the magnetization where there is one. Numbers in the table and planar averages come from the
    full grids, all else from grids of at most 2 million values a field, which Fourier truncation makes.

    Parameters
    ----------
    rho : the density in e/Å^3, or a difference of densities.
    reference : a density of the same crystal, such as the truth for a prediction.
    title : of the page; the formula by default.
    names : what the page calls the two densities.

    Raises
    ------
    EcdError : a value is not finite.
    DifferentCrystalsError : the reference has another cell or other atoms.
    UsageError : an argument is no Density, or there are not two names.
    MissingDependencyError : plotly is not installed.
    """
    _refuse_arguments(rho, reference, names)
    one, two = (printable(name) for name in names)
    title = printable(title) or rho.crystal.reduced_formula or "density"
    first = choose_fields(rho, one if reference is not None else "density")
    refuse_not_finite([*first, *(choose_fields(reference, two) if reference is not None else [])])
    if reference is None:
        return _make_view(rho, first, title, describe_density(rho), [])
    comparison = compare(rho, reference)
    fields = compare_fields(comparison.a, comparison.b, comparison.difference, (one, two))
    rows = describe_comparison(comparison, (one, two))
    return _make_view(comparison.a, fields, title, rows, comparison.notes)


def _refuse_arguments(rho: Any, reference: Any, names: Any) -> None:
    for value in (rho, *([reference] if reference is not None else [])):
        if not isinstance(value, Density):
            raise UsageError(f"view shows a Density, not {type(value).__name__}: read(FILE) or store[ID] gives one")
    if isinstance(names, str) or len(names) != 2 or not all(isinstance(name, str) for name in names):
        raise UsageError("names are two texts, such as ('prediction', 'truth')")
    if names[0] == names[1]:
        raise UsageError(f"two densities need two names, and both are {names[0]!r}")


def _make_view(rho: Density, fields: list[Field], title: str, rows: Rows, notes: list[str]) -> View:
    shape = choose_shape(rho.shape, sum(field.size_of is None for field in fields))
    encoded = [encode_field(field, rho, shape) for field in fields]
    if shape != rho.shape:
        notes = [*notes, describe_coarser_grid(rho.shape, shape, encoded)]
    data = {**describe_crystal(rho), "shape": shape, "fields": encoded, "firstField": _choose_first(fields)}
    return View(render_page(title, data, [*describe_cell(rho), *rows], [*notes, ROUNDING]), title, tuple(notes))


def _choose_first(fields: list[Field]) -> int:
    """The number of the field whose isosurface is drawn first: the difference, else the first that is not zero."""
    drawn = [k for k, field in enumerate(fields) if field.values.any()] or [0]
    return next((k for k in drawn if fields[k].role == "difference"), drawn[0])
