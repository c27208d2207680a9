"""Pictures of densities: slices of a truth, a guess and their difference."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ecd_data.crystal import Floats
from ecd_data.density import Density
from ecd_data.errors import MissingDependencyError
from ecd_data.metrics import eps_mae

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_slices(rho: Density, guess: Density, path: str | Path, title: str = "") -> None:
    """Save a PNG with the plane through the heaviest atom of the truth, the guess and guess - truth, in e/Å^3.

    The plane is spanned by a and b in true shape and drawn over two cells each way. Raises MissingDependencyError
    without matplotlib.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("plots need matplotlib: pip install 'ecd-data[plot]'") from error
    eps = eps_mae(guess, rho)
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 3)
    planes = [_plane(rho, rho.values), _plane(rho, guess.values)]
    top = float(np.percentile(planes[0], 99.5))
    for ax, plane, name in zip(axes, planes, ("truth", "prediction"), strict=False):
        _draw(figure, ax, rho, plane, name, vmin=0.0, vmax=top, cmap="viridis")
    difference = planes[1] - planes[0]
    limit = float(np.abs(difference).max()) or 1e-9
    _draw(figure, axes[2], rho, difference, "prediction - truth", vmin=-limit, vmax=limit, cmap="RdBu_r")
    figure.suptitle(f"{title or rho.crystal.reduced_formula}   eps_mae {100 * eps:.2f} %   e/Å$^3$")
    figure.savefig(path, dpi=130)


def _plane(rho: Density, values: Floats) -> Floats:
    heaviest = int(np.argmax(rho.numbers)) if len(rho.numbers) else 0
    height = rho.frac_coords[heaviest, 2] if len(rho.numbers) else 0.0
    layer = values[:, :, round(height * rho.shape[2]) % rho.shape[2]]
    return np.tile(layer, (2, 2))


def _draw(figure: Any, ax: Axes, rho: Density, plane: Floats, name: str, **options: Any) -> None:
    a, b = rho.lattice[0], rho.lattice[1]
    along = a / np.linalg.norm(a)
    normal = b - (b @ along) * along
    normal /= np.linalg.norm(normal)
    i, j = np.meshgrid(np.arange(plane.shape[0] + 1), np.arange(plane.shape[1] + 1), indexing="ij")
    x = 2 * (i / plane.shape[0] * (a @ along) + j / plane.shape[1] * (b @ along))
    y = 2 * (j / plane.shape[1] * (b @ normal))
    mesh = ax.pcolormesh(x, y, plane, **options)
    ax.set(title=name, aspect="equal", xlabel="Å")
    figure.colorbar(mesh, ax=ax, shrink=0.8)
