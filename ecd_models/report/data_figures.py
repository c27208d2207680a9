"""Figures of the data and of what is measured beside errors: trainings, restarts, gaps, times, the lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ecd_data.release.composition import Composition
from ecd_models.evaluation.paper import read_paper
from ecd_models.evaluation.results import Results
from ecd_models.report.drawing import COLOURS, REPORTED, Drawing, colour_models, draw
from ecd_models.report.inputs import Curve, ScfGain
from ecd_models.report.reference_numbers import read_stored_gains
from ecd_models.report.sample_data import Gaps, SampleData

if TYPE_CHECKING:
    from matplotlib.axes import Axes


MOST_SIZES = 8  # numbers of training crystals that are all written at the axis: more would overlap


def draw_time_figure(results: Sequence[Results]) -> Drawing:
    """How fast each model predicts on each device: the median of grid points a second over its results there."""
    speeds: dict[tuple[str, str], list[float]] = {}
    for one in results:
        speeds.setdefault((one.model, one.machine.device), []).append(one.cost.median_points_per_second)
    colours = colour_models([model for model, _ in speeds])
    bars = sorted(speeds, key=lambda bar: (bar[1] != "cpu", bar[1], list(colours).index(bar[0])))

    def plot(ax: Axes) -> None:
        values = [float(np.median(speeds[bar])) for bar in bars]
        ax.barh(range(len(bars)), values, color=[colours[model] for model, _ in bars], height=0.6)
        for y, value in enumerate(values):
            ax.annotate(f"{value:,.0f}", (value, y), xytext=(5, 0), textcoords="offset points", va="center", fontsize=8)
        ax.set_yticks(range(len(bars)), [f"{model}, {device}" for model, device in bars])
        ax.invert_yaxis()
        ax.set(xlabel="grid points / s", xscale="log", xlim=(0.5 * min(values), 3 * max(values)))
        ax.grid(axis="y", visible=False)

    caption = (
        "Medians over crystals, reading excluded; a bar for each device. Bars of one device compare, as far as the "
        "table of time and memory has the same processor and number of threads for them."
    )
    return draw("Run times", caption, [plot], width=7, height=0.9 + 0.34 * len(bars))


def collect_training_sizes(results: Sequence[Results]) -> dict[str, dict[int, float]]:
    """The mean eps_mae in percent by number of training crystals, for each network and each list of test crystals.

    Only what has two numbers of training crystals at least is a curve. Several models of one number, such as those of
    several seeds, are averaged. Networks of other sizes, and other densities of the same crystals, are other curves.
    Models whose checkpoints do not say what trained them are left out.
    """
    found: dict[tuple[Any, ...], dict[int, list[Results]]] = {}
    for one in results:
        card, record = one.model_card, one.model_card.trained_on or {}
        if record.get("complete") and record.get("crystals"):
            data = one.task, one.part, one.store_hash, frozenset(one.errors)
            key = (card.network, _describe_sizes(card.settings), *data)
            found.setdefault(key, {}).setdefault(record["crystals"], []).append(one)
    curves = [dict(sorted(sizes.items())) for sizes in found.values() if len(sizes) > 1]
    firsts = [next(iter(sizes.values()))[0] for sizes in curves]
    names = [f"{one.model_card.network}, {one.task} {one.part}" for one in firsts]
    return {
        name if names.count(name) == 1 else f"{name} ({first.model}, store {first.store_hash})": {
            size: float(np.mean([one.summary.mean_percent for one in members])) for size, members in sizes.items()
        }
        for name, first, sizes in zip(names, firsts, curves, strict=True)
    }


def _describe_sizes(settings: Mapping[str, Any]) -> str:
    """The settings of a network; of a list, such as the anchors that training crystals decide, its length alone."""
    return str(
        sorted((key, len(value) if isinstance(value, list | tuple) else value) for key, value in settings.items())
    )


def draw_training_sizes(curves: Mapping[str, Mapping[int, float]]) -> Drawing:
    """The error against the number of training crystals, see `collect_training_sizes`."""

    def plot(ax: Axes) -> None:
        for k, (name, errors) in enumerate(curves.items()):
            ax.plot(list(errors), list(errors.values()), "o-", color=COLOURS[k % len(COLOURS)], lw=1.5, label=name)
        ax.set(xscale="log", yscale="log", xlabel="training crystals", ylabel="eps_mae (%)")
        sizes = sorted({size for errors in curves.values() for size in errors})
        if len(sizes) <= MOST_SIZES:
            ax.set_xticks(sizes)

    caption = "Mean error of one network on the same test crystals, after trainings on fewer and on more crystals."
    return draw("Error against the number of training crystals", caption, [plot], width=7)


def draw_curves(curves: Sequence[Curve]) -> Drawing:
    """The learning curves of trainings."""

    def plot(ax: Axes) -> None:
        for k, curve in enumerate(curves):
            ax.plot(curve.steps, curve.validation, color=COLOURS[k % len(COLOURS)], lw=1.5, label=curve.name)
        ax.set(yscale="log", xlabel="step", ylabel="validation eps_mae (%)")

    return draw("Learning curves", "The error on validation crystals during training.", [plot], width=7)


def draw_share_figure(results: Sequence[Results]) -> Drawing:
    """Error against the share of the training data: the paper's Table 4, and given models trained on shares."""
    shares, errors, error_bars, ratios, ratio_bars = zip(*read_paper()["table4"]["rows"], strict=True)
    ours: dict[str, list[tuple[float, float]]] = {}
    for one in results:
        share = (one.model_card.training or {}).get("fraction")
        if isinstance(share, int | float) and share != 1:
            name = f"{one.model_card.network}, {one.task} {one.part}"
            ours.setdefault(name, []).append((100 * share, one.summary.mean_percent))

    def plot_error(ax: Axes) -> None:
        ax.errorbar(shares, errors, error_bars, fmt="o-", color=REPORTED, capsize=3, label="paper")
        for k, (name, points) in enumerate(ours.items()):
            ax.plot(*zip(*sorted(points), strict=True), "o-", color=COLOURS[k % len(COLOURS)], label=name)
        ax.set(xlabel="HSE06 training data (%)", ylabel="eps_mae (%)", title="error")

    def plot_ratio(ax: Axes) -> None:
        ax.errorbar(shares, ratios, ratio_bars, fmt="o-", color=REPORTED, capsize=3, label="paper")
        ax.set(xlabel="HSE06 training data (%)", ylabel="achieved ratio", title="steps of the self-consistency")
        ax.set_ylim(0, 1)

    caption = (
        "The paper's Table 4 (HSE06 test list, tuned from PBE); models that were trained on a share join where given."
    )
    return draw("Error against the share of the training data", caption, [plot_error, plot_ratio])


