"""The error measure of the benchmark, eps_mae."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from ecd_data.density import Density


def eps_mae(guess: Density | ArrayLike, rho: Density | ArrayLike) -> float:
    """The error sum|rho - guess| / sum|rho| over the grid, as a fraction.

    This is eps_mae of the ECD paper, and a hundredth of ChargE3Net's NMAPE.

    Parameters
    ----------
    guess, rho : the prediction and the reference, as two densities or two arrays of one shape.

    Raises
    ------
    ValueError : the grids differ.
    """
    a = np.asarray(getattr(guess, "values", guess), dtype=np.float64)
    b = np.asarray(getattr(rho, "values", rho), dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"eps_mae compares densities on one grid, got {a.shape} and {b.shape}: resample one of them")
    return float(np.abs(a - b).sum() / np.abs(b).sum())
