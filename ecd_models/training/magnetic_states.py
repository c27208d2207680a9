"""The magnetic state of a reference density: its magnetization, and the initial moments that belong to it."""

from __future__ import annotations

import logging

import numpy as np

from ecd_data.crystal import Floats
from ecd_data.density import INITIAL_MOMENTS, Density
from ecd_data.errors import UsageError

log = logging.getLogger("ecd_models")

# Electrons of |magnetization|: a state with less is as good as non-magnetic, whatever the signs of what is left
SMALLEST_MAGNETIZATION = 0.1
ONE_SIGN = 0.5  # a total moment below this share of |magnetization| is that of several signs


def choose_state(id: str, rho: Density) -> tuple[Floats, Floats]:
    """The initial moments [n] and the magnetization [a, b, c] in e/Å^3 that a network learns from a density.

    The moments are those that `meta["initial_moments"]` of the density records. Without them its state is the
    ferromagnetic one, whose moment is positive: the magnetization gets the sign for that, and is zero for a density
    without spin. Moments of both signs that are not recorded teach nothing: the moments are then 0, so that a network
    gives no magnetization, and a warning is logged.

    Raises
    ------
    UsageError : the magnetization is a vector, or the record does not have one number for each atom.
    """
    moments = _read_record(id, rho)
    magnetization = np.zeros(rho.shape) if rho.magnetization is None else rho.magnetization
    if magnetization.ndim != 3:
        raise UsageError(f"{id} is non-collinear, its magnetization a vector: train with spin = false, or without it")
    if moments is not None:
        return moments, magnetization
    total, absolute = (float(part.mean()) * rho.crystal.volume for part in (magnetization, np.abs(magnetization)))
    if absolute > SMALLEST_MAGNETIZATION and abs(total) < ONE_SIGN * absolute:
        log.warning(
            "%s has moments of both signs (%.2f Bohr magnetons in all, %.2f without signs) and no record of those that"
            ' it started from (meta["%s"]): its magnetization is not learned',
            *(id, total, absolute, INITIAL_MOMENTS),
        )
        return np.zeros(len(rho.crystal)), magnetization
    return np.ones(len(rho.crystal)), magnetization * (-1.0 if total < 0 else 1.0)


def _read_record(id: str, rho: Density) -> Floats | None:
    """The recorded initial moments [n]; None without a record."""
    record = rho.meta.get(INITIAL_MOMENTS)
    if record is None:
        return None
    try:
        moments = np.array(record, dtype=np.float64)
    except (TypeError, ValueError):
        moments = np.array(np.nan)
    if moments.shape != (len(rho.crystal),) or not np.isfinite(moments).all():
        raise UsageError(f'{id} has {len(rho.crystal)} atoms and its meta["{INITIAL_MOMENTS}"] not one number for each')
    return moments
