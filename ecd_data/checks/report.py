"""What a check found: problems, flags, and a sentence for each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

FLAGS = {
    "negative": "less than a hundredth of the charge is negative",
    "no-elements": "the header names no elements",
    "spin": "it has a magnetization",
    "non-collinear": "its magnetization is a vector",
    "no-magnetization": "the run was spin-polarized, the file has no magnetization",
    "all-electron": "it holds core electrons, or valence electrons with their cusps: AECCAR",
    "pseudo-density": "it lacks the compensation charges of the atoms: GPAW's .gpw",
    "unit-guessed": "the file leaves the unit open, and its electrons are possible in both",
    "xsf-ends-guessed": "whether the last points of an XSF's grid repeat the first is not sure",
    "spin-guessed": "which of its spins a grid is follows from its name alone, and is not sure",
    "other-grid": "the grid is not the one that VASP takes for this cell, ENCUT and PREC",
    "uneven-grid": "the spacing of the grid points differs by more than 1.6 between the axes",
    "fractional-count": "no run states the electrons, and the grid does not integrate to a whole number of them",
    "few-electrons": "no run states the electrons, and there is less than one for each atom heavier than H",
    "close-atoms": "two atoms are nearer than 0.6 Å",
    "predicted": "a model made it",
    "charged": "NELECT is not the sum of the ions' valences",
    "frozen-density": "the density was read and kept, so it is that of an earlier run",
    "hse-with-u": "LDA+U together with a hybrid",
    "not-converged": "the last electronic loop did not reach EDIFF",
    "unfinished": "the run did not come to its end",
    "relaxation": "the run moved the atoms",
    "other-settings": "not the settings of the ECD release",
    "run-not-used": "a run file beside it is of another crystal, or cannot be read",
    "duplicate": "another entry has the same crystal and the same density",
    "pair-grid": "the PBE density has another grid",
    "pair-missing": "there is no PBE density of this name to compare with",
}
PROBLEMS = {
    "not-finite": "NaN or infinite values",
    "electron-count": "the grid does not integrate to the electrons of the run, or to an impossible number",
    "negative-charge": "more than a hundredth of the charge is negative",
    "magnetization": "the magnetization exceeds the density, or is not the moment of the run",
    "augmentation": "augmentation occupancies that do not fit the atoms and grids",
    "grid-mismatch": "the grid is not the one that the run states",
    "axes-permuted": "the grid fits the cell in another order of the axes",
    "pair-crystal": "the PBE density is of another crystal",
    "pair-axes": "the PBE density has the same axes in another order",
    "unreadable": "the file or store entry cannot be read",
}


class Finding(str):
    """A problem as a sentence, with its stable `name`."""

    name: str

    def __new__(cls, name: str, sentence: str) -> Finding:
        finding = super().__new__(cls, sentence)
        finding.name = name
        return finding

    def __getnewargs__(self) -> tuple[str, str]:  # type: ignore[override]
        return self.name, str(self)


@dataclass(frozen=True)
class Report:
    """problems make a density unfit for the benchmark; flags are facts that a loader can filter by.

    A problem is a sentence that knows its name; a flag is a name, and notes has a sentence for some of them.
    """

    problems: tuple[Finding, ...] = ()
    flags: tuple[str, ...] = ()
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def __add__(self, other: Report) -> Report:
        flags = tuple(dict.fromkeys((*self.flags, *other.flags)))
        return Report((*self.problems, *other.problems), flags, {**self.notes, **other.notes})

    def as_dict(self) -> dict[str, Any]:
        """For JSON: "ok", "problems" {name: sentence} and "flags" {name: sentence}."""
        return {
            "ok": self.ok,
            "problems": {p.name: str(p) for p in self.problems},
            "flags": {name: self.notes.get(name, FLAGS.get(name, "")) for name in self.flags},
        }


def problem(name: str, sentence: str) -> Report:
    """A Report of one problem."""
    return Report((Finding(name, sentence),))


def flag(name: str, note: str | None = None) -> Report:
    """A Report of one flag."""
    return Report((), (name,), {name: note} if note else {})


def combined(reports: Iterable[Report]) -> Report:
    """All of the reports as one."""
    return sum(reports, Report())
