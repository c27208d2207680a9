"""The parts of the split that the added crystals join: most train, some validate, none tests."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import TYPE_CHECKING

from ecd_data.fixed_order import order_key
from ecd_data.release.formula import elements_of
from ecd_data.sample.additions import WANTED_FORMULAS

if TYPE_CHECKING:
    from ecd_data.sample.split import Cell

COMPOSITIONS = 10  # formulas that go to validation_compositions
GEOMETRIES = 10  # compounds of which one displaced cell goes to validation_geometries
RULE = (
    "Fourth edition. Added crystals are chosen so that no test part loses its meaning, and none of them is in one."
    " Visit the formulas of added compounds in order of sha256(formula); one goes to validation_compositions, with all"
    f" its cells, if each of its elements occurs in at least {WANTED_FORMULAS} other formulas that train or are added,"
    f" until {COMPOSITIONS} are taken. Of the other compounds with displaced cells, the first {GEOMETRIES} in order of"
    " sha256(formula) give the displaced cell with the smallest sha256(id) to validation_geometries. The rest trains."
    " All crystals of additions.json count here, those too whose densities are not computed yet."
)


def split_additions(added: Mapping[str, Cell], trained: Set[str]) -> dict[str, str]:
    """The part of each added cell by id: "train", "validation_compositions" or "validation_geometries".

    Parameters
    ----------
    added : the facts of the added cells by id.
    trained : the formulas that train without them.
    """
    validated = choose_validation({cell.formula for cell in added.values()}, trained)
    parts = {id: "validation_compositions" if cell.formula in validated else "train" for id, cell in added.items()}
    return parts | dict.fromkeys(_choose_geometries(added, validated), "validation_geometries")


def choose_validation(added: Set[str], trained: Set[str]) -> set[str]:
    """The added formulas for validation_compositions; each of their elements trains in 4 or more other formulas."""
    taken: set[str] = set()
    for formula in sorted(added, key=order_key):
        elements = elements_of(formula)
        others = [elements_of(other) for other in (added | trained) - taken - {formula}]
        if len(elements) > 1 and all(sum(e in one for one in others) >= WANTED_FORMULAS for e in elements):
            taken.add(formula)
        if len(taken) == COMPOSITIONS:
            break
    return taken


def _choose_geometries(added: Mapping[str, Cell], validated: Set[str]) -> list[str]:
    displaced = {id: c.formula for id, c in added.items() if c.parent != id and c.formula not in validated}
    compounds = sorted(set(displaced.values()), key=order_key)[:GEOMETRIES]
    return [min((id for id, other in displaced.items() if other == formula), key=order_key) for formula in compounds]
