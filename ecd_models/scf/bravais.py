"""pw.x's cells of a Bravais lattice: the vectors that ibrav and its parameters mean (INPUT_PW, latgen.f90)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

import numpy as np

from ecd_data.crystal import Floats
from ecd_data.errors import FormatError
from ecd_data.formats.units import BOHR
from ecd_models.scf.namelists import Namelists

LENGTHS = ("a", "b", "c")
# The angle that celldm(4) means, or (5) for -12, is another one for each lattice
COSINES = {14: {4: "cosbc", 5: "cosac", 6: "cosab"}, -12: {5: "cosac"}, -13: {5: "cosac"}}
COSINE = {4: "cosab"}  # of the others


@dataclass(frozen=True)
class Parameters:
    """b / a, c / a and up to three cosines of angles, as in celldm(2) to celldm(6)."""

    b: float
    c: float
    cosines: tuple[float, float, float]


def make_cell(namelists: Namelists) -> tuple[Floats, float]:
    """The lattice vectors as rows and pw.x's unit of length alat, both in Å, of an input with ibrav other than 0.

    Raises
    ------
    FormatError : the lattice is none of pw.x's, or means different vectors in different versions of pw.x; or a
        parameter that it needs is missing or impossible.
    """
    name, ibrav = namelists.name, namelists.whole_number("system", "ibrav")
    if ibrav == -13:
        raise FormatError(
            f"{name} has ibrav = -13, whose vectors differ between versions of pw.x: give ibrav = 0 with the card"
            " CELL_PARAMETERS (pw.x prints these vectors as a(1), a(2), a(3) in units of alat)"
        )
    if ibrav not in LATTICES:
        raise FormatError(f"{name} has ibrav = {ibrav}, which is no lattice of pw.x: correct it")
    alat, celldm = _read_parameters(namelists, ibrav)
    needed, vectors = LATTICES[ibrav]
    if missing := [f"celldm({number})" for number in needed if not celldm.get(number)]:
        raise FormatError(f"{name} has ibrav = {ibrav} without {' and '.join(missing)}: give what the lattice needs")
    cosines = celldm.get(4, 0.0), celldm.get(5, 0.0), celldm.get(6, 0.0)
    try:
        rows = np.array(vectors(Parameters(celldm.get(2, 0.0), celldm.get(3, 0.0), cosines)), dtype=np.float64)
    except (ValueError, ZeroDivisionError) as error:  # an angle that no lattice has
        raise FormatError(f"{name} has angles that no lattice with ibrav = {ibrav} has: correct them") from error
    return rows * alat, alat


def _read_parameters(namelists: Namelists, ibrav: int) -> tuple[float, dict[int, float]]:
    """The unit alat in Å, and celldm(2) to celldm(6), from celldm or from A, B, C and cosines."""
    celldm = namelists.numbers("system", "celldm")
    lengths = {key: namelists.number("system", key) or 0.0 for key in LENGTHS}
    if bool(celldm.get(1)) == bool(lengths["a"]):
        raise FormatError(f"{namelists.name} needs one of celldm(1) and A for its ibrav: give one of them")
    if celldm.get(1):
        alat = celldm[1] * BOHR
    else:
        alat, ratio = lengths["a"], {2: lengths["b"], 3: lengths["c"]}
        celldm = {number: length / alat for number, length in ratio.items()}
        cosines = COSINES.get(ibrav, COSINE)
        celldm |= {number: namelists.number("system", key) or 0.0 for number, key in cosines.items()}
    if alat <= 0 or any(celldm.get(number, 0.0) < 0 for number in (2, 3)):
        raise FormatError(f"{namelists.name} has a negative length of its cell: correct celldm or A, B, C")
    return alat, celldm


def _trigonal(cosine: float) -> tuple[float, float, float]:
    """tx, ty and tz of a rhombohedron with this cosine of its angle."""
    return sqrt((1 - cosine) / 2), sqrt((1 - cosine) / 6), sqrt((1 + 2 * cosine) / 3)


def _trigonal_c(p: Parameters) -> list[list[float]]:
    tx, ty, tz = _trigonal(p.cosines[0])
    return [[tx, -ty, tz], [0, 2 * ty, tz], [-tx, -ty, tz]]


def _trigonal_111(p: Parameters) -> list[list[float]]:
    _, ty, tz = _trigonal(p.cosines[0])
    u, v = (tz - 2 * sqrt(2) * ty) / sqrt(3), (tz + sqrt(2) * ty) / sqrt(3)
    return [[u, v, v], [v, u, v], [v, v, u]]


def _triclinic(p: Parameters) -> list[list[float]]:
    bc, ac, ab = p.cosines
    sine = sqrt(1 - ab**2)
    height = sqrt(1 + 2 * bc * ac * ab - bc**2 - ac**2 - ab**2) / sine
    return [[1, 0, 0], [p.b * ab, p.b * sine, 0], [p.c * ac, p.c * (bc - ac * ab) / sine, p.c * height]]


def _sine(cosine: float) -> float:
    return sqrt(1 - cosine**2)


Vectors = Callable[[Parameters], list[list[float]]]
# By ibrav: the numbers of celldm that must be given, and the vectors as rows in units of alat
LATTICES: dict[int, tuple[tuple[int, ...], Vectors]] = {
    1: ((), lambda p: [[1, 0, 0], [0, 1, 0], [0, 0, 1]]),
    2: ((), lambda p: [[-0.5, 0, 0.5], [0, 0.5, 0.5], [-0.5, 0.5, 0]]),
    3: ((), lambda p: [[0.5, 0.5, 0.5], [-0.5, 0.5, 0.5], [-0.5, -0.5, 0.5]]),
    -3: ((), lambda p: [[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]]),
    4: ((3,), lambda p: [[1, 0, 0], [-0.5, sqrt(3) / 2, 0], [0, 0, p.c]]),
    5: ((4,), _trigonal_c),
    -5: ((4,), _trigonal_111),
    6: ((3,), lambda p: [[1, 0, 0], [0, 1, 0], [0, 0, p.c]]),
    7: ((3,), lambda p: [[0.5, -0.5, p.c / 2], [0.5, 0.5, p.c / 2], [-0.5, -0.5, p.c / 2]]),
    8: ((2, 3), lambda p: [[1, 0, 0], [0, p.b, 0], [0, 0, p.c]]),
    9: ((2, 3), lambda p: [[0.5, p.b / 2, 0], [-0.5, p.b / 2, 0], [0, 0, p.c]]),
    -9: ((2, 3), lambda p: [[0.5, -p.b / 2, 0], [0.5, p.b / 2, 0], [0, 0, p.c]]),
    91: ((2, 3), lambda p: [[1, 0, 0], [0, p.b / 2, -p.c / 2], [0, p.b / 2, p.c / 2]]),
    10: ((2, 3), lambda p: [[0.5, 0, p.c / 2], [0.5, p.b / 2, 0], [0, p.b / 2, p.c / 2]]),
    11: ((2, 3), lambda p: [[0.5, p.b / 2, p.c / 2], [-0.5, p.b / 2, p.c / 2], [-0.5, -p.b / 2, p.c / 2]]),
    12: ((2, 3, 4), lambda p: [[1, 0, 0], [p.b * p.cosines[0], p.b * _sine(p.cosines[0]), 0], [0, 0, p.c]]),
    -12: ((2, 3, 5), lambda p: [[1, 0, 0], [0, p.b, 0], [p.c * p.cosines[1], 0, p.c * _sine(p.cosines[1])]]),
    13: (
        (2, 3, 4),
        lambda p: [[0.5, 0, -p.c / 2], [p.b * p.cosines[0], p.b * _sine(p.cosines[0]), 0], [0.5, 0, p.c / 2]],
    ),
    14: ((2, 3), _triclinic),
}
