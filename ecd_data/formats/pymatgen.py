"""Conversion of a Density to and from pymatgen's `Chgcar`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from ecd_data.crystal import Crystal, Floats
from ecd_data.errors import UsageError
from ecd_data.formats.vasp.occupancies import format_blocks, list_grids, parse_occupancies
from ecd_data.io.file_bytes import comment_line

if TYPE_CHECKING:
    from pymatgen.io.vasp import Chgcar

    from ecd_data.density import Density

OTHER_QUANTITIES = {"Elfcar": "an electron localization function", "Locpot": "a local potential"}
FIRST_VERSION_WITH_ARRAYS = (2026, 5, 17)  # of pymatgen; in older ones `data_aug` holds lines of text
# Pymatgen gives a non-collinear "diff" the sign of its component along this
POSITIVE_DIRECTION = np.array([1.01, 1.02, 1.03])


def to_chgcar(rho: Density) -> Chgcar:
    """A pymatgen `Chgcar` with rho * V as "total", "diff", "diff_x", ..., and the PAW occupancies as `data_aug`."""
    from pymatgen.io.vasp import Chgcar, Poscar

    volume = rho.crystal.volume
    data = {"total": rho.values * volume}
    if rho.magnetization is not None and rho.magnetization.ndim == 3:
        data["diff"] = rho.magnetization * volume
    elif rho.magnetization is not None:
        data |= {f"diff_{axis}": m * volume for axis, m in zip("xyz", rho.magnetization, strict=True)}
    blocks = dict(zip(data, rho.augmentation or (), strict=False))
    if len(data) == 4:
        data["diff"] = _signed_length(rho.magnetization) * volume  # type: ignore[arg-type]
    augmentation: dict[str, Any] = {key: parse_occupancies(text) for key, text in blocks.items()}
    if _pymatgen_keeps_lines():
        augmentation = {key: text.splitlines(keepends=True) for key, text in blocks.items()}
    comment = comment_line({"comment": rho.meta.get("comment")}, "").decode(errors="replace") or None
    return Chgcar(Poscar(rho.crystal.to_pymatgen(), comment=comment), data, data_aug=augmentation)


def _signed_length(magnetization: Floats) -> Floats:
    length: Floats = np.linalg.norm(magnetization, axis=0)
    return length * np.sign(np.tensordot(POSITIVE_DIRECTION, magnetization, axes=1))


def _pymatgen_keeps_lines() -> bool:
    from pymatgen.core import __version__

    return tuple(map(int, re.findall(r"\d+", __version__)[:3])) < FIRST_VERSION_WITH_ARRAYS


def read_chgcar_fields(chgcar: Chgcar) -> dict[str, Any]:
    """The fields of a Density, by name, from a pymatgen `Chgcar` with its augmentation occupancies.

    Raises
    ------
    UsageError : it holds another quantity than a density.
    FormatError : its occupancies do not belong to its atoms.
    """
    classes = [c.__name__ for c in type(chgcar).__mro__]
    kinds = [OTHER_QUANTITIES[name] for name in classes if name in OTHER_QUANTITIES]
    if not kinds and "Chgcar" not in classes:
        kinds = ["numbers of an unknown unit, as pymatgen reads a cube without multiplying by the volume"]
    if kinds or "total" not in chgcar.data:
        what = kinds[0] if kinds else f"{', '.join(chgcar.data)} and no total density"
        raise UsageError(f"the {type(chgcar).__name__} holds {what}: give a Chgcar, or its file to ecd_data.read")
    crystal = Crystal.from_pymatgen(chgcar.structure)  # type: ignore[arg-type]
    keys = list_grids(chgcar.data)
    total, *spin = (np.asarray(chgcar.data[key]) / crystal.volume for key in keys)
    augmentation = format_blocks(chgcar.data_aug or {}, keys, len(crystal), f"the {type(chgcar).__name__}")
    poscar = getattr(chgcar, "poscar", None)
    meta = {"comment": str(poscar.comment)} if poscar is not None else {}
    magnetization = np.stack(spin) if len(spin) == 3 else spin[0] if spin else None
    return {
        "crystal": crystal,
        "values": total,
        "magnetization": magnetization,
        "augmentation": augmentation,
        "meta": meta,
    }