def draw_scf_figure(gains: Sequence[ScfGain]) -> Drawing:
    """Achieved ratios of self-consistencies: the paper's, those of this repository, and given ones."""
    paper = [(f"paper: {row[0]}", row[3], row[4], REPORTED) for row in read_paper()["table3"]["rows"]]
    stored = read_stored_gains()
    groups = list(dict.fromkeys(gain.crystals for gain in [*stored, *gains]))
    bars = paper + [
        (f"{gain.crystals}: {gain.start}", gain.mean, gain.std, COLOURS[groups.index(gain.crystals) % len(COLOURS)])
        for gain in [*stored, *gains]
    ]

    def plot(ax: Axes) -> None:
        labels, means, stds, colours = zip(*bars[::-1], strict=True)
        ax.barh(range(len(bars)), means, xerr=stds, color=colours, height=0.7, error_kw={"ecolor": "#55606c", "lw": 1})
        ax.axvline(1, color="#27313d", lw=1, ls=":")
        ax.set_yticks(range(len(bars)), labels, fontsize=7.5)
        ax.set(xlabel="steps / steps from superposed atoms")
        ax.grid(axis="y", visible=False)

    caption = (
        "Steps of the self-consistency relative to a start from superposed atoms, mean and standard deviation: below 1 "
        "the density saves steps. Grey: the paper's Table 3 (VASP, 19 crystals). Colours: Quantum ESPRESSO, the "
        "embedded sample (docs/scf.md); steps of two codes are not comparable."
    )
    return draw("Steps that a predicted density saves", caption, [plot], width=8, height=0.8 + 0.22 * len(bars))


