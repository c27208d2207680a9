"""The result of a check: problems and flags, with a sentence for each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

FLAGS = {
    "negative": "less than 1 % of the charge is negative",
    "no-elements": "the header names no elements",
    "spin": "it has a magnetization",
    "non-collinear": "its magnetization is a vector",
    "no-magnetization": "the run was spin-polarized, but the file has no magnetization",
    "all-electron": "it contains core electrons, or valence electrons with cusps at the nuclei (AECCAR)",
    "pseudo-density": "it lacks the compensation charges of the atoms (GPAW's .gpw)",
    "unit-guessed": "the file does not state its unit, and its electron count is possible in both units",
    "xsf-ends-guessed": "the file does not say whether the last points of its XSF grid repeat the first",
    "spin-guessed": "only the name of a grid says which spin it has",
    "other-grid": "the grid is not the one that VASP chooses for this cell, ENCUT and PREC",
    "uneven-grid": "the spacing of the grid points differs by more than a factor of 1.6 between the axes",
    "fractional-count": "no run states the electron count, and the integral of the grid is not a whole number",
    "few-electrons": "no run states the electron count, and it is less than one for each atom heavier than H",
    "close-atoms": "two atoms are nearer than 0.6 Å",
    "predicted": "a model made it",
    "charged": "NELECT is not the sum of the ions' valences",
    "frozen-density": "the run read the density and kept it, so it is that of an earlier run",
    "hse-with-u": "LDA+U was used together with a hybrid functional",
    "not-converged": "the last electronic loop did not reach EDIFF",
    "unfinished": "the run did not finish",
    "relaxation": "the run moved the atoms",
    "other-settings": "the settings are not those of the ECD release",
    "run-not-used": "a run file in its folder belongs to another crystal or cannot be read",
    "duplicate": "another entry has the same crystal and the same density",
    "pair-grid": "the PBE density has another grid",
    "pair-missing": "there is no PBE density of this name to compare with, or it cannot be read",
}
PROBLEMS = {
    "not-finite": "some values are NaN or infinite",
    "electron-count": "the integral of the grid is not the electron count of the run, or is impossible",
    "negative-charge": "more than 1 % of the charge is negative",
    "magnetization": "the magnetization exceeds the density, or its moment is not that of the run",
    "derived": "it was computed from densities: a difference, a sum or a multiple of them",
    "partial": "it is a part of a run's density (PARCHG)",
    "augmentation": "the augmentation occupancies do not fit the atoms and grids",
    "grid-mismatch": "the grid is not the one that the run states",
    "axes-permuted": "the grid fits the cell in another order of the axes",
    "pair-crystal": "the PBE density has another crystal",
    "pair-axes": "the PBE density has the same axes in another order",
    "unreadable": "the file or store entry cannot be read",
}


class Finding(str):
    """The sentence of a problem, with the stable `name` of the problem.

    Conversion writes these sentences into the store, so another wording changes the bytes of a store.
    """

    name: str

    def __new__(cls, name: str, sentence: str) -> Finding:
        finding = super().__new__(cls, sentence)
        finding.name = name
        return finding

    def __getnewargs__(self) -> tuple[str, str]:  # type: ignore[override]
        return self.name, str(self)


@dataclass(frozen=True)
class Report:
    """The problems and flags of a density.

    problems: sentences, each with its name, of what makes the density unfit for the benchmark; flags: names of facts
    that a loader can filter by; notes: a sentence for some of the flags, by name.
    """

    problems: tuple[Finding, ...] = ()
    flags: tuple[str, ...] = ()
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether there are no problems."""
        return not self.problems

    def __add__(self, other: Report) -> Report:
        flags = tuple(dict.fromkeys((*self.flags, *other.flags)))
        return Report((*self.problems, *other.problems), flags, {**self.notes, **other.notes})

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON holds it: "ok", "problems" {name: sentence} and "flags" {name: sentence}."""
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


def combine_reports(reports: Iterable[Report]) -> Report:
    """One Report with the problems and flags of several."""
    return sum(reports, Report())
