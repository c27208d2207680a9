"""The picture of gaps against measured ones, and of the time that each took, as in the paper's Figure 7."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ecd_data.errors import MissingDependencyError, UsageError
from ecd_models.scf.gaps import CrystalGaps, measure_error

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = "os^vDP*X"
BINS = 16  # edges of the histogram of seconds
NAMED = 3  # crystals with the largest errors of the last method are named


def draw_gaps(crystals: Sequence[CrystalGaps], path: Path, methods: Sequence[str] | None = None) -> None:
    """Write a picture: gaps against measured ones, and the distribution of CPU seconds, of some methods or of all.

    The crystals with the largest errors of the last method are named. Raises UsageError where a method has no crystal
    with a measured gap, and MissingDependencyError without matplotlib.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("plots need matplotlib: pip install 'ecd-data[plot]'") from error
    measured = [c for c in crystals if c.measured_eV is not None]
    chosen = list(methods or dict.fromkeys(name for c in measured for name in c.gaps))
    if not chosen:
        raise UsageError("no crystal has a measured gap: give crystals of the task exp")
    if len(chosen) > len(MARKERS):
        raise UsageError(f"{len(chosen)} methods do not fit one picture: choose at most {len(MARKERS)} with --method")
    figure = Figure(figsize=(10.5, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _plot_gaps(left, measured, chosen)
    _plot_seconds(right, measured, chosen)
    figure.savefig(path, dpi=110)


def _plot_gaps(ax: Axes, crystals: Sequence[CrystalGaps], methods: Sequence[str]) -> None:
    top = max(c.measured_eV or 0.0 for c in crystals) + 1
    ax.plot([0, top], [0, top], color="0.7", zorder=0)
    for name, marker in zip(methods, MARKERS, strict=False):
        error, own = measure_error(crystals, name), [c for c in crystals if name in c.gaps]
        label = f"{name}: {len(own)} crystals, mean error {error:.2f} eV"
        points = np.array([(c.measured_eV, c.gaps[name].gap_eV) for c in own], dtype=np.float64)
        ax.scatter(points[:, 0], points[:, 1], s=14, marker=marker, label=label)
    last = methods[-1]
    own = [c for c in crystals if last in c.gaps]
    for c in sorted(own, key=lambda c: -abs(c.gaps[last].gap_eV - (c.measured_eV or 0.0)))[:NAMED]:
        point = c.measured_eV or 0.0, c.gaps[last].gap_eV
        ax.annotate(c.id, point, fontsize=7, xytext=(3, -8), textcoords="offset points")
    ax.set(xlabel="measured gap, eV", ylabel="gap, eV", xlim=(0, top), ylim=(0, top))
    ax.legend(frameon=False, fontsize=7)


def _plot_seconds(ax: Axes, crystals: Sequence[CrystalGaps], methods: Sequence[str]) -> None:
    times = {name: [c.gaps[name].cpu_seconds for c in crystals if name in c.gaps] for name in methods}
    longest = max(max(seconds) for seconds in times.values())
    shortest = max(min(min(seconds) for seconds in times.values()), 0.01)
    bins = np.geomspace(shortest, longest * 1.01, BINS).tolist()
    for name, seconds in times.items():
        ax.hist(seconds, bins=bins, histtype="step", label=f"{name}, median {np.median(seconds):.1f} s")
    ax.set(xscale="log", xlabel="CPU seconds of a crystal", ylabel="crystals")
    ax.legend(frameon=False, fontsize=7)
