"""Density to and from pymatgen's volumetric data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ecd_data.crystal import Crystal
from ecd_data.density import Density

if TYPE_CHECKING:
    from pymatgen.io.vasp import Chgcar


def to_chgcar(rho: Density) -> Chgcar:
    """A pymatgen `Chgcar`: rho * V in "total" and, with spin, "diff"; augmentation text by block in `data_aug`."""
    from pymatgen.io.vasp import Chgcar, Poscar

    volume = rho.crystal.volume
    data = {"total": rho.values * volume}
    if rho.magnetization is not None and rho.magnetization.ndim == 3:
        data["diff"] = rho.magnetization * volume
    elif rho.magnetization is not None:
        data |= {f"diff_{axis}": m * volume for axis, m in zip("xyz", rho.magnetization, strict=True)}
        data["diff"] = np.linalg.norm(rho.magnetization, axis=0) * volume
    augmentation = {}
    if rho.augmentation is not None:
        augmentation = {key: tail.splitlines(keepends=True) for key, tail in zip(data, rho.augmentation, strict=False)}
    return Chgcar(Poscar(rho.crystal.to_pymatgen()), data, data_aug=augmentation)  # type: ignore[arg-type]


def from_chgcar(chgcar: Chgcar) -> Density:
    """The Density of a pymatgen `Chgcar` (rho * V in "total", "diff")."""
    crystal = Crystal.from_pymatgen(chgcar.structure)  # type: ignore[arg-type]
    data = {key: np.asarray(grid) / crystal.volume for key, grid in chgcar.data.items()}
    spin = data.get("diff")
    if "diff_x" in data:
        spin = np.stack([data[f"diff_{axis}"] for axis in "xyz"])
    tails = ["".join(chgcar.data_aug[key]) for key in ("total", "diff") if isinstance(chgcar.data_aug.get(key), list)]
    return Density(crystal, data["total"], spin, tuple(tails) or None)
