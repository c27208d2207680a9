"""The number of electrons that a density is scaled to before a run starts from it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ecd_data.density import Density
from ecd_data.errors import UsageError

MAX_ELECTRON_ERROR = 0.1  # of the electrons: a density further off is of other potentials, or useless


def scale_to_electrons(rho: Density, due: float, origin: str, name: str = "the density") -> tuple[Density, float]:
    """The density with `due` electrons and without PAW occupancies, and the factor.

    Parameters
    ----------
    rho : the density; its magnetization is not scaled.
    due, origin : the electrons of the run, and what says so.
    name : of the density, for the message.

    Raises
    ------
    UsageError : the density has over 10 % more or fewer electrons.
    """
    found = rho.nelect
    if not (np.isfinite(found) and abs(found - due) <= MAX_ELECTRON_ERROR * due):
        raise UsageError(
            f"{name} has {found:.2f} electrons where {due:g} are due ({origin}): it is of other potentials, or the"
            " prediction failed"
        )
    factor = due / found
    return replace(rho, values=rho.values * factor, augmentation=None), factor
