"""The split of the sample: a rule on formulas and ids alone, fixed before any model was trained."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ecd_data.crystal import SYMBOLS
from ecd_data.release.formula import TERM, reduced
from ecd_data.sample.cells import displaced, parent_of, pristine

MANIFEST = Path(__file__).with_name("splits.json")
HELD_OUT = 12
MIN_OTHERS = 2
MIN_HSE_TEST = 3
RULE = (
    "Compositions: visit the reduced formulas of the PBE crystals in order of sha256(formula); one is held out,"
    f" with all its cells, if each of its elements occurs in at least {MIN_OTHERS} other formulas that stay, until"
    f" {HELD_OUT} are taken (test_compositions). Displaced cells of a composition that stays, in order of sha256(id):"
    " the first is in test_geometries, the second in validation, the rest in train. Pristine cells that stay: train."
    " HSE06: the same compositions are held out; the staying formulas, in order of sha256('hse:' + formula), fill the"
    f" test up to {MIN_HSE_TEST} formulas if it has fewer, the next max(2, n // 8) of the n staying formulas go to"
    " validation, the rest to train. test is the union of test_compositions and test_geometries."
)
PARTS = ("train", "validation", "test", "test_geometries", "test_compositions")
Split = dict[str, list[str]]


def splits_of(pbe: Mapping[str, str], hse: Mapping[str, str]) -> dict[str, Split]:
    """The parts {"pbe": ..., "hse": ...} of two sets given as reduced formulas by id; every list is sorted.

    The parts are train, validation, test, test_geometries and test_compositions; test is the union of the last two.
    """
    held_out = held_out_compositions(set(pbe.values()))
    return {"pbe": _pbe_split(pbe, held_out), "hse": _hse_split(hse, held_out)}


def held_out_compositions(formulas: set[str]) -> set[str]:
    """The formulas held out; each of their elements occurs in two or more of the others."""
    taken: set[str] = set()
    for formula in sorted(formulas, key=_hash):
        others = [_elements(f) for f in formulas - taken - {formula}]
        if all(sum(element in other for other in others) >= MIN_OTHERS for element in _elements(formula)):
            taken.add(formula)
        if len(taken) == HELD_OUT:
            break
    return taken


def _pbe_split(formulas: Mapping[str, str], held_out: set[str]) -> Split:
    places: dict[str, str] = {}
    cells: dict[str, list[str]] = {}
    for id, formula in formulas.items():
        if formula in held_out:
            places[id] = "test_compositions"
        elif parent_of(id) == id:
            places[id] = "train"
        else:
            cells.setdefault(formula, []).append(id)
    for ids in cells.values():
        for rank, id in enumerate(sorted(ids, key=_hash)):
            places[id] = ("test_geometries", "validation")[rank] if rank < 2 else "train"
    return _parts(places)


def _hse_split(formulas: Mapping[str, str], held_out: set[str]) -> Split:
    staying = sorted(set(formulas.values()) - held_out, key=lambda formula: _hash(f"hse:{formula}"))
    test = set(formulas.values()) & held_out
    test |= set(staying[: max(0, MIN_HSE_TEST - len(test))])
    left = [formula for formula in staying if formula not in test]
    validation = set(left[: max(2, len(staying) // 8)])

    def place(formula: str) -> str:
        if formula in test:
            return "test_compositions"
        return "validation" if formula in validation else "train"

    return _parts({id: place(formula) for id, formula in formulas.items()})


def _parts(places: Mapping[str, str]) -> Split:
    parts = {part: sorted(id for id, place in places.items() if place == part) for part in PARTS}
    parts["test"] = sorted(parts["test_geometries"] + parts["test_compositions"])
    return parts


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _elements(formula: str) -> set[str]:
    return {element for element, _ in TERM.findall(formula)}


def sample_formulas(functional: str) -> dict[str, str]:
    """The reduced formula of every id of the sample with a functional ("pbe" or "hse")."""
    records = pristine(functional) | (displaced() if functional == "pbe" else {})
    return {id: reduced("".join(SYMBOLS[z] for z in record["numbers"])) for id, record in records.items()}


def manifest() -> dict[str, Any]:
    """The contents of splits.json: the rule, the parts of both sets, and the SHA-256 of the parts as compact JSON."""
    parts = splits_of(sample_formulas("pbe"), sample_formulas("hse"))
    return {"rule": RULE, "sha256": parts_sha256(parts), **parts}


def parts_sha256(parts: Mapping[str, Split]) -> str:
    """The SHA-256 of the parts of both sets, as compact JSON with sorted keys."""
    both = {functional: parts[functional] for functional in ("pbe", "hse")}
    return _hash(json.dumps(both, sort_keys=True, separators=(",", ":")))


def write_manifest(path: Path = MANIFEST) -> None:
    """Writes splits.json anew."""
    path.write_text(json.dumps(manifest(), indent=1) + "\n")
