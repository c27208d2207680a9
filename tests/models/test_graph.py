"""Neighbours against brute force over many images, and what must not change them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecd_data.crystal import Crystal
from ecd_data.errors import UsageError
from ecd_models.graph import Edges, Neighbors

CUTOFF = 4.0
REFERENCE = Path(__file__).parents[3] / "shared" / "reference" / "c3n_small_mgo_prim.npz"
ROCKSALT = Crystal(
    2.105 * np.array([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]]), np.array([12, 8]), np.array([[0.0, 0, 0], [-0.5, 0.5, 0.5]])
)


def probe_edges(crystal: Crystal, points: Any, cutoff: float) -> Edges:
    return Neighbors(crystal, cutoff).probes(points)


def random_crystal(seed: int, thin: bool = False, atoms: int = 4) -> Crystal:
    """A triclinic crystal with atoms in and around its cell."""
    rng = np.random.default_rng(seed)
    lengths = np.array([1.7, 5.0, 9.0]) if thin else rng.uniform(3.0, 7.0, 3)
    lattice = np.diag(lengths) + rng.uniform(-0.3, 0.3, (3, 3)) * lengths.min()
    return Crystal(lattice, rng.integers(1, 90, atoms), rng.uniform(-2, 2, (atoms, 3)))


def brute_force(crystal: Crystal, points: np.ndarray, reach: int = 12) -> Edges:
    """All pairs within the cutoff among a plain block of images."""
    shifts = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 3, indexing="ij"), -1).reshape(-1, 3)
    images = (crystal.frac_coords[:, None] + shifts) @ crystal.lattice
    found = []
    for k, point in enumerate(points @ crystal.lattice):
        vec = point - images
        atom, image = np.nonzero(np.linalg.norm(vec, axis=2) <= CUTOFF)
        found += [(a, k, v) for a, v in zip(atom, vec[atom, image], strict=True)]
    src, dst, vec = zip(*found, strict=True) if found else ((), (), np.zeros((0, 3)))
    return Edges(np.array(src, dtype=int), np.array(dst, dtype=int), np.array(vec).reshape(-1, 3))


def as_rows(edges: Edges) -> np.ndarray:
    """The edges as sorted rows, comparable whatever their order [e, 5]."""
    rows = np.column_stack([edges.dst, edges.src, np.round(edges.vec, 7) + 0.0])
    return rows[np.lexsort(rows.T[::-1])]


def assert_same(one: Edges, other: Edges) -> None:
    np.testing.assert_allclose(as_rows(one), as_rows(other), atol=2e-7)


@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 10**6), thin=st.booleans())
def test_edges_are_those_of_brute_force(seed: int, thin: bool) -> None:
    crystal = random_crystal(seed, thin)
    points = np.random.default_rng(seed).uniform(-1.5, 1.5, (5, 3))
    assert_same(probe_edges(crystal, points, CUTOFF), brute_force(crystal, points))
    expected = brute_force(crystal, crystal.frac_coords)
    kept = np.linalg.norm(expected.vec, axis=1) > 1e-9
    assert_same(Neighbors(crystal, CUTOFF).atoms(), Edges(*(part[kept] for part in expected)))


@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 10**6))
def test_wrapping_and_translation_change_nothing(seed: int) -> None:
    crystal = random_crystal(seed)
    rng = np.random.default_rng(seed)
    points, jumps, shift = rng.random((20, 3)), rng.integers(-2, 3, (len(crystal), 3)), rng.random(3)
    edges = probe_edges(crystal, points, CUTOFF)
    elsewhere = Crystal(crystal.lattice, crystal.numbers, crystal.frac_coords + jumps)
    assert_same(probe_edges(elsewhere, points + rng.integers(-2, 3, (20, 3)), CUTOFF), edges)
    assert_same(Neighbors(elsewhere, CUTOFF).atoms(), Neighbors(crystal, CUTOFF).atoms())
    moved = Crystal(crystal.lattice, crystal.numbers, crystal.frac_coords + shift)
    assert_same(probe_edges(moved, points + shift, CUTOFF), edges)


def test_a_supercell_has_the_same_surroundings() -> None:
    crystal = random_crystal(3)
    double = Crystal(
        crystal.lattice * np.array([[2], [1], [1]]),
        np.tile(crystal.numbers, 2),
        np.concatenate([(crystal.frac_coords + np.array([k, 0, 0])) / [2, 1, 1] for k in (0, 1)]),
    )
    points = np.random.default_rng(0).random((30, 3))
    small, large = probe_edges(crystal, points, CUTOFF), probe_edges(double, points / [2, 1, 1], CUTOFF)
    assert_same(small, Edges(large.src % len(crystal), large.dst, large.vec))
    assert len(Neighbors(double, CUTOFF).atoms().src) == 2 * len(Neighbors(crystal, CUTOFF).atoms().src)


def test_atoms_outside_the_cell_keep_their_neighbours() -> None:
    points = np.random.default_rng(1).random((300, 3))
    assert_same(probe_edges(ROCKSALT, points, CUTOFF), brute_force(ROCKSALT, points, reach=4))
    assert_same(probe_edges(ROCKSALT, points, CUTOFF), probe_edges(ROCKSALT.wrap_atoms(), points, CUTOFF))


@pytest.mark.skipif(not REFERENCE.is_file(), reason="edges of the published code are not here")
def test_edges_that_the_published_code_misses_are_found() -> None:
    arrays = np.load(REFERENCE)
    to_frac = np.linalg.inv(arrays["cell_A"])
    crystal = Crystal(arrays["cell_A"], arrays["numbers"], arrays["positions"] @ to_frac)
    points = arrays["probe_positions"]
    edges = probe_edges(crystal, points @ to_frac, CUTOFF)
    src, dst = arrays["in_probe_edges"][0].T
    vec = points[dst] - arrays["positions"][src] - arrays["in_probe_edges_displacement"][0] @ arrays["cell_A"]
    ours, theirs = ({tuple(np.round(row, 4)) for row in np.column_stack(e)} for e in (edges, (src, dst, vec)))
    assert theirs < ours
    assert len(ours - theirs) == 26
    assert_same(edges, brute_force(crystal, points @ to_frac, reach=4))


def test_a_probe_on_a_nucleus_sees_it_and_an_atom_does_not_see_itself() -> None:
    probes, atoms = probe_edges(ROCKSALT, [[0, 0, 0]], CUTOFF), Neighbors(ROCKSALT, CUTOFF).atoms()
    assert (np.linalg.norm(probes.vec, axis=1) == 0).sum() == 1
    assert np.linalg.norm(atoms.vec, axis=1).min() == pytest.approx(2.105)
    assert (atoms.src == atoms.dst).any()


def test_edges_are_ordered_by_receiver() -> None:
    neighbors = Neighbors(ROCKSALT, CUTOFF)
    assert (np.diff(neighbors.probes(np.random.default_rng(0).random((50, 3))).dst) >= 0).all()
    assert (np.diff(neighbors.atoms().dst) >= 0).all()


def test_vacuum_directions_are_not_repeated() -> None:
    molecule = Crystal(np.eye(3) * 3.0, np.array([1, 1]), np.array([[0.5, 0.5, 0.5], [0.75, 0.5, 0.5]]), (False,) * 3)
    assert len(Neighbors(molecule, CUTOFF).atoms().src) == 2
    chain = Crystal(molecule.lattice, molecule.numbers, molecule.frac_coords, (True, False, False))
    assert len(Neighbors(chain, CUTOFF).atoms().src) == 2 * (1 + 2 + 2)  # ±0.75 ±2.25 ±3.75 shared out, ±3 of each


def test_no_probes_and_no_neighbours() -> None:
    lonely = Crystal(np.eye(3) * 20.0, np.array([1]), np.zeros((1, 3)))
    assert probe_edges(lonely, np.zeros((0, 3)), CUTOFF).vec.shape == (0, 3)
    assert probe_edges(lonely, [[0.5, 0.5, 0.5]], CUTOFF).vec.shape == (0, 3)
    assert Neighbors(lonely, CUTOFF).atoms().vec.shape == (0, 3)


def test_unknown_elements_and_cutoffs_are_refused() -> None:
    nameless = Crystal(np.eye(3) * 4.0, np.array([0, 8]), np.zeros((2, 3)))
    with pytest.raises(UsageError, match="CHGCAR names no elements"):
        Neighbors(nameless, CUTOFF)
    with pytest.raises(UsageError, match="cutoff"):
        Neighbors(ROCKSALT, 0.0)
