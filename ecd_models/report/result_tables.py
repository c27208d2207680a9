"""Tables of given results: errors of models on a part, of seen and unseen crystals, and paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from ecd_models.evaluation.results import Results
from ecd_models.metrics import LEAST_COMPOUNDS, Summary, compare_errors
from ecd_models.report.page import Cell, Table, mark_least, number, over_compounds, over_crystals, text

ATOMS = "superposed atoms alone"
REGION_NAMES = {"near_core": "near the cores", "bond": "bonds", "interstitial": "interstices"}
SYSTEM_ORDER = ("cubic", "hexagonal", "trigonal", "tetragonal", "orthorhombic", "monoclinic", "triclinic", "unknown")
PART_TITLES = {  # of the embedded sample
    "test_geometries": "unseen geometries",
    "test_compositions": "unseen compounds",
    "test_pairs": "unseen pairs of elements",
    "test_rare_elements": "unseen pairs with a rare element",
    "test_types": "unseen structure types",
}
OTHER_CRYSTALS = "the models have errors of different crystals, so their means do not compare, and none is marked"
SEEN = {
    "seen_crystals": "crystals that trained it",
    "seen_compositions": "other crystals of compounds that trained it",
    "unseen": "crystals of unseen compounds",
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


def have_same_crystals(results: Sequence[Results]) -> bool:
    """Whether all results have errors of the same crystals, without which their means do not compare."""
    return all(one.errors.keys() == results[0].errors.keys() for one in results)


def make_overview(results: Sequence[Results]) -> Table | None:
    """The mean error of each model on each part; None with less than two parts, which need no overview."""
    parts = group_by_data(results)
    if len(parts) < 2:
        return None
    by_model: dict[str, dict[str, Summary]] = {}
    for name, members in parts.items():
        for one in members:
            by_model.setdefault(one.model, {})[name] = one.summary
    rows = [
        [text(model), *(number(found[name].mean_percent if name in found else None, 2) for name in parts)]
        for model, found in by_model.items()
    ]
    columns = [f"{name}: mean %" for name in parts]
    notes = [f"{name}: {PART_TITLES[one.part]}" for name, (one, *_) in parts.items() if one.part in PART_TITLES]
    note = "Mean eps_mae over the crystals of each part, the least of a part in green. " + "; ".join(notes)
    same = [k for k, members in enumerate(parts.values(), start=1) if have_same_crystals(members)]
    others = [f"{name}: {OTHER_CRYSTALS}" for name, members in parts.items() if not have_same_crystals(members)]
    return Table("All models at a glance", ("model", *columns), mark_least(rows, same), [note, *others])


def make_error_table(name: str, results: Sequence[Results]) -> Table:
    """The errors of each model on a part, with those of its superposed atoms and of seen and unseen crystals."""
    columns = ("model", "crystals", "mean %", "median %", "p90 %", "p99 %", "compounds", "mean over compounds %")
    same = have_same_crystals(results)
    main = mark_least([_error_row(one.model, one.summary) for one in results], (2, 3, 4, 5, 7) if same else ())
    rows: list[Sequence[Cell]] = [*main]
    for one in results:
        rows += _detail_rows(one)
    rows += _atom_rows(results)
    notes = [_describe_data(results[0]), *([] if same else [f"{name}: {OTHER_CRYSTALS}"])]
    if len(main) < len(rows):
        notes.append("Superposed atoms alone are what a model starts from, without its network.")
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
    return [
        _error_row(ATOMS if len(names) == len(results) else f"{ATOMS} of {', '.join(names)}", summary, "detail")
        for summary, names in kinds
    ]


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
        single = found.compounds == 1
        sure = "–" if found.compounds < LEAST_COMPOUNDS else "yes" if found.significant else "no"
        rows.append(
            [
                text(f"{a.model} − {b.model}"),
                number(found.count, 0),
                _signed(found.mean_percent, found.low_percent, found.high_percent, single),
                _signed(*over, single),
                number(100 * found.better_share, 0, unit=" %"),
                text(sure, "best" if sure == "yes" else ""),
            ]
        )
    columns = ("models", "crystals", "difference over crystals", "over compounds", "first is better in", "sure (95 %)")
    notes = ["Percentage points of eps_mae; negative where the first model has the smaller error."]
    if any(row[-1].text == "–" for row in rows):
        notes.append(f"No difference over fewer than {LEAST_COMPOUNDS} compounds is sure.")
    return Table(f"Paired differences on {name}", columns, rows, notes, folded=True) if rows else None


def _signed(mean: float, low: float, high: float, single: bool) -> Cell:
    return Cell(f"{mean:+.3f}" if single else f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]", mean, "", "number")
