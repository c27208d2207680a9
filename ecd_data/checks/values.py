"""Checks of the numbers of a density: electron count, negative charge, magnetization, augmentation occupancies."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ecd_data.arithmetic import DERIVED_KINDS
from ecd_data.checks.report import Report, flag, problem
from ecd_data.density import Density
from ecd_data.formats.vasp.occupancies import AUGMENTATION
from ecd_data.formats.vasp.settings import valence_electrons
from ecd_data.io.density_names import DERIVED_COMMENTS, PREDICTED_BY

NEGATIVE_FRACTION = 1e-2  # of the charge: PAW and pseudo densities are slightly negative near cores
COUNT_TOLERANCE = 1e-3  # relative, and in electrons for small counts
WHOLE_TOLERANCE = 1e-3  # electrons: a count that is nearer to a whole number is whole
WHOLE_FRACTION = 2e-5  # of the count, for large ones: numbers of five digits give whole counts to 1e-6
UNCOUNTED_KINDS = {"all-electron": "all-electron", "pseudo": "pseudo-density"}  # meta["kind"] -> flag: no count is due
MOMENT_TOLERANCE = 0.05  # Bohr magnetons: the moment in OUTCAR belongs to the density before the last mixing


def is_finite(rho: Density) -> bool:
    """Whether all values of the density and the magnetization are finite."""
    return all(np.isfinite(grid).all() for grid in (rho.values, rho.magnetization) if grid is not None)


def check_values(rho: Density) -> Iterator[Report]:
    """The problems and flags of the numbers of a density."""
    yield from check_electrons(rho)
    yield from _check_sign(rho)
    if (rho.numbers == 0).any():
        yield flag("no-elements")
    yield from _check_spin(rho)
    yield from _check_augmentation(rho)
    if str(rho.meta.get("comment", "")).startswith(PREDICTED_BY):
        yield flag("predicted")
    yield from _check_origin(rho)


def _check_origin(rho: Density) -> Iterator[Report]:
    """A problem of what arithmetic made of densities; a sum of all-electron densities (AECCAR0 + AECCAR2) is none."""
    kind, comment = rho.meta.get("kind"), str(rho.meta.get("comment", "")).lstrip()
    if kind in DERIVED_KINDS or (kind is None and comment.startswith(DERIVED_COMMENTS)):
        yield problem("derived", f"it was computed from densities ({comment[:100] or kind}): a run's own is needed")


def check_electrons(rho: Density) -> Iterator[Report]:
    """Problems and flags of the electron count, compared with meta["nelect"], NELECT and ZVAL, else the nuclei."""
    if rho.meta.get("kind") in UNCOUNTED_KINDS:
        yield flag(UNCOUNTED_KINDS[rho.meta["kind"]])
        return
    if rho.meta.get("kind") == "partial":
        yield problem("partial", "it has the charge of some bands alone, as a PARCHG: give the CHGCAR of the run")
        return
    settings = rho.meta.get("settings", {})
    stated = {"meta": rho.meta.get("nelect"), "NELECT": settings.get("nelect"), "ZVAL": valence_electrons(settings)}
    if stated["NELECT"] is not None and stated["ZVAL"] is not None:
        charge = stated["ZVAL"] - stated["NELECT"]
        if abs(charge) > COUNT_TOLERANCE:
            yield flag("charged", f"NELECT is {stated['NELECT']:g}, the sum of the valences {stated['ZVAL']:g}")
        del stated["ZVAL"]
    for expected in stated.values():
        if expected is not None and abs(rho.nelect - expected) > COUNT_TOLERANCE * max(1.0, abs(expected)):
            sentence = f"the grid integrates to {rho.nelect:.4f} electrons where {expected:.4f} are stated"
            yield problem("electron-count", sentence)
            return
    if rho.nelect <= 0:
        yield problem("electron-count", f"the grid integrates to {rho.nelect:.4f} electrons")
    nuclear = int(rho.numbers.sum())
    if (rho.numbers > 0).all() and rho.nelect > nuclear * 1.05 + 1:
        sentence = f"{rho.nelect:.2f} electrons are more than the nuclear charge {nuclear} holds"
        yield problem("electron-count", f"{sentence}: not rho * V, or other axes")
    if stated["NELECT"] is None and stated.get("ZVAL") is None and rho.nelect > 0:
        yield from _check_count_alone(rho)


def _check_count_alone(rho: Density) -> Iterator[Report]:
    """Flags where a count that no run states is not a whole number, or below one for each atom heavier than H."""
    fraction = abs(rho.nelect - round(rho.nelect))
    if fraction > max(WHOLE_TOLERANCE, WHOLE_FRACTION * rho.nelect):
        yield flag(
            "fractional-count",
            f"{rho.nelect:.4f} electrons are not a whole number: the unit, cell or quantity may be wrong, or it is a"
            " part of the cell, unless the charge is fractional or there are partial occupancies or pseudo-hydrogen",
        )
    heavy = int((rho.numbers > 1).sum())
    if rho.nelect < heavy - max(WHOLE_TOLERANCE, WHOLE_FRACTION * heavy):
        yield flag("few-electrons", f"{rho.nelect:.4f} electrons for {heavy} atoms heavier than H")


def _check_sign(rho: Density) -> Iterator[Report]:
    negative = float(-rho.values[rho.values < 0].sum() / max(np.abs(rho.values).sum(), 1e-300))
    if negative > NEGATIVE_FRACTION:
        yield problem("negative-charge", f"{100 * negative:.1f} % of the charge is negative")
    elif negative > 0:
        yield flag("negative", f"{100 * negative:.2g} % of the charge is negative")


def _check_spin(rho: Density) -> Iterator[Report]:
    if rho.magnetization is None:
        if rho.meta.get("settings", {}).get("ispin") == 2 and rho.meta.get("kind") not in UNCOUNTED_KINDS:
            yield flag("no-magnetization")
        return
    yield flag("spin" if rho.magnetization.ndim == 3 else "non-collinear")
    vectors = rho.magnetization.reshape(-1, *rho.shape)
    absolute = float(np.linalg.norm(vectors, axis=0).mean() * rho.crystal.volume)
    if absolute > rho.nelect + COUNT_TOLERANCE:
        sentence = f"the magnetization of {absolute:.3f} exceeds the {rho.nelect:.3f} electrons"
        yield problem("magnetization", sentence)
    stated = rho.meta.get("properties", {}).get("total_magnetization")
    moment = float(np.linalg.norm(np.atleast_1d(np.array(rho.moment, dtype=np.float64))))
    if stated is not None and abs(moment - abs(stated)) > MOMENT_TOLERANCE + COUNT_TOLERANCE * rho.nelect:
        yield problem("magnetization", f"the moment is {moment:.3f} where the run states {abs(stated):.3f}")


def _check_augmentation(rho: Density) -> Iterator[Report]:
    if rho.augmentation is None:
        return
    grids = 1 if rho.magnetization is None else 1 + rho.magnetization.size // rho.values.size
    if len(rho.augmentation) != grids:
        yield problem("augmentation", f"{len(rho.augmentation)} blocks of augmentation occupancies for {grids} grids")
        return
    atoms = [len(AUGMENTATION.findall(block)) for block in rho.augmentation]
    if len(set(atoms)) > 1:
        counts = ", ".join(f"{count} atoms behind grid {number}" for number, count in enumerate(atoms, 1))
        yield problem("augmentation", f"augmentation occupancies of {counts}: some are missing")
    elif atoms[0] % max(1, len(rho.crystal)):
        yield problem(
            "augmentation", f"augmentation occupancies of {max(atoms)} atoms where {len(rho.crystal)} are due"
        )
