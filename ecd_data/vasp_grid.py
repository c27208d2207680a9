"""The FFT grids that VASP chooses for a cell, a cutoff and a precision: those of its CHGCAR files."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecd_data.arguments import real_number, shown
from ecd_data.errors import UsageError

RYDBERG = 13.605826  # eV and
BOHR = 0.529177249  # Å as VASP has them: newer digits would round a few grids the other way
COARSE_FACTORS = {"accurate": 4, "high": 4, "single": 4, "normal": 3, "singlen": 3, "medium": 3, "low": 3}
FINE_FACTORS = {"high": 16 / 3, "medium": 4, "low": 3}  # of the augmentation cutoff; the others double the coarse grid
MAX_CUTOFF = 1e6
Shape = tuple[int, int, int]


def vasp_fine_grid(lattice: ArrayLike, encut: float, prec: str = "accurate", enaug: float | None = None) -> Shape:
    """The grid (NGXF, NGYF, NGZF) that VASP takes for the density of a cell, without NGXF tags in the INCAR.

    lattice [3, 3]: rows in Å; encut: the plane wave cutoff in eV; prec: VASP's PREC or the beginning of it; enaug: the
    augmentation cutoff (ENAUG) in eV, which PREC high, medium and low go by. Raises UsageError for what VASP does not
    know, and for a missing enaug. Source: VASP 5.4.4 main.F and https://www.vasp.at/wiki/index.php/PREC.
    """
    prec = precision(prec)
    coarse = vasp_coarse_grid(lattice, encut, prec)
    if prec.startswith("single"):
        return coarse
    if prec not in FINE_FACTORS:
        return coarse[0] * 2, coarse[1] * 2, coarse[2] * 2
    if enaug is None:
        raise UsageError(f"PREC = {prec} makes the grid from ENAUG: give the augmentation cutoff (enaug) in eV too")
    fine = _sizes(lattice, enaug, FINE_FACTORS[prec], 0.0)
    return max(fine[0], coarse[0]), max(fine[1], coarse[1]), max(fine[2], coarse[2])


def vasp_coarse_grid(lattice: ArrayLike, encut: float, prec: str = "accurate") -> Shape:
    """The grid (NGX, NGY, NGZ) of the orbitals; see `vasp_fine_grid`."""
    return _sizes(lattice, encut, COARSE_FACTORS[precision(prec)], 0.5)


def precision(prec: str) -> str:
    """VASP's PREC in full and lower case from its beginning ("accura", "N"); raises UsageError for another word."""
    word = prec.strip().lower() if isinstance(prec, str) else ""
    if word in COARSE_FACTORS:
        return word
    found = [full for full in COARSE_FACTORS if word and full[0] == word[0]]  # VASP looks at the first letter
    if not found:
        raise UsageError(f"PREC is one of {', '.join(COARSE_FACTORS)}, not {shown(prec)}")
    return found[0]


def fits_a_cutoff(lattice: ArrayLike, shape: Shape) -> bool:
    """Whether some cutoff makes this fine grid for a cell, with a doubled coarse grid or without."""
    lengths = np.linalg.norm(np.asarray(lattice, dtype=np.float64).reshape(3, 3), axis=1)
    return any(_fits(lengths, [n / factor for n in shape]) for factor in (1, 2))


def _fits(lengths: NDArray[np.float64], sizes: list[float]) -> bool:
    """Whether one resolution lies within what rounds to each size: those between the FFT size before it and itself."""
    if any(size % 2 or not _smooth(int(size)) for size in sizes):
        return False
    before = [next((n for n in range(int(size) - 2, 0, -2) if _smooth(n)), 0) for size in sizes]
    lowest = max((n + 0.5) / length for n, length in zip(before, lengths, strict=True))
    highest = min((n + 0.5) / length for n, length in zip(sizes, lengths, strict=True))
    return bool(lowest < highest)


def _sizes(lattice: ArrayLike, cutoff: float, factor: float, rounding: float) -> Shape:
    """Sizes along a, b, c that hold `factor` times the reciprocal lattice vectors in the radius of the cutoff."""
    cutoff = real_number(cutoff, "a cutoff", "520 (eV)")
    lengths = np.linalg.norm(np.asarray(lattice, dtype=np.float64).reshape(3, 3), axis=1)
    if not (0 < cutoff < MAX_CUTOFF and np.isfinite(lengths).all()):
        raise UsageError(f"a cutoff is a number of eV such as 520, not {cutoff}")
    reach = math.sqrt(cutoff / RYDBERG) / BOHR / (2 * math.pi)
    a, b, c = (_fft_size(int(factor * reach * length + rounding)) for length in lengths)
    return a, b, c


def _fft_size(least: int) -> int:
    """The next even number with no factors but 2, 3, 5 and 7."""
    size = max(2, least + least % 2)
    while not _smooth(size):
        size += 2
    return size


def _smooth(size: int) -> bool:
    for factor in (2, 3, 5, 7):
        while size % factor == 0:
            size //= factor
    return size == 1
