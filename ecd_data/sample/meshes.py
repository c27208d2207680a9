"""The rule for converged k meshes of the sample's cells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecd_data.sample.costs import estimate_hybrid_seconds, estimate_seconds

KSPACING = 0.04  # largest distance of k points along an axis, in 2 pi / Å
NARROW_KSPACING = 0.025  # the same for metals and gaps below 1 eV, where a coarser mesh changes density and energy most
QSPACING = 0.085  # HSE06, whose time grows with the square of the points: the same for k and q points
NARROW_QSPACING = 0.06  # the same where the PBE gap is below 1 eV
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
    points = _count_points(lattice, NARROW_KSPACING if narrow_gap else KSPACING)
    return (points + points % 2 if narrow_gap else points).tolist()


def hybrid_mesh(lattice: Any, narrow_gap: bool) -> list[int]:
    """The Gamma-centred mesh [3] of k and of q points for HSE06: points at most 0.085 x 2 pi / Å apart, an even number.

    pw.x gives no levels of a hybrid on other points than those of the run, so the mesh must have the zone boundary,
    where band edges often lie.

    Parameters
    ----------
    lattice : lattice vectors as rows [3, 3] in Å.
    narrow_gap : whether the crystal has a PBE gap below 1 eV. Then points are at most 0.06 x 2 pi / Å apart.
    """
    points = _count_points(lattice, NARROW_QSPACING if narrow_gap else QSPACING)
    return (points + points % 2).tolist()


def _count_points(lattice: Any, spacing: float) -> NDArray[np.int64]:
    lengths = np.linalg.norm(np.linalg.inv(np.array(lattice)), axis=0)  # of the reciprocal vectors, without 2 pi
    return np.ceil(lengths / spacing - 1e-9).astype(np.int64)  # a spacing that fits exactly needs no further point


def refine_meshes(records: Mapping[str, Record]) -> dict[str, Record]:
    """The records with converged k meshes by id, the cheapest first.

    A derived cell has the mesh density of its crystal, whatever its own gap is, so that both can be compared. Molecules
    in a box keep their single k point.
    """
    found = {id: record | {"kmesh": _kmesh(record)} for id, record in records.items()}
    return dict(sorted(found.items(), key=lambda item: (estimate_seconds(item[1]), item[0])))


def refine_hybrids(records: Mapping[str, Record]) -> dict[str, Record]:
    """The records of crystals with HSE06 with the meshes of `hybrid_mesh` by id, the cheapest first."""
    found = {id: r | {"qmesh_hse": hybrid_mesh(r["lattice"], has_narrow_gap(r))} for id, r in records.items()}
    return dict(sorted(found.items(), key=lambda item: (estimate_hybrid_seconds(item[1]), item[0])))


def _kmesh(record: Record) -> list[int]:
    if record["kmesh"] == [1, 1, 1]:
        return [1, 1, 1]
    return converged_kmesh(record["lattice"], has_narrow_gap(record))


def has_narrow_gap(record: Mapping[str, Any]) -> bool:
    """Whether the crystal is a metal or it or one of its derived cells has a PBE gap below 1 eV."""
    return bool(record["metal"] or record.get("narrow_gap", False))
