"""What all figures of the page share: matplotlib without a screen, one style, and SVG text that needs no files."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ecd_data.errors import MissingDependencyError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#2364aa", "#d1495b", "#2a9d8f", "#e09f3e", "#6a4c93", "#7f7f7f", "#8c564b", "#17becf")  # of models
REPORTED = "#9aa5b1"  # of numbers from the paper
PIXELS_PER_INCH = 118  # of a figure on the page, at most
STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["Inter", "Helvetica Neue", "Arial", "DejaVu Sans"],
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a94a0",
    "axes.labelcolor": "#27313d",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "xtick.color": "#55606c",
    "ytick.color": "#55606c",
    "axes.grid": True,
    "grid.color": "#e6eaee",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.fonttype": "none",
    "text.parse_math": False,
}


@dataclass(frozen=True)
class Drawing:
    """A figure of the page: its title, what it shows, and its SVG."""

    title: str
    caption: str
    svg: str


def draw(
    title: str, caption: str, panels: Sequence[Callable[[Axes], None]], width: float = 4.6, height: float = 3.1
) -> Drawing:
    """A Drawing of panels side by side, each drawn by a function of its axes, with one legend for all below them.

    width, height : of a panel in inches.

    Raises
    ------
    MissingDependencyError : matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("the report's figures need matplotlib: pip install 'ecd-data[plot]'") from error
    settings: Any = STYLE | {"svg.hashsalt": title}
    with rc_context(settings):
        figure = Figure(figsize=(width * len(panels), height), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for panel, ax in zip(panels, axes, strict=True):
            panel(ax)
            _write_plain_numbers(ax)
        named = {label: handle for ax in axes for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
        if named:
            _place_legend(figure, named)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    return Drawing(title, caption, _strip(stream.getvalue(), title, round(PIXELS_PER_INCH * width * len(panels))))


def _place_legend(figure: Figure, named: Mapping[str, Any]) -> None:
    """One legend below all panels, in as many columns as the figure is wide enough for, and of even rows."""
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    room = 0.98 * figure.bbox.width
    for rows in range(1, len(named) + 1):
        legend = figure.legend(
            named.values(), named.keys(), loc="outside lower center", ncols=math.ceil(len(named) / rows)
        )
        if legend.get_window_extent(renderer).width <= room or rows == len(named):
            return
        legend.remove()


def _write_plain_numbers(ax: Axes) -> None:
    """Write 0.1 and 10 at the ticks of logarithmic axes, since formulas would need fonts."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter

    for axis, scale in ((ax.xaxis, ax.get_xscale()), (ax.yaxis, ax.get_yscale())):
        if scale == "log":
            low, high = sorted(axis.get_view_interval())
            chosen = isinstance(axis.get_major_locator(), FixedLocator)  # by whoever drew the panel
            if high < 300 * low and not chosen:  # over more decades the ticks would be too close
                axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
            axis.set_minor_formatter(NullFormatter())


def _strip(svg: str, title: str, width: int) -> str:
    """The SVG element alone, at most `width` pixels wide, and named for readers of the page that do not see it."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r' id="(figure|axes|patch|line2d|matplotlib\.axis|xtick|ytick|text|legend)_\d+"', "", svg)
    svg = re.sub(r"(\d+\.\d{2})\d+", r"\1", svg)  # hundredths of a point are far below a pixel
    name = title.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{name}" style="max-width:{width}px" ', 1)


def colour_models(models: Sequence[str]) -> dict[str, str]:
    """A colour for each model, in the order in which they are first named."""
    return {name: COLOURS[k % len(COLOURS)] for k, name in enumerate(dict.fromkeys(models))}
