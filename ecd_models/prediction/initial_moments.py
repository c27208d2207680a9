"""The moments that the atoms of a crystal start from, which choose the magnetic state that a model gives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ecd_data.crystal import Crystal, Floats
from ecd_data.errors import UsageError
from ecd_models.model import DensityModel
from ecd_models.prediction.plausibility import warn_once

BOTH_SIGNS = (
    "use this magnetization only if the model learned such states, since one that learned ferromagnets alone is off by"
    " more than the magnetization itself (docs/fourier.md)"
)


def takes_moments(model: DensityModel) -> bool:
    """Whether a model gives the magnetization of the state that belongs to given initial moments."""
    return model.spin and hasattr(model.network, "moments")


@contextmanager
def choose_moments(model: DensityModel, crystal: Crystal, moments: ArrayLike | None, structure: Any) -> Iterator[None]:
    """A context in which a model gives the magnetic state that belongs to initial moments.

    Parameters
    ----------
    model, crystal : the model, and the crystal that it is asked for.
    moments : in Bohr magnetons [n], or one number for all atoms; None for those of the structure.
    structure : an ASE Atoms or a pymatgen Structure of the crystal, whose moments are taken if it has any.

    Raises
    ------
    UsageError : the moments are not one finite number for each atom, or the model takes none.
    """
    if moments is not None and not takes_moments(model):
        gives = "gives one magnetic state" if model.spin else "gives no magnetization"
        raise UsageError(f"{model.name} {gives} and takes no moments: take another model, or leave them out")
    if not takes_moments(model):
        yield
        return
    found = read_moments(structure) if moments is None else moments
    chosen = None if found is None else _for_atoms(crystal, found)
    if chosen is not None and chosen.min() < 0 < chosen.max():
        warn_once(model, f"{model.name} is asked for moments of both signs: {BOTH_SIGNS}")
    before, model.network.moments = model.network.moments, chosen
    try:
        yield
    finally:
        model.network.moments = before


def _for_atoms(crystal: Crystal, moments: ArrayLike) -> Floats:
    """The moments [n] of the atoms of a crystal, from one number or one for each."""
    try:
        values = np.asarray(moments, dtype=np.float64)
    except (TypeError, ValueError):
        raise UsageError(
            "moments are one number in Bohr magnetons for each atom: vectors, which mean a non-collinear magnetization,"
            " and texts are not taken"
        ) from None
    if values.shape not in ((), (len(crystal),)) or not np.isfinite(values).all():
        raise UsageError(
            f"{crystal.formula} has {len(crystal)} atoms and the moments have shape {list(values.shape)}: give one"
            " finite number in Bohr magnetons for each atom, or one for all"
        )
    return np.broadcast_to(values, len(crystal)).copy()


def read_moments(structure: Any) -> list[Any] | None:
    """The initial moments of an ASE Atoms or the `magmom` of a pymatgen Structure [n]; None if it has none.

    Raises
    ------
    UsageError : only some sites of a Structure have a moment.
    """
    if hasattr(structure, "get_initial_magnetic_moments"):
        return structure.get_initial_magnetic_moments().tolist() if structure.has("initial_magmoms") else None
    found = list(getattr(structure, "site_properties", {}).get("magmom") or [])
    missing = sum(moment is None for moment in found)
    if missing == len(found):
        return None
    if missing:
        raise UsageError(f"{missing} of {len(found)} sites of the structure have no magmom: give all of them, or none")
    return [_along_z(moment) for moment in found]


def _along_z(moment: Any) -> Any:
    """A moment as a number; as three where pymatgen's Magmom is not along z, of which float() is only the length."""
    if not hasattr(moment, "moment"):
        return moment
    vector = [float(component) for component in moment.moment]
    return vector if any(vector[:2]) else vector[2]
