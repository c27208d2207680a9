"""Pictures of a plane of one density, or of two densities and their difference, with notes on hidden values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ecd_data.density import Density
from ecd_data.density_error import eps_mae
from ecd_data.errors import MissingDependencyError
from ecd_data.plots.colours import Colours, choose_colours
from ecd_data.plots.plane import Plane, choose_plane

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 4.4  # of a panel in inches
IMAGE_WIDTH, MARGINS = 3.0, 1.1  # of that, the plane itself; in the height, for titles and labels, in inches
LEAST_HEIGHT, LARGEST_HEIGHT = 2.6, 7.0  # of a panel in inches: long cells get no taller picture


def plot_density(
    rho: Density, path: str | Path, title: str = "", *, axis: str = "c", at: float | None = None, scale: str = "auto"
) -> list[str]:
    """Save a picture of a plane of a density, two cells wide and high, and return notes on what it does not show.

    Parameters
    ----------
    rho : the density in e/Å^3.
    path : the file (PNG, PDF, SVG).
    title : of the picture; the formula by default.
    axis : the lattice vector, "a", "b" or "c", that crosses the plane.
    at : the fractional position of the plane along this axis; by default the plane goes through the heaviest atom.
    scale : "linear", "log", or "auto", which is logarithmic where the largest value is over 100 times the median.

    Raises
    ------
    UsageError : there is no such axis or scale.
    MissingDependencyError : matplotlib is not installed.
    """
    plane = choose_plane(rho, axis, at)
    values = plane.slice_values(rho.values)
    return _save_panels(
        [("density", values, choose_colours(values, scale))], plane, path, title or rho.crystal.reduced_formula
    )


def plot_slices(
    rho: Density,
    guess: Density,
    path: str | Path,
    title: str = "",
    *,
    names: tuple[str, str] = ("truth", "prediction"),
    axis: str = "c",
    at: float | None = None,
    scale: str = "auto",
) -> list[str]:
    """Save a picture of a plane of a density, of a guess, and of guess - density; return notes on what it hides.

    The guess has the colours of `rho`. Values of the guess outside their range are red or magenta, the colour bar has
    an arrow, and a line below the panels says how large they are.

    Parameters
    ----------
    rho, guess : the reference and the guess in e/Å^3, on one grid.
    names : the titles of the two panels.
    path, title, axis, at, scale : as for `plot_density`.

    Raises
    ------
    ValueError : the grids differ.
    UsageError : there is no such axis or scale.
    MissingDependencyError : matplotlib is not installed.
    """
    eps = eps_mae(guess, rho)
    plane = choose_plane(rho, axis, at)
    truth, guessed = plane.slice_values(rho.values), plane.slice_values(guess.values)
    colours, difference = choose_colours(truth, scale), guessed - truth
    panels = [(names[0], truth, colours), (names[1], guessed, colours)]
    panels += [(f"{names[1]} - {names[0]}", difference, choose_colours(difference, scale, signed=True))]
    return _save_panels(panels, plane, path, f"{title or rho.crystal.reduced_formula}   eps_mae {100 * eps:.2f} %")


def _save_panels(panels: list[tuple[str, Any, Colours]], plane: Plane, path: str | Path, title: str) -> list[str]:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("plots need matplotlib: pip install 'ecd-data[plot]'") from error
    notes = [f"{name}: {note}" for name, values, colours in panels if (note := colours.describe_clipped(values))]
    height = _panel_height(plane, panels[0][1]) + 0.25 * len(notes)
    figure = Figure(figsize=(WIDTH * len(panels), height), layout="constrained")
    FigureCanvasAgg(figure)
    for ax, (name, values, colours) in zip(np.atleast_1d(figure.subplots(1, len(panels))), panels, strict=True):
        _draw_panel(figure, ax, plane, values, colours, name)
    figure.suptitle(_escape_dollars(f"{title}   {plane.name}"))
    if notes:
        figure.supxlabel(_escape_dollars("\n".join(notes)), fontsize="small", color="darkred")
    figure.savefig(path, dpi=130)
    return notes


def _panel_height(plane: Plane, values: Any) -> float:
    """The height in inches at which the plane fills a panel of the width WIDTH, so that the colour bar is as high."""
    x, y = plane.corners(values.shape)
    return float(np.clip(IMAGE_WIDTH * np.ptp(y) / np.ptp(x) + MARGINS, LEAST_HEIGHT, LARGEST_HEIGHT))


def _draw_panel(figure: Figure, ax: Axes, plane: Plane, values: Any, colours: Colours, name: str) -> None:
    x, y = plane.corners(values.shape)
    mesh = ax.pcolormesh(x, y, values, norm=colours.norm(), cmap=colours.colour_map(), rasterized=True)
    for symbol, position, height in plane.atoms():
        inside = abs(height) < 0.1
        ax.plot(*position, "o", ms=9, mfc="white" if inside else "none", mec="black" if inside else "grey")
        ax.annotate(symbol, position, ha="center", va="center", fontsize=6, color="black" if inside else "grey")
    ax.set(aspect="equal", xlabel="Å", ylabel="Å", xlim=(x.min(), x.max()), ylim=(y.min(), y.max()))
    ax.set_title(_escape_dollars(name))
    figure.colorbar(mesh, ax=ax, extend=colours.bar_ends(values), label=colours.label)


def _escape_dollars(text: str) -> str:
    return text.replace("$", r"\$")  # matplotlib would print the text between two dollars as a formula
