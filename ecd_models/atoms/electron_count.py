"""The number of electrons of a crystal from the number that an atom of each element brings."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ecd_data.crystal import SYMBOLS, Crystal, Floats
from ecd_data.errors import UsageError

NEARLY_WHOLE = 0.01  # electrons: fitted numbers this near to a whole one are rounded; neutral atoms have whole ones


def fit_valences(crystals: Iterable[tuple[NDArray[np.int64], float]]) -> Floats:
    """Electrons that an atom of each element brings [119], NaN where the crystals do not determine them.

    Parameters
    ----------
    crystals : atomic numbers [n] and number of electrons of each crystal.

    Raises
    ------
    UsageError : no such numbers give each crystal its electrons: cells are charged, or an element has several
        pseudopotentials.
    """
    pairs = list(crystals)
    counts = np.array([np.bincount(numbers, minlength=len(SYMBOLS)) for numbers, _ in pairs], dtype=np.float64)
    electrons = np.array([nelect for _, nelect in pairs])
    elements: NDArray[np.int64] = np.flatnonzero(counts.any(axis=0))
    matrix = counts[:, elements]
    solution, _, rank, _ = np.linalg.lstsq(matrix, electrons, rcond=None)
    whole = np.array(solution)
    nearly_whole = np.abs(whole - np.rint(whole)) < NEARLY_WHOLE
    whole[nearly_whole] = np.rint(whole[nearly_whole])
    worst = np.abs(matrix @ whole - electrons).max(initial=0)
    if worst > NEARLY_WHOLE * max(1.0, float(counts.sum(axis=1).max(initial=1))):
        raise UsageError(
            f"the electrons of the training crystals are not sums over their atoms (off by up to {worst:.2f}): charged "
            "cells, or several pseudopotentials for an element? train with exact_nelect = false"
        )
    if rank < len(elements):  # some elements occur in fixed proportions only, which determine no number for each
        _, _, vectors = np.linalg.svd(matrix)
        whole[np.abs(vectors[rank:]).max(axis=0) > 1e-9] = np.nan
    valences = np.full(len(SYMBOLS), np.nan)
    valences[elements] = whole
    return valences


def count_electrons(crystal: Crystal, valences: Floats) -> float:
    """The number of electrons of a crystal, from those of each element [119].

    Raises
    ------
    UsageError : the number for an element is not known.
    """
    return sum_electrons(crystal.numbers, valences)


def sum_electrons(numbers: NDArray[np.int64], valences: Floats) -> float:
    """The number of electrons of atoms with these atomic numbers [n], from those of each element [119].

    Raises
    ------
    UsageError : the number for an element is not known.
    """
    unknown = sorted({SYMBOLS[z] for z in numbers if not np.isfinite(valences[z])})
    if unknown:
        raise UsageError(
            f"the training crystals do not tell how many electrons {', '.join(unknown)} has, to which the "
            "density should be scaled: train with exact_nelect = false, or on crystals that tell"
        )
    return float(valences[numbers].sum())
