"""Which unit a file's densities are in, where its format leaves that open."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecd_data.errors import UsageError

BOHR = 0.529177210903  # Å, CODATA 2018
PER_BOHR3, PER_ANGSTROM3 = "e/bohr^3", "e/Å^3"
TO_PER_ANGSTROM3 = {PER_ANGSTROM3: 1.0, PER_BOHR3: BOHR**-3}  # what a number in the unit is multiplied with
WHOLE, NEARLY_WHOLE = 1e-3, 1e-2  # how near to a whole number the count of a fine grid is; that of a coarser one
HELD = 1.05  # times the nuclear charge: a coarse grid with core electrons integrates to more than there are
IMPOSSIBLE = 2.0  # times the nuclear charge
FEWEST = 0.9  # times the least valence electrons: a density that is neither a part nor a difference, charged or not
CORES = (0, 2, 10, 18, 28, 36, 46, 54, 68, 78, 86, 100, 110)  # of noble gases, with closed d and f shells
UNIT_GUESSED = "unit-guessed"
NAME = re.compile(r"(?:e|el|electrons?|1)?(?:/|per)(?P<length>.+)3")
ANGSTROM = {"a", "å", "ang", "angstrom", "angstroms", "ångström", "ångströms", "ångstrom", "ångstroms"}
ATOMIC = {"bohr", "bohrs", "a0", "a_0", "au", "a.u.", "b"}


def unit_named(name: str) -> str:
    """PER_BOHR3 or PER_ANGSTROM3 from a name such as "e/A^3", "e/Å³", "electrons/bohr^3" or "e/a0^3".

    Raises UsageError for any other.
    """
    plain = re.sub(r"[\s^*()]", "", unicodedata.normalize("NFKC", str(name))).lower()
    found = NAME.fullmatch(plain)
    if found and found["length"] in ANGSTROM:
        return PER_ANGSTROM3
    if found and found["length"] in ATOMIC:
        return PER_BOHR3
    raise UsageError(f"{name!r} is no unit of a density that is known here: give 'e/A^3' or 'e/bohr^3'")


@dataclass(frozen=True)
class Count:
    """What speaks for an electron count: held by the nuclei, whole (2; nearly: 1; no: 0), enough for the elements."""

    electrons: float
    held: bool
    possible: bool
    whole: int
    enough: bool

    @property
    def rank(self) -> tuple[bool, bool, int, float]:
        """Orders counts by plausibility; of two alike the larger counts, or the smaller if the nuclei hold neither."""
        return self.held, self.enough, self.whole if self.held else 0, self.electrons * (1 if self.held else -1)


def judge_count(electrons: float, numbers: NDArray) -> Count:
    """What speaks for and against so many electrons in a crystal of these atomic numbers [n]."""
    nuclear = float(np.sum(numbers)) if numbers.all() else np.inf
    off = abs(electrons - round(electrons)) if electrons > 0.5 else 1.0
    return Count(
        electrons,
        held=0 < electrons <= HELD * nuclear + 1,
        possible=0 < electrons <= IMPOSSIBLE * nuclear,
        whole=2 if off < WHOLE else 1 if off < NEARLY_WHOLE else 0,
        enough=electrons >= FEWEST * sum(least_valence(int(number)) for number in numbers),
    )


def least_valence(number: int) -> int:
    """Electrons outside the noble gas core and the closed d and f shells: no pseudopotential of an element has fewer.

    Of lanthanides and actinides, whose f shell may be in the core, 2; of an unknown element (0), 1.
    """
    if 57 <= number <= 71 or 89 <= number <= 103:
        return 2
    return number - max(core for core in CORES if core < number) if number else 1


def density_unit(electrons: float, numbers: NDArray) -> tuple[str, str | None]:
    """The unit that makes the more plausible electron count, and a sentence if the other is possible too, else None.

    electrons: the integral over the cell in Å^3 of the numbers as they are in the file. A count is plausible if the
    nuclei hold it, more so if its elements have so many valence electrons, then if it is whole, then the larger one,
    since the smaller is 6.7 times less. A whole count alone proves nothing: one of 500 is whole by chance.
    """
    counts = {unit: judge_count(electrons * factor, numbers) for unit, factor in TO_PER_ANGSTROM3.items()}
    unit = max(counts, key=lambda unit: counts[unit].rank)
    chosen, rejected = counts[unit], counts[_other(unit)]
    if chosen.held and chosen.enough and not _is_possible_beside(chosen, rejected):
        return unit, None
    return unit, _either(unit, counts)


def _is_possible_beside(chosen: Count, rejected: Count) -> bool:
    """Whether a crystal may have the rejected count; what is not whole may come of a coarse grid and be too large."""
    if rejected.whole > chosen.whole:
        return rejected.possible
    largest = rejected.held if chosen.whole == 2 else rejected.possible
    return largest and (rejected.enough or not chosen.whole)


def doubt_unit(unit: str, electrons: float, numbers: NDArray) -> str | None:
    """A sentence if the file's numbers rather look like another `unit` than its format has, else None."""
    if density_unit(electrons, numbers)[0] == unit:
        return None
    return _either(unit, {u: judge_count(electrons * f, numbers) for u, f in TO_PER_ANGSTROM3.items()})


def _either(unit: str, counts: dict[str, Count]) -> str:
    other = _other(unit)
    return (
        f"read as {counts[unit].electrons:.4f} electrons in {unit}, which would be {counts[other].electrons:.4f} in"
        f" {other}: state the unit, as in read(path, unit={unit!r}) or --unit {unit}"
    )


def _other(unit: str) -> str:
    return PER_BOHR3 if unit == PER_ANGSTROM3 else PER_ANGSTROM3
