"""The rule for converged k meshes of the sample's cells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ecd_data.sample.costs import estimate_seconds

KSPACING = 0.04  # largest distance of k points along an axis, in 2 pi / Å
NARROW_KSPACING = 0.025  # the same for metals and gaps below 1 eV, where a coarser mesh changes density and energy most
QSPACING = 0.055  # HSE06: largest distance of q points along an axis, in 2 pi / Å
NARROW_GAP = 1.0  # eV, PBE; what lies below counts as narrow

Record = dict[str, Any]


def converged_kmesh(lattice: Any, narrow_gap: bool) -> list[int]:
    """The Gamma-centred mesh [3] of a cell: points at most 0.04 x 2 pi / Å apart.

    Parameters
    ----------
    lattice : lattice vectors as rows [3, 3] in Å.
    narrow_gap : whether the crystal is a metal or has a PBE gap below 1 eV. Then points are at most 0.025 x 2 pi / Å
        apart, and their number along each axis is even.
    """
    lengths = np.linalg.norm(np.linalg.inv(np.array(lattice)), axis=0)  # of the reciprocal vectors, without 2 pi
    spacing = NARROW_KSPACING if narrow_gap else KSPACING
    points = np.ceil(lengths / spacing - 1e-9).astype(int)  # a spacing that fits exactly needs no further point
    return (points + points % 2 if narrow_gap else points).tolist()


def hybrid_mesh(lattice: Any) -> list[int]:
    """The Gamma-centred mesh [3] of k and of q points for HSE06: points at most 0.055 x 2 pi / Å apart.

    It holds for all crystals. The meshes of `qmesh_hse` in structures.json, max(3, round(2 |b|)), have a spacing of
    about 0.08; silicon has 4x4x4 points there, and 6x6x6 here.
    """
    lengths = np.linalg.norm(np.linalg.inv(np.array(lattice)), axis=0)
    return np.ceil(lengths / QSPACING - 1e-9).astype(int).tolist()


def refine_meshes(records: Mapping[str, Record]) -> dict[str, Record]:
    """The records with converged k meshes by id, the cheapest first.

    A derived cell has the mesh density of its crystal, whatever its own gap is, so that both can be compared. Molecules
    in a box keep their single k point.
    """
    found = {id: record | {"kmesh": _kmesh(record)} for id, record in records.items()}
    return dict(sorted(found.items(), key=lambda item: (estimate_seconds(item[1]), item[0])))


def _kmesh(record: Record) -> list[int]:
    if record["kmesh"] == [1, 1, 1]:
        return [1, 1, 1]
    return converged_kmesh(record["lattice"], has_narrow_gap(record))


def has_narrow_gap(record: Record) -> bool:
    """Whether the crystal is a metal or it or one of its derived cells has a PBE gap below 1 eV."""
    return bool(record["metal"] or record.get("narrow_gap", False))
