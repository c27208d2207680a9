"""Overlaps between what a task's model was trained on and the crystals it is judged on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ecd_data.release.formula import formula_in, reduced
from ecd_data.release.split_files import gap_rows

Split = Mapping[str, list[str]]


@dataclass(frozen=True)
class Leakage:
    """What `ecd leakage TASK` prints: counts of a task's test crystals, by id and by reduced formula.

    own: test crystals in the task's own train and validation; pretraining: test crystals in the train, validation
    and test lists of `pretrained_on`, and "none"; set_train_in_pretraining_test: crystals of the set's train list on
    which the pretraining task is judged; same_formula: test crystals whose reduced formula a training crystal has as
    well, of the test_with_formula whose formula is known, None where that is none; train_without_formula: training
    crystals of which no formula is known.
    """

    task: str
    test: int
    own: dict[str, int]
    pretrained_on: str | None
    pretraining: dict[str, int]
    set_train_in_pretraining_test: int
    same_formula: int | None
    test_with_formula: int
    train_without_formula: int

    @property
    def seen(self) -> int:
        """Test crystals that are, by id, in a train list: the task's own or the pretraining's, the larger number."""
        return max(self.own["train"], self.pretraining.get("train", 0))

    def __str__(self) -> str:
        own, before = self.own, self.pretraining
        lines = [
            f"{self.task}: of {self.test:,} test crystals {own['train']:,} are in the task's own train list, "
            f"{own['validation']:,} in its validation list"
        ]
        if before and before["none"] == self.test:
            lines.append(
                f"{self.pretrained_on} (pretraining) names its crystals differently: ids cannot show an overlap"
            )
        elif before:
            lines += [
                f"{self.pretrained_on} (pretraining): {before['train']:,} of {self.test:,} in train, "
                f"{before['validation']:,} in validation, {before['test']:,} in test, {before['none']:,} in none",
                f"{self.set_train_in_pretraining_test:,} train crystals of this set are test crystals of "
                f"{self.pretrained_on}",
            ]
        return "\n".join([*lines, self._formula_line()])

    def _formula_line(self) -> str:
        if self.same_formula is None:
            return "by formula: unknown, the names of the test crystals carry none"
        line = f"by formula: {self.same_formula:,} of {self.test_with_formula:,} share it with a training crystal"
        if self.train_without_formula:
            line += f"; {self.train_without_formula:,} training crystals carry none in their names"
        return line


def leakage_between(
    task: str, split: Split, pretrained_on: str | None, pretraining: Split | None, set_train: list[str]
) -> Leakage:
    """The overlaps of `split`'s test part with its own and the pretraining's other parts."""
    test = set(split["test"])
    pretraining = pretraining or {}
    parts = {name: test.intersection(ids) for name, ids in pretraining.items()}
    counts = {name: len(ids) for name, ids in parts.items()}
    if pretraining:
        counts["none"] = len(test.difference(*parts.values()))
    same, named, unnamed = _formulas(test, {*split["train"], *pretraining.get("train", [])})
    return Leakage(
        task=task,
        test=len(test),
        own={part: len(test.intersection(split[part])) for part in ("train", "validation")},
        pretrained_on=pretrained_on,
        pretraining=counts,
        set_train_in_pretraining_test=len(set(set_train).intersection(pretraining.get("test", []))),
        same_formula=same,
        test_with_formula=named,
        train_without_formula=unnamed,
    )


def _formulas(test: Iterable[str], trained: Iterable[str]) -> tuple[int | None, int, int]:
    """How many test crystals share a formula with a training crystal, have one, and training crystals have none."""
    compounds = {row["id"]: reduced(row["formula"]) for row in gap_rows()}
    known = [formula for id in test if (formula := compounds.get(id) or formula_in(id))]
    trained_formulas = [formula_in(id) for id in trained]
    seen = set(trained_formulas)
    same = sum(formula in seen for formula in known) if known else None
    return same, len(known), trained_formulas.count(None)
