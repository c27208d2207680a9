"""Overlaps between the crystals that trained the model of a task and the crystals that test it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ecd_data.release.formula import formula_in_id, reduce_formula
from ecd_data.release.split_files import read_gaps

Split = Mapping[str, list[str]]


@dataclass(frozen=True)
class Leakage:
    """The test crystals of a task that its model may have seen in training, counted by id and by reduced formula.

    Attributes
    ----------
    task : the name of the task.
    test : the number of its test crystals.
    own : how many of them are in the train and validation lists of the task itself.
    pretrained_on : the task whose model this one starts from; None without one.
    pretraining : how many of the test crystals are in the train, validation and test lists of `pretrained_on`, and in
        "none".
    set_train_in_pretraining_test : how many crystals of the set's train list are test crystals of `pretrained_on`.
    same_formula : how many test crystals share their reduced formula with a training crystal; None if no formula is
        known.
    test_with_formula : how many test crystals have a known formula.
    train_without_formula : how many training crystals have none.
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
        """The larger of two counts of test crystals: those in the task's own train list, those in the pretraining's."""
        return max(self.own["train"], self.pretraining.get("train", 0))

    def __str__(self) -> str:
        own, pretraining = self.own, self.pretraining
        lines = [
            f"{self.task}: of {self.test:,} test crystals {own['train']:,} are in the task's own train list, "
            f"{own['validation']:,} in its validation list"
        ]
        if pretraining and pretraining["none"] == self.test:
            lines.append(
                f"{self.pretrained_on} (pretraining) names its crystals differently: ids cannot show an overlap"
            )
        elif pretraining:
            lines += [
                f"{self.pretrained_on} (pretraining): {pretraining['train']:,} of {self.test:,} in train, "
                f"{pretraining['validation']:,} in validation, {pretraining['test']:,} in test, "
                f"{pretraining['none']:,} in none",
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


def count_overlaps(
    task: str, split: Split, pretrained_on: str | None, pretraining: Split | None, set_train: list[str]
) -> Leakage:
    """The Leakage of a task: the overlaps of its test part with its other parts and with those of the pretraining.

    Parameters
    ----------
    task : the name of the task.
    split, pretraining : the ids by part of the task and of the task that its model starts from.
    pretrained_on : the name of the latter; None without one.
    set_train : the ids of the train list of the task's set.
    """
    test = set(split["test"])
    pretraining = pretraining or {}
    parts = {name: test.intersection(ids) for name, ids in pretraining.items()}
    counts = {name: len(ids) for name, ids in parts.items()}
    if pretraining:
        counts["none"] = len(test.difference(*parts.values()))
    same, with_formula, without_formula = _count_shared_formulas(test, {*split["train"], *pretraining.get("train", [])})
    return Leakage(
        task=task,
        test=len(test),
        own={part: len(test.intersection(split[part])) for part in ("train", "validation")},
        pretrained_on=pretrained_on,
        pretraining=counts,
        set_train_in_pretraining_test=len(set(set_train).intersection(pretraining.get("test", []))),
        same_formula=same,
        test_with_formula=with_formula,
        train_without_formula=without_formula,
    )


def _count_shared_formulas(test: Iterable[str], train: Iterable[str]) -> tuple[int | None, int, int]:
    """The fields same_formula, test_with_formula and train_without_formula of a Leakage."""
    compounds = {row["id"]: reduce_formula(row["formula"]) for row in read_gaps()}
    test_formulas = [formula for id in test if (formula := compounds.get(id) or formula_in_id(id))]
    train_formulas = [formula_in_id(id) for id in train]
    seen = set(train_formulas)
    same = sum(formula in seen for formula in test_formulas) if test_formulas else None
    return same, len(test_formulas), train_formulas.count(None)
