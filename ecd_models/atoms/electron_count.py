"""The number of electrons of a crystal from those that each element brings."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ecd_data.crystal import SYMBOLS, Crystal, Floats
from ecd_data.errors import UsageError

WHOLE = 0.01  # electrons: what lies as near to a whole number is one, as for neutral atoms it has to be


def fitted_valences(crystals: Iterable[tuple[NDArray[np.int64], float]]) -> Floats:
    """Electrons that an atom of each element brings, NaN where (numbers, electrons) of the crystals do not tell [119].

    Raises UsageError where no such numbers give every crystal its electrons, as with charged cells or several
    pseudopotentials for an element.
    """
    known = list(crystals)
    counts = np.array([np.bincount(numbers, minlength=len(SYMBOLS)) for numbers, _ in known], dtype=np.float64)
    electrons = np.array([nelect for _, nelect in known])
    there: NDArray[np.int64] = np.flatnonzero(counts.any(axis=0))
    matrix = counts[:, there]
    solution, _, rank, _ = np.linalg.lstsq(matrix, electrons, rcond=None)
    whole = np.array(solution)
    near = np.abs(whole - np.rint(whole)) < WHOLE
    whole[near] = np.rint(whole[near])
    worst = np.abs(matrix @ whole - electrons).max(initial=0)
    if worst > WHOLE * max(1.0, float(counts.sum(axis=1).max(initial=1))):
        raise UsageError(
            f"the electrons of the training crystals are no sum over their atoms (off by up to {worst:.2f}): charged "
            "cells, or several pseudopotentials for an element? train with exact_nelect = false"
        )
    if rank < len(there):  # elements that occur in fixed proportions only: their shares are not known, nor needed
        _, _, vectors = np.linalg.svd(matrix)
        whole[np.abs(vectors[rank:]).max(axis=0) > 1e-9] = np.nan
    valences = np.full(len(SYMBOLS), np.nan)
    valences[there] = whole
    return valences


def electrons_of(crystal: Crystal, valences: Floats) -> float:
    """The electrons of a crystal; raises UsageError for an element whose number is not known."""
    return electrons_of_numbers(crystal.numbers, valences)


def electrons_of_numbers(numbers: NDArray[np.int64], valences: Floats) -> float:
    """The electrons of atoms with these atomic numbers [n]; raises UsageError where one is not known."""
    unknown = sorted({SYMBOLS[z] for z in numbers if not np.isfinite(valences[z])})
    if unknown:
        raise UsageError(
            f"the training crystals do not tell how many electrons {', '.join(unknown)} has, to which the "
            "density should be scaled: train with exact_nelect = false, or on crystals that tell"
        )
    return float(valences[numbers].sum())
