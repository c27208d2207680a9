"""Closed forms on grids that do not resolve them: all waves that the grid holds, as `Density.resample` keeps them.

On an axis with an even number n of points the waves k = n/2 and -n/2 are one. Sums over plane waves leave them out, or
halve them, which nobody sees on grids of a calculation, whose outermost waves are nothing. On a coarser grid they are a
visible part of the density, so the sum is made on a finer grid first, and the waves are folded.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.fft import next_fast_len

from ecd_data.crystal import Crystal, Floats
from ecd_data.fourier import resample
from ecd_data.vasp_grid import Shape

RESOLVED = 30.0  # 1/Å: of waves at least so short, densities of pseudopotentials have less than 1e-4


def find_resolving_grid(crystal: Crystal, shape: Shape) -> Shape:
    """The grid itself where its outermost waves are nothing, else a finer one that holds both waves at each end."""
    lengths = np.linalg.norm(crystal.lattice, axis=1)
    coarse = [n % 2 == 0 and np.pi * n / length < RESOLVED for n, length in zip(shape, lengths, strict=True)]
    a, b, c = (next_fast_len(n + 1, real=True) if is_coarse else n for n, is_coarse in zip(shape, coarse, strict=True))
    return a, b, c


def sum_on_grid(crystal: Crystal, shape: Shape, on_grid: Callable[[Shape], Floats]) -> Floats:
    """The values of a sum over plane waves on a grid, with all waves that the grid holds.

    Parameters
    ----------
    crystal, shape : the crystal and the grid.
    on_grid : makes the values on a grid, [a, b, c] or [outputs, a, b, c].
    """
    finer = find_resolving_grid(crystal, shape)
    values = on_grid(finer)
    if finer == tuple(shape):
        return values
    folded = np.stack([resample(grid, shape) for grid in values.reshape(-1, *finer)])
    return folded.reshape(*values.shape[:-3], *shape)
