"""The split of the sample: a rule on formulas, structure types and ids alone, fixed before any model was trained."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Set
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from ecd_data.crystal import SYMBOLS
from ecd_data.release.formula import TERM, reduce_formula
from ecd_data.sample.cells import cells, hybrids, parent_of

MANIFEST = Path(__file__).with_name("splits.json")
HELD_OUT = 12
MIN_OTHERS = 2
RULE = (
    "First edition. Compositions: visit the reduced formulas in order of sha256(formula); one is held out, with all its"
    f" cells, if each of its elements occurs in at least {MIN_OTHERS} other formulas that stay, until {HELD_OUT} are"
    " taken (test_compositions). Displaced cells of a composition that stays, in order of sha256(id): the first is in"
    " test_geometries, the second in validation, the rest in train. Pristine cells that stay: train."
    " Second edition. Strained cells and supercells are made of compositions that stay: train. A crystal is trainable"
    " if the training cells of the first edition have all its elements. A structure type that the first edition lacks"
    " and whose crystals are all trainable is held out (test_types). A trainable crystal of another type that has two"
    " elements which stand together in no crystal of the first edition and in no crystal that trains is held out"
    " (test_pairs). The rest trains, or is in test_compositions with its formula. test_types and test_pairs are the"
    " configuration ood."
    " HSE06: a crystal of test_compositions, test_types or test_pairs with PBE is there with HSE06 too. Of the n"
    " formulas of the others, in order of sha256('hse:' + formula), the first max(2, n // 8) go to validation, the rest"
    " to train. test is the union of all test_*."
)
OOD = ("test_pairs", "test_types")
PARTS = ("train", "validation", "test", "test_geometries", "test_compositions", *OOD)
Split = dict[str, list[str]]


@dataclass(frozen=True)
class Cell:
    """What the rule knows of a cell: its reduced formula, structure type, edition, and the crystal it was made of."""

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
        """Every two of the elements."""
        return set(combinations(sorted(self.elements), 2))


def splits_of(sample: Mapping[str, Cell], hybrid: Set[str]) -> dict[str, Split]:
    """The parts {"pbe": ..., "ood": ..., "hse": ...} of cells by id, `hybrid` being the ids with HSE06; sorted."""
    first = {id: cell for id, cell in sample.items() if cell.edition == 1 and _natural(id, cell)}
    held_out = held_out_compositions({cell.formula for cell in first.values()})
    places = _first_edition(first, held_out)
    trained = {element for id, cell in first.items() if places[id] == "train" for element in cell.elements}
    places |= _second_edition({id: c for id, c in sample.items() if id not in first}, first, trained, held_out)
    hse = _hybrid_places({id: sample[id].formula for id in hybrid}, places)
    inside = {id: place for id, place in places.items() if place not in OOD}
    return {"pbe": _parts(inside), "ood": _parts(dict(places.items() - inside.items())), "hse": _parts(hse)}


def held_out_compositions(formulas: set[str]) -> set[str]:
    """The formulas held out; each of their elements occurs in two or more of the others."""
    taken: set[str] = set()
    for formula in sorted(formulas, key=_hash):
        others = [elements_of(f) for f in formulas - taken - {formula}]
        if all(sum(element in other for other in others) >= MIN_OTHERS for element in elements_of(formula)):
            taken.add(formula)
        if len(taken) == HELD_OUT:
            break
    return taken


def _natural(id: str, cell: Cell) -> bool:
    """Whether the first edition has the cell: crystals and their displaced cells."""
    return cell.parent == id or id.startswith(f"{cell.parent}-d")


def _first_edition(first: Mapping[str, Cell], held_out: set[str]) -> dict[str, str]:
    places: dict[str, str] = {}
    displaced: dict[str, list[str]] = {}
    for id, cell in first.items():
        if cell.formula in held_out:
            places[id] = "test_compositions"
        elif cell.parent == id:
            places[id] = "train"
        else:
            displaced.setdefault(cell.formula, []).append(id)
    for ids in displaced.values():
        for rank, id in enumerate(sorted(ids, key=_hash)):
            places[id] = ("test_geometries", "validation")[rank] if rank < 2 else "train"
    return places


def _second_edition(
    second: Mapping[str, Cell], first: Mapping[str, Cell], trained: set[str], held_out: set[str]
) -> dict[str, str]:
    known = {cell.prototype for cell in first.values()}
    staying_types = known | {cell.prototype for cell in second.values() if not cell.elements <= trained}
    places = {id: "test_types" for id, cell in second.items() if cell.prototype not in staying_types}
    staying = {
        id: cell
        for id, cell in second.items()
        if id not in places and (cell.prototype not in known or not cell.elements <= trained)
    }
    shown = {pair for cell in [*first.values(), *staying.values()] for pair in cell.pairs}
    for id, cell in second.items():
        if id in places:
            continue
        stays = "test_compositions" if cell.formula in held_out else "train"
        places[id] = stays if cell.pairs <= shown else "test_pairs"
    return places


def _hybrid_places(formulas: Mapping[str, str], places: Mapping[str, str]) -> dict[str, str]:
    outside = {id: places[id] for id in formulas if places[id] in ("test_compositions", *OOD)}
    staying = sorted(
        {f for id, f in formulas.items() if id not in outside}, key=lambda formula: _hash(f"hse:{formula}")
    )
    validation = set(staying[: max(2, len(staying) // 8)])
    inside = {id: "validation" if f in validation else "train" for id, f in formulas.items() if id not in outside}
    return outside | inside


def _parts(places: Mapping[str, str]) -> Split:
    parts = {part: sorted(id for id, place in places.items() if place == part) for part in PARTS}
    parts["test"] = sorted(id for part in PARTS if part.startswith("test_") for id in parts[part])
    return parts


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def elements_of(formula: str) -> frozenset[str]:
    """The elements of a reduced formula."""
    return frozenset(element for element, _ in TERM.findall(formula))


def sample_cells() -> dict[str, Cell]:
    """What the rule knows of every cell of the sample, by id."""
    return {
        id: Cell(
            reduce_formula("".join(SYMBOLS[z] for z in record["numbers"])),
            record["prototype"],
            record["edition"],
            parent_of(id),
        )
        for id, record in cells().items()
    }


def manifest() -> dict[str, Any]:
    """The contents of splits.json: the rule, the parts of all sets, and the SHA-256 of the parts as compact JSON."""
    parts = splits_of(sample_cells(), set(hybrids()))
    return {"rule": RULE, "sha256": parts_sha256(parts), **parts}


def parts_sha256(parts: Mapping[str, Split]) -> str:
    """The SHA-256 of the parts of the three sets, as compact JSON with sorted keys."""
    sets = {name: parts[name] for name in ("pbe", "hse", "ood")}
    return _hash(json.dumps(sets, sort_keys=True, separators=(",", ":")))


def write_manifest(path: Path = MANIFEST) -> None:
    """Writes splits.json anew."""
    path.write_text(json.dumps(manifest(), indent=1) + "\n")
