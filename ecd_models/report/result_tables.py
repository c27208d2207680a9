"""Tables of given results: errors, seen and unseen crystals, regions, electrons, groups, costs, differences."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from ecd_models.evaluation.results import Results
from ecd_models.evaluation.statistics import Groups
from ecd_models.metrics import Summary, compare_errors
from ecd_models.report.table import Cell, Table, mark_least, number, over_compounds, over_crystals, text

REGION_NAMES = {"near_core": "near the cores", "bond": "bonds", "interstitial": "interstices"}
SEEN = {
    "seen_crystals": "crystals that trained it",
    "seen_compositions": "other crystals of compounds that trained it",
    "unseen": "crystals of unseen compounds",
}
GROUP_NAMES = {
    "atoms": "Number of atoms",
    "crystal_system": "Crystal system",
    "functional": "Functional",
    "element": "Element",
}


def name_part(results: Results) -> str:
    """The task and part of results, as in "pbe test_pairs"."""
    return f"{results.task} {results.part}"


def group_by_data(results: Sequence[Results]) -> dict[str, list[Results]]:
    """Results of the same part of the same data, by a name; the same name never stands for different data."""
    groups: dict[tuple[str, str, str, str], list[Results]] = {}
    for one in results:
        groups.setdefault(one.data, []).append(one)
    names = [name_part(members[0]) for members in groups.values()]
    return {
        name if names.count(name) == 1 else f"{name} (store {key[2]}, split {key[3]})": members
        for name, (key, members) in zip(names, groups.items(), strict=True)
    }


def make_error_table(name: str, results: Sequence[Results]) -> Table:
    """The errors of each model on a part, with those of its superposed atoms and of seen and unseen crystals."""
    columns = ("model", "crystals", "mean %", "median %", "p90 %", "p99 %", "compounds", "mean over compounds %")
    main = mark_least([_error_row(one.model, one.summary) for one in results], (2, 3, 4, 5, 7))
    rows: list[Sequence[Cell]] = [*main]
    for one in results:
        rows += _detail_rows(one)
    rows += _atom_rows(results)
    notes = [_describe_data(results[0])]
    notes += [f"{one.model}: {caution}" for one in results if (caution := one.seen_in_training.get("caution"))]
    for one in results:
        if one.failures:
            count = len(one.failures)
            notes.append(f"{one.model}: {count} crystals have no result, and its means are without them")
    return Table(f"Errors on {name}", columns, rows, notes)


def _error_row(label: str, summary: Summary, kind: str = "") -> list[Cell]:
    tail = [number(value) for value in (summary.median_percent, summary.p90_percent, summary.p99_percent)]
    count, compounds = number(summary.count, 0), number(summary.compounds, 0)
    return [text(label, kind), count, over_crystals(summary), *tail, compounds, over_compounds(summary)]


def _detail_rows(one: Results) -> list[list[Cell]]:
    rows = []
    for name, words in SEEN.items():
        group = one.seen_in_training.get(name) or {}
        if group.get("summary") and group["count"] < one.crystals_judged:
            rows.append(_error_row(f"{one.model}: {words}", Summary(**group["summary"]), "detail"))
    return rows


def _atom_rows(results: Sequence[Results]) -> list[list[Cell]]:
    """A row for each kind of superposed atoms, with the models that add to them."""
    kinds: list[tuple[Summary, list[str]]] = []
    for one in results:
        if one.superposed_atoms is not None:
            found = one.superposed_atoms.summary
            same = [names for summary, names in kinds if str(summary) == str(found)]  # to the digits that are shown
            if same:
                same[0].append(one.model)
            else:
                kinds.append((found, [one.model]))
    return [_error_row(f"superposed atoms alone, of {', '.join(names)}", summary, "detail") for summary, names in kinds]


def _describe_data(one: Results) -> str:
    kinds = {"release": "the ECD release", "sample": "the embedded sample, not the ECD release"}
    kind = kinds.get(one.data_origin, "a store that is neither the release nor the sample")
    count = f"{one.crystals_judged + len(one.failures):,} of the part's {one.crystals_in_part:,} crystals"
    return f"{count}, of {kind} (store {one.store_hash}, split {one.split_hash})"


def make_difference_table(name: str, results: Sequence[Results]) -> Table | None:
    """The paired differences between all models on a part; None with less than two models."""
    rows = []
    for a, b in combinations(results, 2):
        if not a.errors.keys() & b.errors.keys():
            continue
        found = compare_errors(a.errors, b.errors, a.compounds)
        over = (found.compound_mean_percent, found.compound_low_percent, found.compound_high_percent)
        sure = "yes" if found.significant else "no"
        rows.append(
            [
                text(f"{a.model} − {b.model}"),
                number(found.count, 0),
                _signed(found.mean_percent, found.low_percent, found.high_percent),
                _signed(*over),
                number(100 * found.better_share, 0, unit=" %"),
                text(sure, "best" if sure == "yes" else ""),
            ]
        )
    columns = ("models", "crystals", "difference over crystals", "over compounds", "first is better in", "sure (95 %)")
    notes = ["Percentage points of eps_mae; negative where the first model has the smaller error."]
    return Table(f"Paired differences on {name}", columns, rows, notes) if rows else None


def _signed(mean: float, low: float, high: float) -> Cell:
    return Cell(f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]", mean, "", "number")


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
    return Table("Where in the cell the errors are", columns, rows, notes) if rows else None


def make_electron_table(results: Sequence[Results]) -> Table:
    """The errors of electron counts and of the electrostatic potential."""
    rows = []
    for one in results:
        found = one.electrons
        atoms = [(e.error, symbol, e) for symbol, e in found.by_element.items()]
        worst = max(atoms, key=lambda item: item[0], default=None)
        rows.append(
            [
                text(one.model),
                text(name_part(one)),
                number(found.count_error, 4),
                Cell(
                    f"{found.largest_count_error:+.4f} in {found.largest_in}",
                    abs(found.largest_count_error),
                    "",
                    "number",
                ),
                number(found.potential_error_eV, 3),
                text("–") if worst is None else Cell(f"{worst[1]}: {worst[0]:.3f}", worst[0], "", "number"),
                text("–")
                if worst is None
                else Cell(
                    f"{worst[2].largest_error:+.3f} in {worst[2].largest_in}", abs(worst[2].largest_error), "", "number"
                ),
            ]
        )
    columns = (
        "model",
        "part",
        "electron count, mean |error|",
        "largest",
        "potential, rms eV",
        "worst element",
        "its largest error",
    )
    notes = [
        "Electrons of an atom are those within its covalent radius; the worst element has the largest mean error by "
        "atom. The paper's failure case (Figure 8, GNoME ebfc3a7854) is one of such electrons, of Be and Ce."
    ]
    return Table("Electrons and potential", columns, rows, notes)


def make_cost_table(results: Sequence[Results]) -> Table:
    """What the predictions took, and on which machine."""
    rows = []
    for one in results:
        cost, machine = one.cost, one.machine
        memory = cost.peak_memory_MB
        rows.append(
            [
                text(one.model),
                text(name_part(one)),
                number(cost.median_points_per_second, 0),
                number(cost.median_seconds_per_crystal, 2),
                number(cost.io_seconds, 1),
                number(cost.graph_seconds, 1),
                number(cost.network_seconds, 1),
                number(memory, 0),
                number(cost.peak_device_memory_MB, 0),
                text(
                    f"{machine.processor}, {machine.threads} threads x {machine.workers}",
                    hint=f"{machine.memory_GB} GB",
                ),
                text(machine.device),
            ]
        )
    columns = (
        "model",
        "part",
        "points / s",
        "s / crystal",
        "reading s",
        "graph s",
        "network s",
        "memory MB",
        "device memory MB",
        "processor",
        "device",
    )
    notes = [
        "Points a second and seconds a crystal are medians, the others totals; compiled kernels find neighbours while "
        "they compute, which counts as network. Clocks of a machine that does other work as well differ by much."
    ]
    return Table("Time and memory", columns, rows, notes)


def make_group_table(kind: str, results: Sequence[Results]) -> Table:
    """The mean errors by a property of the crystals, a column for each model and part."""
    names: dict[str, None] = {}
    for one in results:
        names.update(dict.fromkeys(_group(one.groups, kind)))
    rows = []
    for name in names:
        cells = []
        for one in results:
            summary = _group(one.groups, kind).get(name)
            hint = "" if summary is None else f"{summary.count} crystals, {summary.compounds} compounds"
            cells.append(number(None if summary is None else summary.mean_percent, 2, hint=hint))
        rows.append([text(name), *cells])
    columns = (GROUP_NAMES[kind], *(one.model for one in results))
    return Table(f"Mean error in % by {GROUP_NAMES[kind].lower()}", columns, rows, ())


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