def draw_gap_figure(gaps: Gaps) -> Drawing:
    """Computed gaps of the sample against measured ones."""

    def plot(functional: str, ax: Axes) -> None:
        pairs = gaps.by_functional[functional]
        top = 1.05 * max(max(pair) for found in gaps.by_functional.values() for pair in found.values())
        ax.plot([0, top], [0, top], color="#b8c0c8", lw=1)
        for computed, measured in pairs.values():
            ax.plot(measured, computed, "o", ms=4.5, alpha=0.75, mew=0, color=COLOURS[functional != "PBE"])
        apart = sorted(pairs, key=lambda id: -abs(pairs[id][0] - pairs[id][1]))
        for k, id in enumerate(sorted(apart[:4], key=lambda id: pairs[id][1])):
            above = k % 2 == 1  # neighbours on opposite sides, so that no name covers the next one
            place: Any = {"xytext": (0, 5 if above else -6), "va": "bottom" if above else "top", "ha": "center"}
            ax.annotate(id.partition("_")[0], pairs[id][::-1], textcoords="offset points", fontsize=7, **place)
        title = f"{functional}: {len(pairs)} compounds, mean error {gaps.mean_error(functional):.2f} eV"
        ax.set(xlabel="measured gap (eV)", ylabel="computed gap (eV)", title=title, xlim=(0, top), ylim=(0, top))

    panels = [partial(plot, functional) for functional, found in gaps.by_functional.items() if found]
    caption = (
        "Densities of the embedded sample (Quantum ESPRESSO), as the paper's Figure 7; the largest errors are named."
    )
    return draw("Gaps against experiment", caption, panels, height=3.6)


def draw_energy_figure(sample: SampleData) -> Drawing:
    """The formation energies of the sample."""

    def plot(ax: Axes) -> None:
        ax.hist(list(sample.energies.values()), bins=40, color=COLOURS[0], alpha=0.85)
        ax.axvline(0, color="#27313d", lw=1, ls=":")
        ax.set(xlabel="formation energy (eV/atom)", ylabel="crystals")

    caption = (
        f"PBE formation energies of {len(sample.energies)} crystals of the embedded sample. Those of ECD lie between "
        "-4 and 4 eV (the paper's Figure 5); its lists do not state them."
    )
    return draw("Formation energies", caption, [plot], width=7)


def draw_composition_figure(sets: Mapping[str, Composition]) -> Drawing:
    """Components and sizes of the sets of the release, from the names in their lists."""

    def plot_components(ax: Axes) -> None:
        width = 0.8 / len(sets)
        for k, (name, found) in enumerate(sets.items()):
            x = np.array(list(found.components)) + (k + 0.5) * width - 0.4
            shares = [100 * n / found.named for n in found.components.values()]
            ax.bar(x, shares, width, color=COLOURS[k], label=f"{name} ({found.named:,} named)")
        ax.set(xlabel="different elements", ylabel="% of the named crystals", title="components")
        ax.set_xticks(sorted({n for found in sets.values() for n in found.components}))

    def plot_sizes(ax: Axes) -> None:
        top = 80
        edges: Any = np.arange(0.5, top + 1)
        for k, found in enumerate(sets.values()):
            values = np.repeat(list(found.sizes), list(found.sizes.values()))
            weights = np.full(len(values), 100 / len(values))
            ax.hist(
                np.minimum(values, top),
                edges,
                weights=weights,
                color=COLOURS[k],
                alpha=0.6,
            )
        ax.set(xlabel=f"atoms in the cell ({top}: {top} and more)", ylabel="% of the named crystals", title="sizes")

    caption = "From the formulas in the names of the official lists, as the paper's Figures 3 and 6."
    return draw("Composition of the release", caption, [plot_components, plot_sizes])
