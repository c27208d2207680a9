"""pw.x's order of plane waves, found without running it: by length, waves of one length in the order of their indices.

pw.x ignores the Miller indices in a charge-density.dat, so a file in another order is read as another density, without
a word. `refuse_other_order` compares the order with the file that pw.x writes at the end of the same run.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.fft import next_fast_len

from ecd_data.crystal import Crystal, Floats
from ecd_data.errors import EcdError
from ecd_data.formats.units import BOHR
from ecd_models.scf.charge_density import Waves

SAME_LENGTH = 1e-8  # of squares in units of (2 pi / first lattice vector)^2: pw.x takes nearer ones for equal
CERTAIN = 0.99 * SAME_LENGTH  # rounding, of about 1e-13, decides nothing about smaller differences


def order_waves(crystal: Crystal, ecutrho: float, *, gamma_only: bool = False, components: int = 1) -> Waves | None:
    """The Waves of a run of pw.x with this cutoff of the density in Ry, in its order; None where that is not certain.

    It is not certain in a cell whose symmetry is broken in the last digits, such as a hexagonal one of eight digits:
    there lengths differ by as much as pw.x takes for equal, and the order depends on how it sorts. gamma_only: one of G
    and -G alone, as with the Gamma point alone; components: 2 with spin.
    """
    length = float(np.linalg.norm(crystal.lattice[0]))
    direct = crystal.lattice / length
    reciprocal = np.linalg.inv(direct).T  # in 2 pi / length
    cutoff = ecutrho / (2 * np.pi * BOHR / length) ** 2
    miller = _list_indices(direct, cutoff, gamma_only)
    squares = ((miller @ reciprocal) ** 2).sum(axis=1)
    miller, squares = miller[squares <= cutoff], squares[squares <= cutoff]
    ascending = np.argsort(squares, kind="stable")
    steps = np.diff(squares[ascending])
    shells = np.concatenate([[0], np.cumsum(steps > SAME_LENGTH)])
    widths = np.bincount(shells[1:], weights=np.where(steps > SAME_LENGTH, 0.0, steps))
    if widths.max() > CERTAIN or _is_between(steps):
        return None
    order = ascending[np.lexsort((ascending, shells))]
    in_bohr = np.asarray(2 * np.pi * BOHR * np.linalg.inv(crystal.lattice).T, dtype=np.float64)
    return Waves(gamma_only, in_bohr.ravel(), miller[order].astype(np.int32), components)


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
