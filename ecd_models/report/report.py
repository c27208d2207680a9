"""The report: what its sections are, from given results and from what comes with the package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ecd_data import __version__
from ecd_data.release.composition import Composition, count_compositions
from ecd_data.release.data_origin import RELEASE, SAMPLE
from ecd_data.safe_text import printable
from ecd_models.evaluation.paper import read_paper
from ecd_models.evaluation.results import Results
from ecd_models.prediction.functionals import HASH_DIGITS
from ecd_models.report.data_figures import (
    collect_training_sizes,
    draw_composition_figure,
    draw_curves,
    draw_energy_figure,
    draw_gap_figure,
    draw_scf_figure,
    draw_share_figure,
    draw_time_figure,
    draw_training_sizes,
)
from ecd_models.report.detail_tables import (
    make_cost_table,
    make_electron_table,
    make_group_table,
    make_model_table,
    make_region_table,
)
from ecd_models.report.drawing import Drawing
from ecd_models.report.error_figures import draw_error_figures
from ecd_models.report.failures import make_failure_section
from ecd_models.report.inputs import Inputs
from ecd_models.report.page import Card, Section, Table, render_page
from ecd_models.report.paper_tables import make_list_table, make_paper_tables
from ecd_models.report.periodic_table import PeriodicTable, make_count_table_of_elements
from ecd_models.report.reference_numbers import read_stored_curve
from ecd_models.report.result_tables import (
    group_by_data,
    have_same_crystals,
    make_difference_table,
    make_error_table,
    make_overview,
)
from ecd_models.report.sample_data import SampleData, read_sample_data

LONGEST = 60  # characters of a model's name in tables and legends
GROUPS = ("atoms", "crystal_system", "functional")
LISTS = {"HSE06": "hse", "PBE": "pbe", "Materials Project": "mp", "GNoME": "ood"}
MEASURES = (
    "eps_mae is sum|rho - guess| / sum|rho| over the whole grid of a crystal. A mean is given over crystals and "
    "over compounds (reduced formulas); intervals are 95 %, bootstrapped by compound; differences are paired.",
)


def make_report(inputs: Inputs, pictures: bool = True, title: str = "How well do the densities fit?") -> str:
    """The HTML of a report.

    Parameters
    ----------
    inputs : the results and other measurements to show; see `ecd_models.report.inputs.read_inputs`.
    pictures : whether the worst predictions are predicted again and drawn, where model and data are at hand.
    title : the title of the page.
    """
    results, sample = name_models(inputs.results), read_sample_data()
    lists = {name: count_compositions(set_name) for name, set_name in LISTS.items()}
    sections = [
        Section(
            "Results", "results", MEASURES if results else ("No results are given.",), _make_result_tables(results)
        ),
        Section("Figures", "figures", (), _make_figures(replace(inputs, results=results), sample)),
        Section("Beside the paper", "paper", _introduce_paper(), make_paper_tables(results, inputs.gains, sample)),
        Section("The data", "data", (), _make_data_blocks(lists)),
        make_failure_section(results, pictures),
        Section("Details", "details", (), _make_detail_tables(results)),
        Section("Models and machines", "models", (), _make_model_tables(results)),
    ]
    return render_page(title, _make_lead(results), _make_cards(results), sections, _make_footer(results))


def name_models(results: Sequence[Results]) -> list[Results]:
    """The results with names that a table can show, and of which each stands for one model.

    They have no control characters. Of a long name the end is kept, which tells the checkpoints of several runs apart.
    Models of one name, such as "charge3net", get the first digits of the SHA-256 of their weights.
    """
    names = [printable(one.model) for one in results]
    names = [name if len(name) <= LONGEST else f"…{name[1 - LONGEST :]}" for name in names]
    hashes = [one.model_card.weights_sha256 for one in results]
    shared = {name for name in names if len({h for n, h in zip(names, hashes, strict=True) if n == name}) > 1}
    return [
        one.model_copy(update={"model": f"{name} {digest[:HASH_DIGITS]}" if name in shared else name})
        for one, name, digest in zip(results, names, hashes, strict=True)
    ]


def _make_lead(results: Sequence[Results]) -> list[str]:
    origins = {one.data_origin for one in results}
    lines = []
    if SAMPLE in origins:
        lines.append(
            "The densities are those of the embedded sample: small crystals of Quantum ESPRESSO. They are not ECD's, "
            "so these numbers do not compare with the paper's, which stand beside them."
        )
    if RELEASE in origins:
        lines.append("Some results are measured on the ECD release, and compare with the paper's.")
    if origins - {SAMPLE, RELEASE}:
        lines.append(
            "Some results are of stores that are neither the release nor the sample; each is named by its hash."
        )
    return lines


def _make_cards(results: Sequence[Results]) -> list[Card]:
    if not results:
        return []
    models = {one.model for one in results}
    crystals = {(one.store_hash, c.id) for one in results for c in one.crystals}
    compounds = {c.compound for one in results for c in one.crystals}
    cards = [Card(str(len(models)), "models"), Card(f"{len(crystals):,}", "test crystals")]
    cards.append(Card(f"{len(compounds):,}", "compounds"))
    for name, members in group_by_data(results).items():
        if not have_same_crystals(members):
            continue
        best = min(members, key=lambda one: one.summary.mean_percent)
        cards.append(Card(f"{best.summary.mean_percent:.2f} %", f"{name}: {best.model}"))
    return cards


def _make_result_tables(results: Sequence[Results]) -> list[Table]:
    tables: list[Table | None] = [make_overview(results)]
    for name, members in group_by_data(results).items():
        tables += [make_error_table(name, members), make_difference_table(name, members)]
    return [table for table in tables if table is not None]


def _make_detail_tables(results: Sequence[Results]) -> list[Table]:
    tables: list[Table | None] = []
    if results:
        tables += [make_region_table(results), make_electron_table(results)]
    for name, members in group_by_data(results).items():
        for kind in GROUPS:
            table = make_group_table(kind, members)
            tables.append(replace(table, title=f"{table.title}, {name}") if len(table.rows) > 1 else None)
    return [table for table in tables if table is not None]


def _introduce_paper() -> list[str]:
    return [f"Grey-blue numbers are reported in {read_paper()['title']}; all others are from this repository."]


def _make_figures(inputs: Inputs, sample: SampleData) -> list[Drawing]:
    figures = draw_error_figures(inputs.results, sample.energies) if inputs.results else []
    if inputs.results:
        figures.append(draw_time_figure(inputs.results))
    if sizes := collect_training_sizes([*inputs.results, *read_stored_curve()]):
        figures.append(draw_training_sizes(sizes))
    if inputs.curves:
        figures.append(draw_curves(inputs.curves))
    figures += [draw_share_figure(inputs.results), draw_scf_figure(inputs.gains)]
    if any(sample.gaps.by_functional.values()):
        figures.append(draw_gap_figure(sample.gaps))
    if sample.energies:
        figures.append(draw_energy_figure(sample))
    return figures


def _make_data_blocks(lists: Mapping[str, Composition]) -> list[Table | Drawing | PeriodicTable]:
    named = {name: found for name, found in lists.items() if found.named}
    blocks: list[Table | Drawing | PeriodicTable] = [make_list_table(lists), draw_composition_figure(named)]
    return blocks + [make_count_table_of_elements(name, found.elements) for name, found in named.items()]


def _make_model_tables(results: Sequence[Results]) -> list[Table]:
    return [make_model_table(results), make_cost_table(results)] if results else []


def _make_footer(results: Sequence[Results]) -> str:
    data = sorted({f"{one.task} {one.part}: store {one.store_hash}, split {one.split_hash}" for one in results})
    return "; ".join([f"Made by ecd {__version__} with `ecd report`", *data]) + "."
