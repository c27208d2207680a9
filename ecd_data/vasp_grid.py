"""The FFT grids that VASP chooses for a cell, a cutoff and a precision; its CHGCAR files are on these grids."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecd_data.arguments import describe_value, real_number
from ecd_data.errors import UsageError

RYDBERG = 13.605826  # eV, the value in VASP: newer digits would give another grid in a few cases
BOHR = 0.529177249  # Å, the value in VASP
COARSE_FACTORS = {"accurate": 4, "high": 4, "single": 4, "normal": 3, "singlen": 3, "medium": 3, "low": 3}
FINE_FACTORS = {"high": 16 / 3, "medium": 4, "low": 3}  # for ENAUG; the other PRECs double the coarse grid
MAX_CUTOFF = 1e6  # eV: refuses numbers that cannot be a cutoff, before a grid of any size is computed
Shape = tuple[int, int, int]


def vasp_fine_grid(lattice: ArrayLike, encut: float, prec: str = "accurate", enaug: float | None = None) -> Shape:
    """The grid (NGXF, NGYF, NGZF) that VASP chooses for the density of a cell, without NGXF tags in the INCAR.

    The rules are those of VASP 5.4.4 (main.F) and https://www.vasp.at/wiki/index.php/PREC.

    Parameters
    ----------
    lattice [3, 3] : the lattice vectors as rows, in Å.
    encut : the plane wave cutoff (ENCUT) in eV.
    prec : PREC or its first letter.
    enaug : the augmentation cutoff (ENAUG) in eV, which decides the grid for PREC high, medium and low.

    Raises
    ------
    UsageError : VASP has no such PREC, a cutoff is not positive, or enaug is missing.
    """
    prec = full_precision_name(prec)
    coarse = vasp_coarse_grid(lattice, encut, prec)
    if prec.startswith("single"):
        return coarse
    if prec not in FINE_FACTORS:
        return coarse[0] * 2, coarse[1] * 2, coarse[2] * 2
    if enaug is None:
        raise UsageError(
            f"with PREC = {prec} the augmentation cutoff (ENAUG, else EAUG of the POTCAR) decides the grid, and it is"
            " not known: in place of a cutoff give the grid itself, NGXF NGYF NGZF of VASP's OUTCAR"
        )
    fine = _grid_for_cutoff(lattice, enaug, FINE_FACTORS[prec], 0.0)
    return max(fine[0], coarse[0]), max(fine[1], coarse[1]), max(fine[2], coarse[2])


def vasp_coarse_grid(lattice: ArrayLike, encut: float, prec: str = "accurate") -> Shape:
    """The grid (NGX, NGY, NGZ) that VASP chooses for the orbitals; the arguments are those of `vasp_fine_grid`."""
    return _grid_for_cutoff(lattice, encut, COARSE_FACTORS[full_precision_name(prec)], 0.5)


def full_precision_name(prec: str) -> str:
    """The full name of a PREC in lower case: "accura" and "A" give "accurate". Raises UsageError for an unknown one."""
    word = prec.strip().lower() if isinstance(prec, str) else ""
    if word in COARSE_FACTORS:
        return word
    found = [full for full in COARSE_FACTORS if word and full[0] == word[0]]  # VASP reads the first letter alone
    if not found:
        raise UsageError(f"there is no PREC {describe_value(prec)}: give one of {', '.join(COARSE_FACTORS)}")
    return found[0]


def is_taken(shape: Shape) -> bool:
    """Whether VASP takes these NGXF, NGYF, NGZF as they are: even, with no factors but 2, 3, 5 and 7."""
    return all(_fft_size(n) == n for n in shape)


def fits_some_cutoff(lattice: ArrayLike, shape: Shape) -> bool:
    """Whether VASP chooses the fine grid [shape] for a cell at some cutoff, with or without a doubled coarse grid."""
    lengths = np.linalg.norm(np.asarray(lattice, dtype=np.float64).reshape(3, 3), axis=1)
    return any(_share_one_cutoff(lengths, [n / factor for n in shape]) for factor in (1, 2))


def _share_one_cutoff(lengths: NDArray[np.float64], sizes: list[float]) -> bool:
    """Whether one cutoff gives all three sizes: a size comes from all resolutions above the next smaller FFT size."""
    if any(size % 2 or not _has_small_factors(int(size)) for size in sizes):
        return False
    before = [next((n for n in range(int(size) - 2, 0, -2) if _has_small_factors(n)), 0) for size in sizes]
    lowest = max((n + 0.5) / length for n, length in zip(before, lengths, strict=True))
    highest = min((n + 0.5) / length for n, length in zip(sizes, lengths, strict=True))
    return bool(lowest < highest)


def _grid_for_cutoff(lattice: ArrayLike, cutoff: float, factor: float, rounding: float) -> Shape:
    """The FFT sizes along a, b, c from `factor` times the number of reciprocal lattice vectors within the cutoff."""
    cutoff = real_number(cutoff, "a cutoff", "520 (eV)")
    lengths = np.linalg.norm(np.asarray(lattice, dtype=np.float64).reshape(3, 3), axis=1)
    if not (0 < cutoff < MAX_CUTOFF and np.isfinite(lengths).all()):
        raise UsageError(f"{cutoff} is not a plane wave cutoff: give a number of eV such as 520")
    reach = math.sqrt(cutoff / RYDBERG) / BOHR / (2 * math.pi)
    a, b, c = (_fft_size(int(factor * reach * length + rounding)) for length in lengths)
    return a, b, c


def _fft_size(least: int) -> int:
    """The smallest even number from `least` on with no prime factors but 2, 3, 5 and 7."""
    size = max(2, least + least % 2)
    while not _has_small_factors(size):
        size += 2
    return size


def _has_small_factors(size: int) -> bool:
    for factor in (2, 3, 5, 7):
        while size % factor == 0:
            size //= factor
    return size == 1
