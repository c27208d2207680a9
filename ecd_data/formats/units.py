"""Units of other programs in Å and eV, and the unit of the densities in a file whose format leaves it open."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecd_data.errors import UsageError

# CODATA 2018; `ecd_data.vasp_grid` has those of VASP
BOHR = 0.529177210903  # Å
HARTREE = 27.211386245988  # eV
RYDBERG = HARTREE / 2  # eV
EV_PER_A3 = 160.2176634  # GPa
PER_BOHR3, PER_ANGSTROM3 = "e/bohr^3", "e/Å^3"
TO_PER_ANGSTROM3 = {PER_ANGSTROM3: 1.0, PER_BOHR3: BOHR**-3}  # factor from each unit to e/Å^3
WHOLE_TOLERANCE = 1e-3  # electrons: the count on a fine grid lies as near to a whole number
NEARLY_WHOLE_TOLERANCE = 1e-2  # electrons: the count on a coarser grid
# Largest number of electrons for each proton: a coarse grid with core electrons integrates to too many
MAX_PER_PROTON = 1.05
IMPOSSIBLE_PER_PROTON = 2.0  # no density has more electrons for each proton, not even one on a very coarse grid
MIN_VALENCE_SHARE = 0.9  # a whole density, charged or not, has at least this share of the least valence electrons
# Of the noble gases, without and with closed d and f shells
CORE_ELECTRONS = (0, 2, 10, 18, 28, 36, 46, 54, 68, 78, 86, 100, 110)
UNIT_GUESSED = "unit-guessed"  # the flag of a density whose unit may be another one
UNIT_NAME = re.compile(r"(?:e|el|electrons?|1)?(?:/|per)(?P<length>.+)3")
ANGSTROM = {"a", "å", "ang", "angstrom", "angstroms", "ångström", "ångströms", "ångstrom", "ångstroms"}
ATOMIC_UNIT = {"bohr", "bohrs", "a0", "a_0", "au", "a.u.", "b"}


def parse_unit(name: str) -> str:
    """The unit, PER_BOHR3 or PER_ANGSTROM3, that a text names, such as "e/A^3", "e/Å³", "electrons/bohr^3", "e/a0^3".

    Raises
    ------
    UsageError : the text names no such unit.
    """
    plain = re.sub(r"[\s^*()]", "", unicodedata.normalize("NFKC", str(name))).lower()
    match = UNIT_NAME.fullmatch(plain)
    if match and match["length"] in ANGSTROM:
        return PER_ANGSTROM3
    if match and match["length"] in ATOMIC_UNIT:
        return PER_BOHR3
    raise UsageError(f"{name!r} is not a unit of densities: give 'e/A^3' or 'e/bohr^3'")


@dataclass(frozen=True)
class Count:
    """How plausible a number of electrons is for a crystal.

    held: the nuclei can bind so many; possible: a coarse grid may integrate to so many; whole: 2 for a whole number, 1
    for nearly one, else 0; enough: the elements have at least so many valence electrons.
    """

    electrons: float
    held: bool
    possible: bool
    whole: int
    enough: bool

    @property
    def rank(self) -> tuple[bool, bool, int, float]:
        """A key that sorts counts by plausibility; the larger of equal ones wins, or the smaller if neither is held."""
        return self.held, self.enough, self.whole if self.held else 0, self.electrons * (1 if self.held else -1)


def judge_count(electrons: float, numbers: NDArray) -> Count:
    """How plausible so many electrons are in a crystal of atoms with these atomic numbers [n]."""
    nuclear = float(np.sum(numbers)) if numbers.all() else np.inf
    off = abs(electrons - round(electrons)) if electrons > 0.5 else 1.0
    return Count(
        electrons,
        held=0 < electrons <= MAX_PER_PROTON * nuclear + 1,
        possible=0 < electrons <= IMPOSSIBLE_PER_PROTON * nuclear,
        whole=2 if off < WHOLE_TOLERANCE else 1 if off < NEARLY_WHOLE_TOLERANCE else 0,
        enough=electrons >= MIN_VALENCE_SHARE * sum(least_valence(int(number)) for number in numbers),
    )


def least_valence(number: int) -> int:
    """The least valence electrons that a pseudopotential of an element has: those outside closed shells.

    2 for lanthanides and actinides, whose f shell may be in the core; 1 for an unknown element (0).
    """
    if 57 <= number <= 71 or 89 <= number <= 103:
        return 2
    return number - max(core for core in CORE_ELECTRONS if core < number) if number else 1


def guess_unit(electrons: float, numbers: NDArray) -> tuple[str, str | None]:
    """The unit with the more plausible electron count, and a sentence if the other is possible too, else None.

    The counts are compared by whether the nuclei can bind so many electrons, then whether the elements have at least so
    many valence electrons, then whether the count is a whole number, then by size, since the smaller count is 6.7
    times less. A whole count alone proves nothing: one count of 500 is whole by chance.

    Parameters
    ----------
    electrons : the integral over the cell (Å^3) of the numbers as they are in the file.
    numbers : the atomic numbers [n].
    """
    counts = {unit: judge_count(electrons * factor, numbers) for unit, factor in TO_PER_ANGSTROM3.items()}
    unit = max(counts, key=lambda unit: counts[unit].rank)
    likely, rejected = counts[unit], counts[_other_unit(unit)]
    if likely.held and likely.enough and not _is_possible_too(likely, rejected):
        return unit, None
    return unit, _explain_both_units(unit, counts)


def _is_possible_too(likely: Count, rejected: Count) -> bool:
    """Whether a crystal may have the rejected count; a count that is not whole may be too large on a coarse grid."""
    if rejected.whole > likely.whole:
        return rejected.possible
    largest = rejected.held if likely.whole == 2 else rejected.possible
    return largest and (rejected.enough or not likely.whole)


def doubt_unit(unit: str, electrons: float, numbers: NDArray) -> str | None:
    """A sentence if the numbers of a file rather look like the other unit than `unit`, else None; see `guess_unit`."""
    if guess_unit(electrons, numbers)[0] == unit:
        return None
    return _explain_both_units(unit, {u: judge_count(electrons * f, numbers) for u, f in TO_PER_ANGSTROM3.items()})


def _explain_both_units(unit: str, counts: dict[str, Count]) -> str:
    other = _other_unit(unit)
    return (
        f"read as {counts[unit].electrons:.4f} electrons in {unit}, which would be {counts[other].electrons:.4f} in"
        f" {other}: state the unit, as in read(path, unit={unit!r}) or --unit {unit}"
    )


def _other_unit(unit: str) -> str:
    return PER_BOHR3 if unit == PER_ANGSTROM3 else PER_ANGSTROM3
