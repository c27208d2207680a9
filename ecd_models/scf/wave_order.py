"""pw.x's order of plane waves, found without running it: by length, waves of one length in the order of their indices.

pw.x ignores the Miller indices in a charge-density.dat, so a file in another order is read as another density, without
a word. `refuse_other_order` compares the order with the file that pw.x writes at the end of the same run.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.fft import next_fast_len

from ecd_data.crystal import Crystal, Floats
from ecd_data.errors import EcdError, UsageError
from ecd_data.formats.units import BOHR
from ecd_models.scf.charge_density import Waves

SAME_VECTOR = 1e-6  # 1/bohr: reciprocal vectors that differ by more are of another cell
SAME_LENGTH = 1e-8  # of squares in units of (2 pi / first lattice vector)^2: pw.x takes nearer ones for equal
CERTAIN = 0.99 * SAME_LENGTH  # rounding, of about 1e-13, decides nothing about smaller differences


def order_waves(
    crystal: Crystal, ecutrho: float, *, gamma_only: bool = False, components: int = 1, alat: float | None = None
) -> Waves | None:
    """The Waves of a run of pw.x with this cutoff of the density in Ry, in its order; None where that is not certain.

    It is not certain in a cell whose symmetry is broken in the last digits, such as a hexagonal one of eight digits:
    there lengths differ by as much as pw.x takes for equal, and the order depends on how it sorts. gamma_only: one of G
    and -G alone, as with the Gamma point alone; components: 2 with spin; alat: pw.x's unit of length in Å, by default
    the length of the first lattice vector.
    """
    miller, squares = list_waves(crystal, ecutrho, gamma_only=gamma_only, alat=alat)
    ascending = np.argsort(squares, kind="stable")
    steps = np.diff(squares[ascending])
    shells = np.concatenate([[0], np.cumsum(steps > SAME_LENGTH)])
    widths = np.bincount(shells[1:], weights=np.where(steps > SAME_LENGTH, 0.0, steps))
    if widths.max() > CERTAIN or _is_between(steps):
        return None
    order = ascending[np.lexsort((ascending, shells))]
    return Waves(gamma_only, reciprocal_vectors(crystal).ravel(), miller[order].astype(np.int32), components)


def reciprocal_vectors(crystal: Crystal) -> Floats:
    """The reciprocal vectors as rows [3, 3] in 1/bohr."""
    return np.asarray(2 * np.pi * BOHR * np.linalg.inv(crystal.lattice).T, dtype=np.float64)


def list_waves(
    crystal: Crystal, ecutrho: float, *, gamma_only: bool = False, alat: float | None = None
) -> tuple[NDArray[np.int64], Floats]:
    """The Miller indices [n, 3] within a cutoff in Ry, the last index fastest, and the squares of their vectors [n].

    The squares are in (2 pi / alat)^2. gamma_only, alat: see `order_waves`.
    """
    length = float(np.linalg.norm(crystal.lattice[0])) if alat is None else alat
    direct = crystal.lattice / length
    reciprocal = np.linalg.inv(direct).T  # in 2 pi / length
    cutoff = ecutrho / (2 * np.pi * BOHR / length) ** 2
    miller = _list_indices(direct, cutoff, gamma_only)
    squares = ((miller @ reciprocal) ** 2).sum(axis=1)
    return miller[squares <= cutoff], squares[squares <= cutoff]


def take_order(path: Path, crystal: Crystal, ecutrho: float, *, gamma_only: bool, components: int) -> Waves:
    """The Waves of a run in the order of a charge-density.dat that pw.x wrote for the same cell and cutoff.

    The arguments but `path` are those of `order_waves`.

    Raises
    ------
    FormatError : the file is no charge-density.dat.
    UsageError : there is no such file, it has other reciprocal vectors, other waves, or is of a non-collinear run.
    """
    if not path.is_file():
        raise UsageError(f"{path} does not exist: give a charge-density.dat that pw.x wrote (--reference)")
    own = Waves.read(path)
    vectors = reciprocal_vectors(crystal).ravel()
    if own.reciprocal.shape != vectors.shape or np.abs(own.reciprocal - vectors).max() > SAME_VECTOR:
        raise UsageError(f"{path} is of another cell than the run: give a file that pw.x wrote for this very cell")
    if own.gamma_only != gamma_only:
        kept, due = ("half of the waves", "all") if own.gamma_only else ("all waves", "half of them")
        raise UsageError(f"{path} has {kept} and the run {due}: run pw.x with the K_POINTS of the run")
    if own.components > 2:
        raise UsageError(f"{path} is of a non-collinear run: give a file of a collinear one")
    miller, _ = list_waves(crystal, ecutrho, gamma_only=gamma_only)
    if not np.array_equal(np.unique(own.miller, axis=0), np.unique(miller, axis=0)):
        raise UsageError(
            f"{path} has {len(own.miller)} plane waves where the run has {len(miller)}: run pw.x with the ecutwfc and"
            " ecutrho of the run"
        )
    return replace(own, components=components)


def _is_between(steps: Floats) -> bool:
    """Whether a step is so near to the limit that rounding decides."""
    return bool((np.abs(steps - SAME_LENGTH) < SAME_LENGTH - CERTAIN).any())


def _list_indices(direct: Floats, cutoff: float, gamma_only: bool) -> NDArray[np.int64]:
    """All Miller indices [n, 3] of a box around the waves within the cutoff, the last index fastest."""
    reach = [int(np.sqrt(cutoff) * np.linalg.norm(row)) + 1 for row in direct]
    axes = [np.arange(-n, n + 1) for n in reach]
    indices = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    if not gamma_only:
        return indices
    a, b, c = indices.T
    return indices[(a > 0) | ((a == 0) & ((b > 0) | ((b == 0) & (c >= 0))))]


def find_grid(waves: Waves) -> tuple[int, int, int]:
    """The smallest grid with a fast Fourier transform that holds all the waves."""
    a, b, c = (int(next_fast_len(n)) for n in waves.smallest_shape)
    return a, b, c


def refuse_other_order(waves: Waves, path: Path, name: str) -> None:
    """Raises EcdError where a charge-density.dat that pw.x wrote has another order than it was started with."""
    own = Waves.read(path)
    if own.miller.shape != waves.miller.shape or (own.miller != waves.miller).any():
        raise EcdError(
            f"{name}: pw.x keeps its plane waves in another order than ecd assumed ({path}), so it started from a wrong"
            " density: do not use this run, and report the version of pw.x"
        )
