"""KPOINTS files of VASP: a mesh around Γ, or for HSE06 its irreducible points and a band path of weight 0."""

from __future__ import annotations

import warnings
from itertools import pairwise

import numpy as np

from ecd_data.crystal import Crystal
from ecd_data.errors import UsageError

PATH_SPACING = 0.04  # 1/Å, including 2 pi; the release's OUTCARs have floor(length / 0.04) points in a segment
SYMPREC = 1e-5  # VASP's default, so that no points are merged that VASP keeps apart
Mesh = tuple[int, int, int]
Corner = tuple[str, np.ndarray]


def mesh_text(mesh: Mesh) -> str:
    """The text of a KPOINTS file with a mesh around Γ."""
    return f"Mesh around Gamma\n0\nGamma\n{mesh[0]} {mesh[1]} {mesh[2]}\n0 0 0\n"


def band_text(crystal: Crystal, mesh: Mesh, path: list[tuple[Corner, Corner]]) -> str:
    """The text of a KPOINTS file: the irreducible points of a mesh around Γ, then a `band_path` with weight 0."""
    weighted, on_path = irreducible_points(crystal, mesh), path_points(crystal, path)
    rows = [f"{len(weighted)} points of a {mesh[0]}x{mesh[1]}x{mesh[2]} mesh, {len(on_path)} of a band path"]
    rows += [str(len(weighted) + len(on_path)), "Reciprocal"]
    rows += [_format_row(point, weight) for point, weight in weighted]
    rows += [f"{_format_row(point, 0)} {name}".rstrip() for name, point in on_path]
    return "\n".join(rows) + "\n"


def symmetric_mesh(crystal: Crystal, mesh: Mesh) -> Mesh:
    """The same mesh if the crystal's symmetry maps it onto itself, else a mesh with its largest number on all axes.

    VASP completes a list of points by symmetry. A mesh that the symmetry does not map onto itself, such as that of the
    Niggli cell of a body-centred tetragonal crystal, would get points that are in no mesh.
    """
    counts = np.array(mesh)
    # the mesh is the reciprocal lattice of the supercell N_i a_i, so the rotations must map that supercell onto itself
    rotated = _rotations(crystal).transpose(0, 2, 1) * counts[:, None] / counts
    if np.allclose(rotated, np.round(rotated), atol=1e-6):
        return mesh
    most = max(mesh)
    return most, most, most


def irreducible_points(crystal: Crystal, mesh: Mesh) -> list[tuple[np.ndarray, int]]:
    """The irreducible points of a mesh around Γ, each in fractional coordinates [3] with its weight.

    Raises UsageError if no symmetry is found, not even the identity, because atoms lie on top of each other.
    """
    import spglib

    _rotations(crystal)  # raises if there is no symmetry
    of_point, addresses = spglib.get_ir_reciprocal_mesh(mesh, _cell(crystal), is_shift=(0, 0, 0), symprec=SYMPREC)
    kept, weights = np.unique(of_point, return_counts=True)
    return [(addresses[k] / np.array(mesh), int(weight)) for k, weight in zip(kept, weights, strict=True)]


def path_points(crystal: Crystal, path: list[tuple[Corner, Corner]]) -> list[Corner]:
    """The points (name, fractional coordinates [3]) along a path, with both ends of each segment, which have names."""
    points: list[Corner] = []
    for (first, start), (last, end) in path:
        count = max(2, int(np.linalg.norm((end - start) @ crystal.reciprocal) / PATH_SPACING))
        between = [("", point) for point in np.linspace(start, end, count)[1:-1]]
        points += [(first, start), *between, (last, end)]
    return points


def band_path(crystal: Crystal) -> list[tuple[Corner, Corner]]:
    """The segments between the special points of Setyawan and Curtarolo, in fractional coordinates of this cell.

    Empty if the standard cell of the crystal cannot be mapped onto this cell.
    """
    from pymatgen.symmetry.analyzer import SymmetryUndeterminedError
    from pymatgen.symmetry.bandstructure import HighSymmKpath

    primitive = crystal.to_pymatgen().get_primitive_structure()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pymatgen warns of cells other than the standard one, handled below
            standard = HighSymmKpath(primitive)
    except SymmetryUndeterminedError:
        return []
    mapping = primitive.lattice.find_mapping(standard.prim.lattice, ltol=0.01, atol=1)
    if standard.kpath is None or mapping is None:
        return []
    # mapping[0] is the standard cell in the orientation of this one, and its reciprocal vectors rotate with it
    into_this_cell = np.linalg.inv(mapping[0].matrix).T @ crystal.lattice.T
    corners = {
        name: (_plain_label(name), np.asarray(k) @ into_this_cell) for name, k in standard.kpath["kpoints"].items()
    }
    return [(corners[first], corners[last]) for branch in standard.kpath["path"] for first, last in pairwise(branch)]


def _rotations(crystal: Crystal) -> np.ndarray:
    """The rotations of the crystal's symmetry in fractional coordinates [n, 3, 3], as VASP finds them."""
    import spglib

    found = spglib.get_symmetry(_cell(crystal), symprec=SYMPREC)
    if found is None:
        raise UsageError(f"{crystal.reduced_formula}: no symmetry is found; look for atoms on top of each other")
    rotations: np.ndarray = found["rotations"]
    return rotations


def _cell(crystal: Crystal) -> tuple[list[list[float]], list[list[float]], list[int]]:
    """The crystal as a tuple for spglib."""
    return crystal.lattice.tolist(), crystal.frac_coords.tolist(), crystal.numbers.tolist()


def _plain_label(name: str) -> str:
    return "GAMMA" if "Gamma" in name else name.replace("\\", "")


def _format_row(point: np.ndarray, weight: int) -> str:
    return " ".join(f"{x + 0.0:.10f}" for x in point) + f" {weight}"
