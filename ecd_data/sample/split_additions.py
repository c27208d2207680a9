"""The parts of the split that the added crystals join: most train, some validate, none tests.

splits.json does not have them yet; they join it when their densities are computed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from ecd_data.sample.additions import WANTED_FORMULAS, load_additions, make_displaced_additions
from ecd_data.sample.cells import parent_of
from ecd_data.sample.held_out import find_formula, to_crystal
from ecd_data.sample.split import describe_cells, elements_of, make_manifest

COMPOSITIONS = 10  # formulas that go to validation_compositions
GEOMETRIES = 10  # compounds of which one displaced cell goes to validation_geometries
RULE = (
    "Added crystals are chosen so that no test part loses its meaning, and none of them is in a test part. Visit the"
    " formulas of added compounds in order of sha256(formula); one goes to validation_compositions, with all its cells,"
    f" if each of its elements occurs in at least {WANTED_FORMULAS} other formulas that train, until {COMPOSITIONS} are"
    f" taken. Of the other compounds with displaced cells, the first {GEOMETRIES} in order of sha256(formula) give the"
    " displaced cell with the smallest sha256(id) to validation_geometries. The rest trains."
)


def split_additions() -> dict[str, str]:
    """The part of each added cell by id: "train", "validation_compositions" or "validation_geometries"."""
    crystals = load_additions()
    cells = crystals | make_displaced_additions(crystals)
    formulas = {id: find_formula(to_crystal(record)) for id, record in cells.items()}
    facts = describe_cells()
    trained = {facts[id].formula for id in make_manifest()["pbe"]["train"]}
    validated = choose_validation(set(formulas.values()), trained)
    parts = {id: "validation_compositions" if f in validated else "train" for id, f in formulas.items()}
    return parts | dict.fromkeys(_choose_geometries(formulas, validated), "validation_geometries")


def choose_validation(added: set[str], trained: set[str]) -> set[str]:
    """The added formulas for validation_compositions; each of their elements trains in 4 or more other formulas."""
    taken: set[str] = set()
    for formula in sorted(added, key=_hash):
        elements = elements_of(formula)
        others = [elements_of(other) for other in (added | trained) - taken - {formula}]
        if len(elements) > 1 and all(sum(e in one for one in others) >= WANTED_FORMULAS for e in elements):
            taken.add(formula)
        if len(taken) == COMPOSITIONS:
            break
    return taken


def _choose_geometries(formulas: Mapping[str, str], validated: set[str]) -> list[str]:
    displaced = [id for id, formula in formulas.items() if parent_of(id) != id and formula not in validated]
    compounds = sorted({formulas[id] for id in displaced}, key=_hash)[:GEOMETRIES]
    return [min((id for id in displaced if formulas[id] == formula), key=_hash) for formula in compounds]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
