"""PAW occupancies from a reference CHGCAR for another density of the same atoms, which a restart of VASP needs."""

from __future__ import annotations

from dataclasses import replace

from ecd_data.density import Density
from ecd_data.errors import UsageError
from ecd_data.formats.vasp.occupancies import AUGMENTATION


def copy_augmentation(rho: Density, reference: Density) -> Density:
    """`rho` with the augmentation occupancies of `reference`, one block for each grid of `rho`.

    The occupancies belong to atoms and not to the grid, so the shapes may differ.

    Raises
    ------
    UsageError : the reference has no occupancies, other atoms or another order of them, or none for a magnetization.
    """
    if not reference.augmentation:
        raise UsageError("the reference has no augmentation occupancies: give a CHGCAR of a PAW calculation")
    if reference.crystal.symbols != rho.crystal.symbols:
        raise UsageError(
            f"the reference has the atoms {reference.crystal.formula} where {rho.crystal.formula} is due, or another"
            " order of them: give a CHGCAR of the same atoms in the same order"
        )
    if rho.magnetization is None:
        return replace(rho, augmentation=(_drop_moments(reference.augmentation[0]),))
    grids = 2 if rho.magnetization.ndim == 3 else 4
    if len(reference.augmentation) != grids:
        raise UsageError(f"the reference has {len(reference.augmentation)} grids where {grids} are due")
    return replace(rho, augmentation=reference.augmentation)


def has_augmentation_for(rho: Density, reference: Density) -> bool:
    """Whether `reference` has occupancies for the atoms and the grids of `rho`."""
    try:
        copy_augmentation(rho, reference)
    except UsageError:
        return False
    return True


def _drop_moments(block: str) -> str:
    """The block without the moments of the atoms, which VASP writes after it where there is a magnetization."""
    blocks = list(AUGMENTATION.finditer(block))
    if not blocks:
        return block
    last = blocks[-1]
    lines, numbers, due = block[last.end() :].splitlines(keepends=True), 0, int(last[1])
    for k, line in enumerate(lines):
        if numbers >= due:
            return block[: last.end()] + "".join(lines[:k])
        numbers += len(line.split())
    return block
