"""The pictures of the sample's report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ecd_data.errors import MissingDependencyError
from ecd_data.sample.table import SAMPLE_FOLDER, read_indexes

if TYPE_CHECKING:
    from pandas import DataFrame

GAP_PICTURE, COST_PICTURE = "sample_gaps.png", "sample_costs.png"


def draw(out: Path, folder: Path = SAMPLE_FOLDER) -> list[Path]:
    """The paths of two pictures: gaps against measured ones, and CPU seconds against electrons.

    They correspond to the paper's Figures 7 and 5.

    Parameters
    ----------
    out
        Folder for the pictures.
    folder
        Folder with the stores of the sample.

    Raises
    ------
    MissingDependencyError
        matplotlib is not installed.
    """
    import pandas as pd

    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("plots need matplotlib: pip install 'ecd-data[plot]'") from error
    frames = read_indexes(folder)
    sets = {"PBE": pd.concat([frames["pbe"], frames["ood"]]), "HSE06": frames["hse"]}
    paths = []
    for name, panel in ((GAP_PICTURE, _plot_gaps), (COST_PICTURE, _plot_costs)):
        figure = Figure(figsize=(5.5, 4.5), layout="constrained")
        FigureCanvasAgg(figure)
        panel(figure.subplots(), sets)
        paths.append(out / name)
        figure.savefig(paths[-1], dpi=110)
    return paths


def _plot_gaps(ax, sets: dict[str, DataFrame]) -> None:
    from ecd_data.release.split_files import read_gaps

    measured = {row["sample_id"]: float(row["gap_exp_eV"]) for row in read_gaps() if row["sample_id"]}
    top = max(measured.values()) + 1
    ax.plot([0, top], [0, top], color="0.7", zorder=0)
    for (name, frame), marker in zip(sets.items(), "os", strict=True):
        ids = [id for id in measured if id in frame.index]
        error = np.mean([abs(frame.loc[id, "gap_eV"] - measured[id]) for id in ids])
        label = f"{name}, {len(ids)} crystals, mean error {error:.2f} eV"
        ax.scatter([measured[id] for id in ids], frame.loc[ids, "gap_eV"], s=16, marker=marker, label=label)
    ax.set(xlabel="measured gap, eV", ylabel="gap, eV", xlim=(0, top), ylim=(0, top))
    ax.legend(frameon=False)


def _plot_costs(ax, sets: dict[str, DataFrame]) -> None:
    for (name, frame), marker in zip(sets.items(), "os", strict=True):
        ax.scatter(frame["nelect"], frame["cpu_seconds"], s=12, marker=marker, label=name)
    ax.set(xlabel="valence electrons in the cell", ylabel="CPU seconds", yscale="log")
    ax.legend(frameon=False)
