"""Training crystals that are similar to test crystals: the same id, compound, prototype or structure.

The paper removes the ECD training crystals that are identical to a Materials Project test crystal. It states neither
which ones nor how it compares them; here two crystals are identical where pymatgen's StructureMatcher, with its default
tolerances, maps one onto the other. Structures are those of the stores' indexes, so no density is read.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ecd_data.crystal import Crystal
from ecd_data.errors import EcdError, UsageError
from ecd_data.release.formula import reduce_formula
from ecd_data.store.reader import Store
from ecd_data.work.process_pool import LostJob, run_jobs

if TYPE_CHECKING:
    from pymatgen.analysis.structure_matcher import StructureMatcher

RULES = {
    "id": "the same id",
    "formula": "the same reduced formula",
    "prototype": "the same prototype: space group, Wyckoff positions and ratios, whatever the elements",
    "structure": "the same structure: StructureMatcher maps one onto the other",
}
TOLERANCES: dict[str, Any] = {"ltol": 0.2, "stol": 0.3, "angle_tol": 5.0}  # of StructureMatcher: its defaults
PROTOTYPES_PER_JOB = 200  # crystals that a process gets at a time: passing them costs little then

Pairs = dict[str, list[str]]
Labels = dict[str, str]


@dataclass(frozen=True)
class Crystals:
    """Some crystals of a store, by their ids."""

    store: Store
    ids: Sequence[str]

    def formulas(self) -> Labels:
        """The reduced formula of each crystal."""
        columns = self.store.columns("id", "formula").to_pydict()
        wanted = set(self.ids)
        pairs = zip(columns["id"], columns["formula"], strict=True)
        return {id: reduce_formula(formula) for id, formula in pairs if id in wanted}

    def structures(self, ids: Iterable[str]) -> dict[str, Crystal]:
        """The crystals with these ids, from the index of the store."""
        columns = self.store.columns("lattice", "numbers", "frac_coords")
        found = {}
        for id in ids:
            lattice, numbers, coords = (columns[name][self._rows[id]].as_py() for name in columns.column_names)
            found[id] = Crystal(np.array(lattice), np.array(numbers), np.array(coords).reshape(-1, 3))
        return found

    @cached_property
    def _rows(self) -> dict[str, int]:
        """The row of each crystal in the index."""
        return {id: row for row, id in enumerate(self.store.columns("id")["id"].to_pylist())}


@dataclass(frozen=True)
class Overlap:
    """The training crystals that are similar to test crystals by a rule of RULES.

    matches: the test crystals by training crystal. unreadable: crystals whose prototype or structure cannot be found.
    """

    rule: str
    train: int
    test: int
    matches: Pairs
    unreadable: list[str]

    @property
    def affected(self) -> set[str]:
        """The test crystals that are similar to a training crystal."""
        return {id for ids in self.matches.values() for id in ids}

    def __str__(self) -> str:
        line = (
            f"{RULES[self.rule].partition(':')[0]}: {len(self.affected):,} of {self.test:,} test crystals, "
            f"{len(self.matches):,} of {self.train:,} training crystals"
        )
        return line + (f"; {len(self.unreadable):,} could not be compared" if self.unreadable else "")


def find_overlap(
    train: Crystals,
    test: Crystals,
    rule: str = "structure",
    workers: int = 1,
    advance: Callable[[int], None] | None = None,
) -> Overlap:
    """The Overlap of training crystals with test crystals.

    Parameters
    ----------
    train, test : the crystals, of one store or of two.
    rule : one of RULES. "structure" compares only crystals of one reduced formula.
    workers : the number of processes for prototypes and structures.
    advance : a function that is called with the number of training crystals that were compared.

    Raises
    ------
    UsageError : there is no such rule.
    """
    if rule not in RULES:
        raise UsageError(f"there is no rule {rule!r} for similar crystals: take {', '.join(RULES)}")
    if rule == "structure":
        return _match_structures(train, test, workers, advance)
    failed: list[str] = []
    if rule == "prototype":
        one, two = (_find_prototypes(crystals, workers, failed, advance) for crystals in (train, test))
    else:
        one, two = (
            crystals.formulas() if rule == "formula" else {id: id for id in crystals.ids} for crystals in (train, test)
        )
    by_label: dict[str, list[str]] = defaultdict(list)
    for id, label in two.items():
        by_label[label].append(id)
    matches = {id: sorted(by_label[label]) for id, label in one.items() if label in by_label}
    return Overlap(rule, len(train.ids), len(test.ids), matches, sorted(set(failed)))


def _match_structures(train: Crystals, test: Crystals, workers: int, advance: Callable[[int], None] | None) -> Overlap:
    groups: dict[str, list[str]] = defaultdict(list)
    for id, formula in test.formulas().items():
        groups[formula].append(id)
    candidates = {id: formula for id, formula in train.formulas().items() if formula in groups}
    ours, theirs = train.structures(candidates), test.structures(id for ids in groups.values() for id in ids)
    jobs = (
        (id, ours[id], {other: theirs[other] for other in groups[formula]})
        for id, formula in sorted(candidates.items())
    )
    matches: Pairs = {}
    failed: list[str] = []
    with closing(run_jobs(_match_one, jobs, workers=workers)) as results:
        for (id, _, _), found in results:
            if isinstance(found, LostJob) or found is None:
                failed.append(id)
            elif found:
                matches[id] = found
            if advance is not None:
                advance(1)
    return Overlap("structure", len(train.ids), len(test.ids), matches, failed)


@cache
def _matcher() -> StructureMatcher:
    from pymatgen.analysis.structure_matcher import StructureMatcher

    return StructureMatcher(**TOLERANCES)


def _match_one(job: tuple[str, Crystal, Mapping[str, Crystal]]) -> list[str] | None:
    """The test crystals with the structure of a training crystal; None where it cannot be compared."""
    _, crystal, others = job
    try:
        structure = crystal.to_pymatgen()
        return sorted(id for id, other in others.items() if _matcher().fit(structure, other.to_pymatgen()))
    except (ValueError, ZeroDivisionError, np.linalg.LinAlgError):
        return None


def _find_prototypes(
    crystals: Crystals, workers: int, failed: list[str], advance: Callable[[int], None] | None
) -> Labels:
    """The prototype of each crystal; ids of crystals without one are added to `failed`."""
    labels: Labels = {}
    with closing(run_jobs(label_prototypes, _chunk(crystals), workers=workers)) as results:
        for chunk, found in results:
            found = dict.fromkeys(chunk) if isinstance(found, LostJob) else found
            labels |= {id: label for id, label in found.items() if label is not None}
            failed += [id for id, label in found.items() if label is None]
            if advance is not None:
                advance(len(chunk))
    return labels


def _chunk(crystals: Crystals) -> Iterator[dict[str, Crystal]]:
    for start in range(0, len(crystals.ids), PROTOTYPES_PER_JOB):
        yield crystals.structures(crystals.ids[start : start + PROTOTYPES_PER_JOB])


def label_prototypes(crystals: Mapping[str, Crystal]) -> dict[str, str | None]:
    """The prototype of each crystal such as "AB_cF8_225_a_b": ratios, Pearson symbol, space group, Wyckoff letters.

    None where spglib finds no symmetry.
    """
    return {id: _label_prototype(crystal) for id, crystal in crystals.items()}


def _label_prototype(crystal: Crystal) -> str | None:
    from pymatgen.analysis.prototypes import get_protostructure_label

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # spglib's and pymatgen's own, of features that change in their versions
            label = get_protostructure_label(crystal.to_pymatgen(), "spglib", raise_errors=True)
    except Exception:  # spglib and pymatgen raise many kinds for crystals without a symmetry that they can name
        return None
    return None if label is None else label.partition(":")[0]


def make_strict_twin(
    split: Mapping[str, Sequence[str]], overlaps: Sequence[Overlap]
) -> tuple[dict[str, list[str]], dict[str, dict[str, list[str]]]]:
    """A split whose train part lacks the training crystals of the overlaps, and the dropped ones by rule.

    Raises
    ------
    EcdError : no training crystal is left.
    """
    dropped = {overlap.rule: {id: overlap.matches[id] for id in sorted(overlap.matches)} for overlap in overlaps}
    gone = {id for matches in dropped.values() for id in matches}
    twin = {part: [id for id in ids if part != "train" or id not in gone] for part, ids in split.items()}
    if not twin.get("train"):
        raise EcdError("each training crystal is similar to a test crystal, so none is left: take a narrower rule")
    return twin, dropped


def hash_twin(twin: Mapping[str, Sequence[str]], about: Mapping[str, Any]) -> str:
    """The SHA-256 of a strict twin with what it was made from, whatever the order of its ids."""
    parts = {part: sorted(ids) for part, ids in twin.items()}
    return hashlib.sha256(json.dumps([parts, about], sort_keys=True).encode()).hexdigest()
