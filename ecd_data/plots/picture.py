"""Pictures of densities: a plane of one, or of two beside their difference, with what lies outside the colours told."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ecd_data.density import Density
from ecd_data.density_error import eps_mae
from ecd_data.errors import MissingDependencyError
from ecd_data.plots.colours import Colours, colours_of
from ecd_data.plots.plane import Plane, plane_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 4.4, 4.4  # inches of a panel


def plot_density(
    rho: Density, path: str | Path, title: str = "", *, axis: str = "c", at: float | None = None, scale: str = "auto"
) -> list[str]:
    """Save a picture (PNG, PDF, SVG) of a plane of a density in e/Å^3 and return what its reader must know.

    axis: the lattice vector that the plane does not hold; at: its fractional position along it, by default through the
    heaviest atom. Atoms near the plane are drawn, over two cells each way. scale: "linear", "log", or "auto", which is
    logarithmic where the largest value in the plane is over 100 times its median. Raises UsageError for another axis or
    scale, MissingDependencyError without matplotlib.
    """
    plane = plane_of(rho, axis, at)
    values = plane.cut(rho.values)
    return _save([("density", values, colours_of(values, scale))], plane, path, title or rho.crystal.reduced_formula)


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
    """Save a picture of a plane of a density, a guess of it and guess - density; return what its reader must know.

    The guess has the colours of `rho`; where it lies beyond them it is red or magenta, the colour bar has an arrow, and
    a line below the panels tells how far. names: what the two are called; the rest is as of `plot_density`. Raises
    ValueError where the grids differ, UsageError and MissingDependencyError as `plot_density`.
    """
    eps = eps_mae(guess, rho)
    plane = plane_of(rho, axis, at)
    truth, guessed = plane.cut(rho.values), plane.cut(guess.values)
    colours, difference = colours_of(truth, scale), guessed - truth
    panels = [(names[0], truth, colours), (names[1], guessed, colours)]
    panels += [(f"{names[1]} - {names[0]}", difference, colours_of(difference, scale, signed=True))]
    return _save(panels, plane, path, f"{title or rho.crystal.reduced_formula}   eps_mae {100 * eps:.2f} %")


def _save(panels: list[tuple[str, Any, Colours]], plane: Plane, path: str | Path, title: str) -> list[str]:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("plots need matplotlib: pip install 'ecd-data[plot]'") from error
    notes = [f"{name}: {note}" for name, values, colours in panels if (note := colours.beyond(values))]
    figure = Figure(figsize=(WIDTH * len(panels), HEIGHT + 0.25 * len(notes)), layout="constrained")
    FigureCanvasAgg(figure)
    for ax, (name, values, colours) in zip(np.atleast_1d(figure.subplots(1, len(panels))), panels, strict=True):
        _draw(figure, ax, plane, values, colours, name)
    figure.suptitle(_literal(f"{title}   {plane.name}"))
    if notes:
        figure.supxlabel(_literal("\n".join(notes)), fontsize="small", color="darkred")
    figure.savefig(path, dpi=130)
    return notes


def _draw(figure: Figure, ax: Axes, plane: Plane, values: Any, colours: Colours, name: str) -> None:
    x, y = plane.corners(values.shape)
    mesh = ax.pcolormesh(x, y, values, norm=colours.norm(), cmap=colours.map(), rasterized=True)
    for symbol, place, height in plane.atoms():
        inside = abs(height) < 0.1
        ax.plot(*place, "o", ms=9, mfc="white" if inside else "none", mec="black" if inside else "grey")
        ax.annotate(symbol, place, ha="center", va="center", fontsize=6, color="black" if inside else "grey")
    ax.set(aspect="equal", xlabel="Å", ylabel="Å", xlim=(x.min(), x.max()), ylim=(y.min(), y.max()))
    ax.set_title(_literal(name))
    figure.colorbar(mesh, ax=ax, shrink=0.8, extend=colours.extend(values), label=colours.label)


def _literal(text: str) -> str:
    return text.replace("$", r"\$")  # matplotlib would set what is between two of them as mathematics
