"""Figures of the errors in given results: their distribution, and how they depend on the crystal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ecd_models.evaluation.crystal_result import CrystalResult
from ecd_models.evaluation.results import Results
from ecd_models.report.drawing import Drawing, colour_models, draw
from ecd_models.report.result_tables import REGION_NAMES, SYSTEM_ORDER, group_by_data

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANELS = 3  # parts in one figure: more are too small to read

Label = Callable[[CrystalResult], str]


def draw_error_figures(results: Sequence[Results], energies: Mapping[str, float]) -> list[Drawing]:
    """All figures of errors; energies: formation energies in eV/atom by id, where they are known."""
    crystals = collect_crystals(results)
    colours = colour_models(list(crystals))
    parts = list(group_by_data(results).items())
    figures = [_draw_distributions(parts[k : k + PANELS], colours) for k in range(0, len(parts), PANELS)]
    figures.append(
        draw(
            "Error by region of the cell",
            "Median over crystals of the error among a region's electrons, and the region's mean share of the error.",
            [partial(_plot_regions, crystals, colours, share) for share in (False, True)],
        )
    )
    figures += [_draw_sizes(crystals, colours), _draw_kinds(crystals, colours)]
    known = {model: [c for c in found if c.id in energies] for model, found in crystals.items()}
    if any(known.values()):
        panel = partial(_scatter, known, colours, lambda c: energies[c.id], "formation energy (eV/atom)", False)
        caption = "A point for each crystal and model whose formation energy is known."
        figures.append(draw("Error against formation energy", caption, [panel], width=6))
    return figures


def _draw_sizes(crystals: Mapping[str, list[CrystalResult]], colours: Mapping[str, str]) -> Drawing:
    return draw(
        "Error against size",
        "A point for each crystal and model: error against the number of atoms (left) and of grid points (right).",
        [
            partial(_scatter, crystals, colours, lambda c: c.natoms, "atoms in the cell", True),
            partial(_scatter, crystals, colours, lambda c: c.points, "points of the grid", True),
        ],
    )


def _draw_kinds(crystals: Mapping[str, list[CrystalResult]], colours: Mapping[str, str]) -> Drawing:
    return draw(
        "Error by number of elements and crystal system",
        "Mean over crystals; the number of crystals is below the name.",
        [
            partial(_plot_bars, crystals, colours, lambda c: str(len(c.elements)), "different elements"),
            partial(_plot_bars, crystals, colours, lambda c: c.crystal_system or "unknown", ""),
        ],
        width=4.9,
    )


def collect_crystals(results: Sequence[Results]) -> dict[str, list[CrystalResult]]:
    """The crystals of each model over all its results, each crystal of a store once."""
    found: dict[str, dict[tuple[str, str], CrystalResult]] = {}
    for one in results:
        mine = found.setdefault(one.model, {})
        mine.update({(one.store_hash, crystal.id): crystal for crystal in one.crystals})
    return {model: list(crystals.values()) for model, crystals in found.items()}


def _draw_distributions(parts: Sequence[tuple[str, list[Results]]], colours: Mapping[str, str]) -> Drawing:
    return draw(
        "Distribution of the error",
        "The share of the crystals whose error is at most that of the horizontal axis: the further left, the better.",
        [partial(_plot_distribution, name, members, colours) for name, members in parts],
        width=max(3.0, 9.2 / max(2, len(parts))),
    )


def _plot_distribution(name: str, members: Sequence[Results], colours: Mapping[str, str], ax: Axes) -> None:
    for one in members:
        errors = np.sort([c.eps_mae_percent for c in one.crystals])
        shares = np.arange(1, len(errors) + 1) / len(errors)
        ax.step(errors, 100 * shares, where="post", color=colours[one.model], lw=1.6, label=one.model)
    ax.set(xscale="log", xlabel="eps_mae (%)", ylabel="crystals (%)", ylim=(0, 101), title=name)


def _plot_regions(
    crystals: Mapping[str, Sequence[CrystalResult]], colours: Mapping[str, str], share: bool, ax: Axes
) -> None:
    width = 0.8 / max(1, len(crystals))
    for k, (model, found) in enumerate(crystals.items()):
        heights = []
        for region in REGION_NAMES:
            parts = [c.regions[region] for c in found if c.regions]
            values = [part.share if share else part.eps_mae for part in parts]
            known = [value for value in values if value is not None]
            heights.append(100 * float(np.mean(known) if share else np.median(known)) if known else 0.0)
        ax.bar(np.arange(len(heights)) + (k + 0.5) * width - 0.4, heights, width, color=colours[model], label=model)
    ax.set_xticks(range(len(REGION_NAMES)), list(REGION_NAMES.values()))
    ax.set(ylabel="% of the error" if share else "eps_mae (%)", title="share of the error" if share else "error")


def _scatter(
    crystals: Mapping[str, Sequence[CrystalResult]],
    colours: Mapping[str, str],
    measure: Callable[[CrystalResult], float],
    label: str,
    logarithmic: bool,
    ax: Axes,
) -> None:
    for model, found in crystals.items():
        x = [measure(c) for c in found]
        y = [c.eps_mae_percent for c in found]
        ax.plot(x, y, "o", ms=3.2, alpha=0.55, mew=0, color=colours[model], label=model, rasterized=len(x) > 3000)
    ax.set(yscale="log", xlabel=label, ylabel="eps_mae (%)")
    if logarithmic:
        ax.set_xscale("log")


def _plot_bars(
    crystals: Mapping[str, Sequence[CrystalResult]], colours: Mapping[str, str], label: Label, name: str, ax: Axes
) -> None:
    groups = sorted({label(c) for found in crystals.values() for c in found}, key=_order)
    width = 0.8 / max(1, len(crystals))
    counts = dict.fromkeys(groups, 0)
    for k, (model, found) in enumerate(crystals.items()):
        members = {group: [c.eps_mae_percent for c in found if label(c) == group] for group in groups}
        counts = {group: max(counts[group], len(members[group])) for group in groups}
        heights = [float(np.mean(members[group])) if members[group] else 0.0 for group in groups]
        ax.bar(np.arange(len(groups)) + (k + 0.5) * width - 0.4, heights, width, color=colours[model], label=model)
    small = 7 if len(groups) > 5 else 8
    ax.set_xticks(range(len(groups)), [f"{group}\n({counts[group]})" for group in groups], fontsize=small)
    ax.set(ylabel="mean eps_mae (%)", xlabel=name)


def _order(group: str) -> tuple[int, str]:
    return (SYSTEM_ORDER.index(group) if group in SYSTEM_ORDER else -1, group)
