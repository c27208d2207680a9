"""Tables of what is behind the errors of given results: regions, electrons, groups of crystals, costs, models."""

from __future__ import annotations

from collections.abc import Sequence

from ecd_models.evaluation.results import Results
from ecd_models.evaluation.statistics import Groups
from ecd_models.metrics import Summary
from ecd_models.report.page import Cell, Table, number, text
from ecd_models.report.result_tables import REGION_NAMES, SYSTEM_ORDER, name_part

GROUP_NAMES = {
    "atoms": "Number of atoms",
    "crystal_system": "Crystal system",
    "functional": "Functional",
    "element": "Element",
}


def make_region_table(results: Sequence[Results]) -> Table | None:
    """The errors by region of all results; None where no crystal has regions."""
    rows = []
    for one in results:
        if one.regions:
            parts = list(one.regions.values())
            cells = [number(region.median_percent, 2) for region in parts]
            cells += [number(region.error_share_percent, 0) for region in parts]
            rows.append([text(one.model), text(name_part(one)), *cells])
    names = [REGION_NAMES[name] for name in REGION_NAMES]
    columns = ("model", "part", *(f"{n}: eps %" for n in names), *(f"{n}: % of the error" for n in names))
    notes = [
        "Median over crystals of the error among the electrons of the region, and the mean share of the whole error. "
        "Near the cores: up to 0.5 covalent radii from a nucleus; bonds: up to 1.25; interstices: beyond."
    ]
    return Table("Where in the cell the errors are", columns, rows, notes, folded=True) if rows else None


def make_electron_table(results: Sequence[Results]) -> Table:
    """The errors of electron counts and of the electrostatic potential."""
    columns = ("model", "part", "electron count, mean |error|", "largest", "potential, rms eV")
    notes = [
        "Electrons of an atom are those within its covalent radius; the worst element has the largest mean error by "
        "atom. The paper's failure case (Figure 8, GNoME ebfc3a7854) is one of such electrons, of Be and Ce."
    ]
    rows = [_make_electron_row(one) for one in results]
    return Table("Electrons and potential", (*columns, "worst element", "its largest error"), rows, notes, folded=True)


def _make_electron_row(one: Results) -> list[Cell]:
    found = one.electrons
    cells = [
        text(one.model),
        text(name_part(one)),
        number(found.count_error, 4),
        _name_largest(found.largest_count_error, found.largest_in, 4),
        number(found.potential_error_eV, 3),
    ]
    if not found.by_element:
        return [*cells, Cell("–"), Cell("–")]
    symbol, worst = max(found.by_element.items(), key=lambda item: item[1].error)
    element = Cell(f"{symbol}: {worst.error:.3f}", worst.error, "", "number")
    return [*cells, element, _name_largest(worst.largest_error, worst.largest_in, 3)]


def _name_largest(error: float, id: str, digits: int) -> Cell:
    shown = f"{error:+.{digits}f}" if round(error, digits) else f"{0:.{digits}f}"  # no "-0.0000"
    return Cell(f"{shown} in {id}", abs(error), "", "number")


def make_cost_table(results: Sequence[Results]) -> Table:
    """What the predictions took, and on which machine."""
    speeds = ("points / s", "s / crystal")
    totals = ("reading s", "graph s", "network s", "memory MB", "on device MB", "threads")
    notes = [
        "Points a second and seconds a crystal are medians, the others totals; compiled kernels find neighbours while "
        "they compute, which counts as network. Threads: 1 x 4 is one in each of four processes. Clocks of a machine "
        "that does other work as well differ by much."
    ]
    notes.append(f"Processors: {'; '.join(dict.fromkeys(map(_describe_processor, results)))}.")
    rows = [_make_cost_row(one) for one in results]
    return Table("Time and memory", ("model", "part", "device", *speeds, *totals), rows, notes)


def _describe_processor(one: Results) -> str:
    return f"{one.machine.processor} with {one.machine.memory_GB:g} GB"


def _make_cost_row(one: Results) -> list[Cell]:
    cost, machine = one.cost, one.machine
    threads = f"{machine.threads} x {machine.workers}" if machine.workers > 1 else f"{machine.threads}"
    return [
        text(one.model),
        text(name_part(one)),
        text(machine.device, hint=_describe_processor(one)),
        number(cost.median_points_per_second, 0),
        number(cost.median_seconds_per_crystal, 2),
        number(cost.io_seconds, 1),
        number(cost.graph_seconds, 1),
        number(cost.network_seconds, 1),
        number(cost.peak_memory_MB, 0),
        number(cost.peak_device_memory_MB, 0),
        text(threads),
    ]


def make_group_table(kind: str, results: Sequence[Results]) -> Table:
    """The mean errors by a property of the crystals, a column for each model and part."""
    names: dict[str, None] = {}
    for one in results:
        names.update(dict.fromkeys(_group(one.groups, kind)))
    rows = []
    known = {name: k for k, name in enumerate(SYSTEM_ORDER)} if kind == "crystal_system" else {}
    for name in sorted(names, key=lambda name: known.get(name, len(known))):
        cells = []
        for one in results:
            summary = _group(one.groups, kind).get(name)
            hint = "" if summary is None else f"{summary.count} crystals, {summary.compounds} compounds"
            cells.append(number(None if summary is None else summary.mean_percent, 2, hint=hint))
        rows.append([text(name), *cells])
    columns = (GROUP_NAMES[kind], *(one.model for one in results))
    return Table(f"Mean error in % by {GROUP_NAMES[kind].lower()}", columns, rows, (), folded=True)


def _group(groups: Groups, kind: str) -> dict[str, Summary]:
    found: dict[str, Summary] = getattr(groups, kind)
    return found


def make_model_table(results: Sequence[Results]) -> Table:
    """The cards of the models, with the hashes of their checkpoints."""
    rows = []
    for name, one in {one.model: one for one in results}.items():
        card = one.model_card
        trained = card.trained_on or {}
        rows.append(
            [
                text(name),
                text(card.network),
                number(card.weights, 0),
                text(card.made_by or "not recorded"),
                text(f"{trained['crystals']:,} crystals of {trained['data_origin']}" if trained else "not recorded"),
                text("yes" if card.superposed_atoms else "no"),
                text(
                    (card.checkpoint_sha256 or card.weights_sha256)[:16],
                    hint=card.checkpoint_sha256 or card.weights_sha256,
                ),
            ]
        )
    columns = (
        "model",
        "network",
        "weights",
        "learned densities of",
        "trained on",
        "adds to superposed atoms",
        "SHA-256",
    )
    return Table("Models", columns, rows, ())
