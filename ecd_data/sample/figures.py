"""The pictures of docs/sample.md: `python -m ecd_data.sample.figures DIR`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ecd_data.errors import MissingDependencyError
from ecd_data.sample.table import HERE, indexes

if TYPE_CHECKING:
    from pandas import DataFrame

GAP_PICTURE, COST_PICTURE = "sample_gaps.png", "sample_costs.png"


def draw(out: Path, folder: Path = HERE) -> list[Path]:
    """Draws gaps against experiment and CPU seconds against electrons, as the paper's Figures 7 and 5 do; the paths.

    Raises MissingDependencyError without matplotlib.
    """
    import pandas as pd

    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("plots need matplotlib: pip install 'ecd-data[plot]'") from error
    frames = indexes(folder)
    sets = {"PBE": pd.concat([frames["pbe"], frames["ood"]]), "HSE06": frames["hse"]}
    paths = []
    for name, panel in ((GAP_PICTURE, _gaps), (COST_PICTURE, _costs)):
        figure = Figure(figsize=(5.5, 4.5), layout="constrained")
        FigureCanvasAgg(figure)
        panel(figure.subplots(), sets)
        paths.append(out / name)
        figure.savefig(paths[-1], dpi=110)
    return paths


def _gaps(ax, sets: dict[str, DataFrame]) -> None:
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


def _costs(ax, sets: dict[str, DataFrame]) -> None:
    for (name, frame), marker in zip(sets.items(), "os", strict=True):
        ax.scatter(frame["nelect"], frame["cpu_seconds"], s=12, marker=marker, label=name)
    ax.set(xlabel="valence electrons in the cell", ylabel="CPU seconds", yscale="log")
    ax.legend(frameon=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m ecd_data.sample.figures", description=__doc__)
    parser.add_argument("out", type=Path, help="folder for the pictures")
    print("\n".join(map(str, draw(parser.parse_args().out))))
