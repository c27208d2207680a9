"""The split of the sample: a rule on formulas, structure types and ids, which was fixed before any training."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Set
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from ecd_data.crystal import SYMBOLS
from ecd_data.fixed_order import order_key
from ecd_data.release.formula import elements_of, reduce_formula
from ecd_data.release.tasks import SAMPLE_PARTS
from ecd_data.sample.additions import EDITION, make_addition_cells, make_joined_cells
from ecd_data.sample.cells import make_cells, parent_of, select_hybrids
from ecd_data.sample.split_additions import RULE as FOURTH_EDITION
from ecd_data.sample.split_additions import split_additions

MANIFEST = Path(__file__).with_name("splits.json")
HELD_OUT = 12  # compositions in test_compositions
VALIDATION = 10  # compositions in validation_compositions
MIN_OTHERS = 2  # training formulas that must have each element of a composition that is held out
RULE = (
    "First edition. Compositions: visit the reduced formulas in order of sha256(formula); one is held out, with all its"
    f" cells, if each of its elements occurs in at least {MIN_OTHERS} other formulas that stay, until {HELD_OUT} are"
    " taken (test_compositions). Displaced cells of a composition that stays, in order of sha256(id): the first is in"
    " test_geometries, the second in validation_geometries, the rest in train. Pristine cells that stay: train."
    " Second edition. Strained cells and supercells are made of compositions that stay: train. A crystal is trainable"
    " if the training cells of the first edition have all its elements. A structure type that the first edition lacks"
    " and whose crystals are all trainable is held out (test_types). A trainable crystal of another type that has two"
    " elements which stand together in no crystal of the first edition and in no crystal that trains is held out"
    " (test_pairs). The rest trains, or is in test_compositions with its formula."
    " Third edition. Visit the formulas whose cells all train in order of sha256(formula); one goes to"
    f" validation_compositions, with all its cells, if each of its elements occurs in at least {MIN_OTHERS} other"
    " formulas that stay in train, and each of its structure types that test_pairs has too is the type of another"
    f" formula that stays, until {VALIDATION} are taken. A crystal of test_pairs with an element that occurs in fewer"
    f" than {MIN_OTHERS} formulas of train is in test_rare_elements instead. No crystal leaves or enters test."
    f" {FOURTH_EDITION}"
    " test_pairs, test_rare_elements and test_types are the configuration ood."
    " HSE06: a crystal of test_compositions, test_pairs, test_rare_elements or test_types with PBE is there with HSE06"
    " too. Of the n formulas of the others, in order of sha256('hse:' + formula), the first max(2, n // 8) go to"
    " validation_compositions, the rest to train."
    " validation is the union of all validation_*, test that of all test_*."
)
OOD = ("test_pairs", "test_rare_elements", "test_types")
PARTS = ("train", "validation", "test", *SAMPLE_PARTS)
Split = dict[str, list[str]]


@dataclass(frozen=True)
class Cell:
    """The facts of a cell that the rule uses: reduced formula, structure type, edition, id of its pristine crystal."""

    formula: str
    prototype: str
    edition: int
    parent: str

    @property
    def elements(self) -> frozenset[str]:
        """The elements of the formula."""
        return elements_of(self.formula)

    @property
    def pairs(self) -> set[tuple[str, ...]]:
        """All pairs of the elements, sorted."""
        return set(combinations(sorted(self.elements), 2))


def make_splits(
    sample: Mapping[str, Cell], hybrid: Set[str], waiting: Mapping[str, Cell] | None = None
) -> dict[str, Split]:
    """The sorted ids by part of each set: {"pbe": ..., "ood": ..., "hse": ...}.

    Parameters
    ----------
    sample : all cells by id.
    hybrid : the ids of cells with HSE06.
    waiting : added cells that the sample does not have yet. They count in the choice of validation crystals, so that
        it is the same before and after they join.
    """
    added = {id: cell for id, cell in sample.items() if cell.edition == EDITION}
    parts = _split_three_editions({id: cell for id, cell in sample.items() if id not in added})
    trained = {sample[id].formula for id, part in parts.items() if part == "train"}
    chosen = split_additions({**added, **(waiting or {})}, trained)
    parts |= {id: chosen[id] for id in added}
    hse = _split_hybrids({id: sample[id].formula for id in hybrid}, parts)
    pbe = {id: part for id, part in parts.items() if part not in OOD}
    ood = {id: part for id, part in parts.items() if part in OOD}
    return {"pbe": _list_parts(pbe), "ood": _list_parts(ood), "hse": _list_parts(hse)}


def _split_three_editions(sample: Mapping[str, Cell]) -> dict[str, str]:
    first = {id: cell for id, cell in sample.items() if cell.edition == 1 and _is_first_edition(id, cell)}
    held_out = find_held_out_compositions({cell.formula for cell in first.values()})
    parts = _split_first_edition(first, held_out)
    trained = {element for id, cell in first.items() if parts[id] == "train" for element in cell.elements}
    parts |= _split_second_edition({id: c for id, c in sample.items() if id not in first}, first, trained, held_out)
    parts = move_compositions_to_validation(sample, parts)
    return separate_rare_elements(sample, parts)


def find_held_out_compositions(formulas: set[str]) -> set[str]:
    """The formulas that are held out; each of their elements occurs in two or more of the other formulas."""
    taken: set[str] = set()
    for formula in sorted(formulas, key=order_key):
        if not find_rare_elements(formula, formulas - taken - {formula}):
            taken.add(formula)
        if len(taken) == HELD_OUT:
            break
    return taken


def find_rare_elements(formula: str, others: Set[str]) -> set[str]:
    """The elements of a formula that occur in fewer than MIN_OTHERS of the other formulas."""
    known = [elements_of(other) for other in others]
    return {e for e in elements_of(formula) if sum(e in elements for elements in known) < MIN_OTHERS}


def _is_first_edition(id: str, cell: Cell) -> bool:
    """Whether the first edition has the cell: it has pristine crystals and displaced cells."""
    return cell.parent == id or id.startswith(f"{cell.parent}-d")


def _split_first_edition(first: Mapping[str, Cell], held_out: set[str]) -> dict[str, str]:
    parts: dict[str, str] = {}
    displaced: dict[str, list[str]] = {}
    for id, cell in first.items():
        if cell.formula in held_out:
            parts[id] = "test_compositions"
        elif cell.parent == id:
            parts[id] = "train"
        else:
            displaced.setdefault(cell.formula, []).append(id)
    for ids in displaced.values():
        for rank, id in enumerate(sorted(ids, key=order_key)):
            parts[id] = ("test_geometries", "validation_geometries")[rank] if rank < 2 else "train"
    return parts


def _split_second_edition(
    second: Mapping[str, Cell], first: Mapping[str, Cell], trained: set[str], held_out: set[str]
) -> dict[str, str]:
    first_types = {cell.prototype for cell in first.values()}
    train_types = first_types | {cell.prototype for cell in second.values() if not cell.elements <= trained}
    parts = {id: "test_types" for id, cell in second.items() if cell.prototype not in train_types}
    train = {
        id: cell
        for id, cell in second.items()
        if id not in parts and (cell.prototype not in first_types or not cell.elements <= trained)
    }
    seen_pairs = {pair for cell in [*first.values(), *train.values()] for pair in cell.pairs}
    for id, cell in second.items():
        if id in parts:
            continue
        part = "test_compositions" if cell.formula in held_out else "train"
        parts[id] = part if cell.pairs <= seen_pairs else "test_pairs"
    return parts


def move_compositions_to_validation(cells: Mapping[str, Cell], parts: Mapping[str, str]) -> dict[str, str]:
    """The part of each cell after formulas that only train moved to validation, where no test crystal needs them."""
    train = _find_training_formulas(cells, parts)
    candidates = train - {cells[id].formula for id, part in parts.items() if part != "train"}
    types = {formula: {cell.prototype for cell in cells.values() if cell.formula == formula} for formula in train}
    tested = {cells[id].prototype for id, part in parts.items() if part == "test_pairs"}
    taken: set[str] = set()
    for formula in sorted(candidates, key=order_key):
        others = train - taken - {formula}
        other_types = set().union(*(types[other] for other in others))
        if not find_rare_elements(formula, others) and types[formula] & tested <= other_types:
            taken.add(formula)
        if len(taken) == VALIDATION:
            break
    return {id: "validation_compositions" if cells[id].formula in taken else part for id, part in parts.items()}


def separate_rare_elements(cells: Mapping[str, Cell], parts: Mapping[str, str]) -> dict[str, str]:
    """The part of each cell after crystals of test_pairs with a rare element moved to test_rare_elements."""
    train = _find_training_formulas(cells, parts)
    rare = {id for id, part in parts.items() if part == "test_pairs" and find_rare_elements(cells[id].formula, train)}
    return {id: "test_rare_elements" if id in rare else part for id, part in parts.items()}


def _find_training_formulas(cells: Mapping[str, Cell], parts: Mapping[str, str]) -> set[str]:
    return {cells[id].formula for id, part in parts.items() if part == "train"}


def _split_hybrids(formulas: Mapping[str, str], parts: Mapping[str, str]) -> dict[str, str]:
    test = {id: parts[id] for id in formulas if parts[id] in ("test_compositions", *OOD)}
    others = sorted({f for id, f in formulas.items() if id not in test}, key=lambda f: order_key(f"hse:{f}"))
    validation = set(others[: max(2, len(others) // 8)])
    rest = {
        id: "validation_compositions" if f in validation else "train" for id, f in formulas.items() if id not in test
    }
    return test | rest


def _list_parts(part_of: Mapping[str, str]) -> Split:
    parts = {part: sorted(id for id, other in part_of.items() if other == part) for part in PARTS}
    for whole in ("validation", "test"):
        parts[whole] = sorted(id for part in SAMPLE_PARTS if part.startswith(f"{whole}_") for id in parts[part])
    return parts


def describe_cells() -> dict[str, Cell]:
    """The facts of every cell of the sample by id."""
    return _describe(make_cells() | make_joined_cells())


def describe_additions() -> dict[str, Cell]:
    """The facts of every added cell by id, whether it is in the sample already or not."""
    return _describe(make_addition_cells())


def _describe(records: Mapping[str, Mapping[str, Any]]) -> dict[str, Cell]:
    return {
        id: Cell(
            reduce_formula("".join(SYMBOLS[z] for z in record["numbers"])),
            record["prototype"],
            record["edition"],
            parent_of(id),
        )
        for id, record in records.items()
    }


def split_three_editions() -> tuple[dict[str, Cell], dict[str, Split]]:
    """The facts of the cells of the first three editions by id, and their parts: added crystals are chosen by these."""
    cells = _describe(make_cells())
    return cells, make_splits(cells, set(select_hybrids()))


def plan_additions() -> dict[str, str]:
    """The part of each added cell by id, whether it is in the sample already or not."""
    cells, splits = split_three_editions()
    return split_additions(describe_additions(), {cells[id].formula for id in splits["pbe"]["train"]})


def make_manifest() -> dict[str, Any]:
    """The contents of splits.json: the rule, the parts of all sets, and the SHA-256 of the parts."""
    cells = describe_cells()
    waiting = {id: cell for id, cell in describe_additions().items() if id not in cells}
    parts = make_splits(cells, set(select_hybrids()), waiting)
    return {"rule": RULE, "sha256": hash_parts(parts), **parts}


def hash_parts(parts: Mapping[str, Split]) -> str:
    """The SHA-256 of the parts of the three sets, as compact JSON with sorted keys."""
    sets = {name: parts[name] for name in ("pbe", "hse", "ood")}
    return hashlib.sha256(json.dumps(sets, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def write_manifest(path: Path = MANIFEST) -> None:
    """Write splits.json."""
    path.write_text(json.dumps(make_manifest(), indent=1) + "\n")
