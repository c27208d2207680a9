"""Estimates of the CPU time of pw.x, by which runs are chosen and ordered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from ecd_data.crystal import SYMBOLS
from ecd_data.formats.units import BOHR

# CPU seconds of a PBE run with MKL for each k point, plane wave, occupied band and spin; fitted to 143 cells of the
# sample at converged meshes, whose times it gives within 25 % and whose sum within 2 %
SECONDS = 1.5e-5
# Valence electrons of the PseudoDojo files
VALENCE = {
    "H": 1, "He": 2, "Li": 3, "Be": 4, "B": 3, "C": 4, "N": 5, "O": 6, "F": 7, "Ne": 8, "Na": 9, "Mg": 10, "Al": 3,
    "Si": 4, "P": 5, "S": 6, "Cl": 7, "Ar": 8, "K": 9, "Ca": 10, "Sc": 11, "Ti": 12, "V": 13, "Cr": 14, "Mn": 15,
    "Fe": 16, "Co": 17, "Ni": 18, "Cu": 19, "Zn": 20, "Ga": 13, "Ge": 14, "As": 15, "Se": 16, "Br": 7, "Kr": 8,
    "Rb": 9, "Sr": 10, "Y": 11, "Zr": 12, "Nb": 13, "Mo": 14, "Tc": 15, "Ru": 16, "Rh": 17, "Pd": 18, "Ag": 19,
    "Cd": 20, "In": 13, "Sn": 14, "Sb": 15, "Te": 16, "I": 7, "Xe": 8, "Cs": 9, "Ba": 10, "La": 11, "Lu": 25,
    "Hf": 12, "Ta": 13, "W": 14, "Re": 15, "Os": 16, "Ir": 17, "Pt": 18, "Au": 19, "Hg": 20, "Tl": 13, "Pb": 14,
    "Bi": 15, "Po": 16, "Rn": 18,
}  # fmt: skip
# HSE06: factor, and powers of (k points x q points) and of (plane waves x occupied bands), fitted to the sample's 78
# crystals, whose times it gives within 40 % and whose sum within 8 %
HYBRID_SECONDS, HYBRID_POINT_POWER, HYBRID_WAVE_POWER = 6.4e-5, 0.73, 0.95


def estimate_seconds(record: Mapping[str, Any]) -> float:
    """The CPU seconds of a PBE run of a record with cutoff and k mesh."""
    spins = 2 if record.get("start_magnetisation") else 1
    points = count_kpoints(record, record["kmesh"])
    return SECONDS * spins * points * count_plane_waves(record) * count_electrons(record) / 2


def estimate_hybrid_seconds(record: Mapping[str, Any]) -> float:
    """The CPU seconds of an HSE06 run of a record with cutoff and q mesh, which is its k mesh too."""
    points = count_kpoints(record, record["qmesh_hse"]) * float(np.prod(record["qmesh_hse"]))
    waves = count_plane_waves(record) * count_electrons(record) / 2
    return HYBRID_SECONDS * points**HYBRID_POINT_POWER * waves**HYBRID_WAVE_POWER


def count_electrons(record: Mapping[str, Any]) -> int:
    """The valence electrons of a record."""
    return sum(VALENCE[SYMBOLS[number]] for number in record["numbers"])


def count_plane_waves(record: Mapping[str, Any]) -> float:
    """The number of plane waves below the cutoff: V E^(3/2) / (6 pi^2) in atomic units."""
    volume = abs(np.linalg.det(record["lattice"])) / BOHR**3
    return float(volume * record["ecutwfc_Ry"] ** 1.5 / (6 * np.pi**2))


def count_kpoints(record: Mapping[str, Any], mesh: Sequence[int]) -> int:
    """The number of k points of a mesh that symmetry leaves; half of the mesh without symmetry."""
    if not record.get("symmetry", True):
        return (int(np.prod(mesh)) + 1) // 2
    lattice, frac_coords = (tuple(map(tuple, record[key])) for key in ("lattice", "frac_coords"))
    return _count_irreducible(lattice, frac_coords, tuple(record["numbers"]), tuple(mesh))


@cache  # of one cell it is asked for again and again, and costs up to a tenth of a second
def _count_irreducible(
    lattice: tuple[tuple[float, ...], ...],
    frac_coords: tuple[tuple[float, ...], ...],
    numbers: tuple[int, ...],
    mesh: tuple[int, ...],
) -> int:
    import spglib

    cell = (lattice, frac_coords, numbers)
    mapping, _ = spglib.get_ir_reciprocal_mesh(mesh, cell, is_shift=[0, 0, 0], is_time_reversal=True)
    return len(np.unique(mapping))
