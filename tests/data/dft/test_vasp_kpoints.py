"""Points of HSE06 runs: an irreducible mesh that symmetry completes, and a band path whatever the cell is."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
import spglib
from pymatgen.io.vasp import Poscar

from ecd_data import Crystal
from ecd_data.dft.vasp_kpoints import band_path, band_text, irreducible_points, path_points, symmetric_mesh
from ecd_data.errors import UsageError

A, C = 3.0, 7.0
FCC = Crystal(np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) * 2.7, [14, 14], [[0, 0, 0], [0.25, 0.25, 0.25]])
HEXAGONAL = Crystal(
    [[A, 0, 0], [-A / 2, A * 0.75**0.5, 0], [0, 0, C]], [12, 12], [[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]]
)
NIGGLI = Crystal([[A, 0, 0], [0, A, 0], [A / 2, A / 2, C / 2]], [31], [[0, 0, 0]])  # of a body-centred tetragonal one
TRICLINIC = Crystal([[3, 0, 0], [0.3, 4, 0], [0.7, 0.2, 5]], [11, 17], [[0, 0, 0], [0.31, 0.12, 0.43]])
CRYSTALS = {"fcc": FCC, "hexagonal": HEXAGONAL, "niggli": NIGGLI, "triclinic": TRICLINIC}


def path_length(crystal: Crystal) -> float:
    reciprocal = np.linalg.inv(crystal.lattice).T
    return sum(float(np.linalg.norm((end - start) @ reciprocal)) for (_, start), (_, end) in band_path(crystal))


def release_points(shared, name: str) -> tuple[Crystal, np.ndarray]:
    """A crystal of the release and the points and weights [n, 4] that the OUTCAR of its HSE06 run has."""
    folder = shared / f"ecd/outcars/icsd-{name}_HSE"
    lines = gzip.decompress((folder / "OUTCAR.gz").read_bytes()).decode(errors="replace").splitlines()
    start = next(n for n, line in enumerate(lines) if "k-points in reciprocal lattice and weights" in line) + 1
    end = next(n for n in range(start, len(lines)) if not lines[n].strip())
    rows = np.array([[float(x) for x in line.split()] for line in lines[start:end]])
    return Crystal.from_pymatgen(Poscar.from_file(folder / "POSCAR").structure), rows


@pytest.mark.parametrize(("name", "mesh", "weighted"), [("163383-O1Zn1", 13, 84), ("168642-N1Pr1", 8, 35)])
def test_points_are_as_many_as_in_the_release(shared, name, mesh, weighted):
    crystal, rows = release_points(shared, name)
    points = irreducible_points(crystal, (mesh,) * 3)
    assert len(points) == weighted
    listed = rows[:weighted, 3]
    assert np.allclose(sorted(weight / mesh**3 for _, weight in points), sorted(listed), atol=6e-4)  # 3 decimals
    assert not rows[weighted:, 3].any()


@pytest.mark.parametrize(("name", "weighted"), [("163383-O1Zn1", 84), ("168642-N1Pr1", 35)])
def test_the_path_is_as_dense_and_has_the_special_points_of_the_release(shared, name, weighted):
    crystal, rows = release_points(shared, name)
    reciprocal = np.linalg.inv(crystal.lattice).T
    listed = rows[weighted:, :3]
    steps = np.linalg.norm(np.diff(listed, axis=0) @ reciprocal, axis=1)
    ours = np.array([point for _, point in path_points(crystal, band_path(crystal))])
    assert np.median(np.linalg.norm(np.diff(ours, axis=0) @ reciprocal, axis=1)) == pytest.approx(
        np.median(steps), rel=0.05
    )
    corners = np.array([end for segment in band_path(crystal) for _, end in segment])
    lengths = np.linalg.norm(listed @ reciprocal, axis=1)
    for corner in np.linalg.norm(corners @ reciprocal, axis=1):
        assert np.abs(lengths - corner).min() < 1e-5


@pytest.mark.parametrize("name", CRYSTALS)
def test_symmetry_makes_the_whole_mesh_of_the_points(name):
    crystal = CRYSTALS[name]
    mesh = symmetric_mesh(crystal, (4, 4, 3))
    cell = crystal.lattice.tolist(), crystal.frac_coords.tolist(), crystal.numbers.tolist()
    turns = [sign * np.linalg.inv(r).T for r in spglib.get_symmetry(cell)["rotations"] for sign in (1, -1)]
    seen: set[tuple[int, ...]] = set()
    for point, weight in irreducible_points(crystal, mesh):
        star = np.array([turn @ point * mesh for turn in turns])
        assert np.allclose(star, np.round(star), atol=1e-6)
        found = {tuple(p) for p in np.round(star).astype(int) % mesh}
        assert len(found) == weight
        assert not found & seen
        seen |= found
    assert len(seen) == np.prod(mesh)


def test_a_mesh_that_symmetry_does_not_keep_is_made_finer():
    assert symmetric_mesh(NIGGLI, (5, 5, 3)) == (5, 5, 5)
    assert symmetric_mesh(NIGGLI, (3, 3, 6)) == (3, 3, 6)
    assert symmetric_mesh(HEXAGONAL, (5, 4, 3)) == (5, 5, 5)
    assert symmetric_mesh(HEXAGONAL, (5, 5, 3)) == (5, 5, 3)
    assert symmetric_mesh(TRICLINIC, (5, 4, 3)) == (5, 4, 3)


@pytest.mark.parametrize("name", CRYSTALS)
def test_the_path_does_not_depend_on_how_the_cell_is_laid(name):
    crystal = CRYSTALS[name]
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    turned = Crystal(crystal.lattice @ turn, crystal.numbers, crystal.frac_coords)
    other = np.array([[1, 1, 0], [0, 1, 0], [0, -1, 1]])
    skewed = Crystal(other @ crystal.lattice, crystal.numbers, crystal.frac_coords @ np.linalg.inv(other))
    twice = Crystal(
        np.diag([2, 1, 1]) @ crystal.lattice,
        np.tile(crystal.numbers, 2),
        np.vstack([(crystal.frac_coords + [n, 0, 0]) / [2, 1, 1] for n in range(2)]),
    )
    for same in (turned, skewed, twice):
        assert path_length(same) == pytest.approx(path_length(crystal), rel=1e-4)


def test_names_are_at_the_ends_of_segments():
    path = band_path(FCC)
    points = path_points(FCC, path)
    assert {name for name, _ in points} == {"", "GAMMA", "X", "W", "K", "L", "U"}
    assert [name for name, _ in points if name] == [name for segment in path for name, _ in segment]
    text = band_text(FCC, (2, 2, 2), path).splitlines()
    assert int(text[1]) == len(text) - 3 == len(points) + 3
    assert text[-1].endswith(" 0 X")


def test_atoms_on_top_of_each_other_are_refused():
    twice = Crystal(np.eye(3) * 4, [11, 11], [[0, 0, 0], [0, 0, 0]])
    assert band_path(twice) == []
    with pytest.raises(UsageError, match="on top of each other"):
        irreducible_points(twice, (2, 2, 2))
