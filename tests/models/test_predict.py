from __future__ import annotations

import copy
import tracemalloc

import numpy as np
import pytest
import torch

from ecd_data import Crystal
from ecd_data.errors import UsageError
from ecd_data.vasp_grid import vasp_fine_grid
from ecd_models import predict
from ecd_models.model import DensityModel
from ecd_models.networks import build_model
from ecd_models.prediction.network_outputs import grid_points
from tests.conftest import smooth_density
from tests.models.conftest import SMALL
from tests.models.test_atoms import cell, true_atoms


@pytest.fixture(scope="module")
def model() -> DensityModel:
    torch.manual_seed(0)
    return DensityModel(build_model("charge3net", **SMALL)).double()


@pytest.fixture(scope="module")
def tiny() -> DensityModel:
    """For grids of many points."""
    return DensityModel(build_model("charge3net", mul=6, lmax=1, num_interactions=1, num_basis=4)).double()


def test_a_grid_is_the_points_of_the_grid(model):
    crystal, shape = smooth_density().crystal, (7, 5, 6)
    rho = predict(model, crystal, shape=shape)
    points = grid_points(shape, 0, 7 * 5 * 6)
    np.testing.assert_allclose(rho.values.ravel(), predict(model, crystal, points=points), atol=1e-12)
    np.testing.assert_allclose(points[8], [0, 1 / 5, 2 / 6])


def test_the_difference_is_added_to_the_atoms_on_grids_and_at_points(tiny):
    crystal = cell(0)
    with_atoms = DensityModel(tiny.network, true_atoms())
    bare, full = (predict(m, crystal, shape=(24, 26, 22)) for m in (tiny, with_atoms))
    np.testing.assert_allclose(full.values - bare.values, true_atoms()(crystal, (24, 26, 22)).values, atol=1e-12)
    points = grid_points((24, 26, 22), 100, 130)
    np.testing.assert_allclose(predict(with_atoms, crystal, points=points), full.values.ravel()[100:130], atol=1e-4)


def test_a_prediction_far_from_the_electrons_of_its_atoms_is_told(tiny, caplog):
    model = DensityModel(copy.deepcopy(tiny.network), true_atoms(), "tiny")
    for size, told in ((0.0, False), (1e3, True)):
        with torch.no_grad():
            model.network.decoder.readout.fill_(size)
        predict(model, cell(0), shape=(8, 8, 8))
        assert ("tiny predicts" in caplog.text) == told
        assert ("tiny changes the density of the atoms" in caplog.text) == told


def test_symmetries_of_the_density(model):
    rho = smooth_density()
    crystal, shape = rho.crystal, (6, 6, 6)
    values = predict(model, crystal, shape=shape).values
    moved = Crystal(crystal.lattice, crystal.numbers, crystal.frac_coords + np.array([1, 2, 5]) / 6)
    np.testing.assert_allclose(
        predict(model, moved, shape=shape).values, np.roll(values, (1, 2, 5), (0, 1, 2)), atol=1e-9
    )
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    turned = Crystal(crystal.lattice @ rotation, crystal.numbers, crystal.frac_coords)
    np.testing.assert_allclose(predict(model, turned, shape=shape).values, values, atol=1e-9)
    double = Crystal(
        crystal.lattice * [[1], [1], [2]],
        np.tile(crystal.numbers, 2),
        np.concatenate([crystal.frac_coords, crystal.frac_coords + [0, 0, 1]]) / [1, 1, 2],
    )
    np.testing.assert_allclose(predict(model, double, shape=(6, 6, 12)).values, np.tile(values, (1, 1, 2)), atol=1e-9)


@pytest.mark.parametrize("shape", [(12, 12, 12), (10, 10, 10), (12, 12, 9)])
def test_symmetry_asks_fewer_points_and_gives_the_same(model, shape):
    half = 2.1
    lattice = np.array([[0, half, half], [half, 0, half], [half, half, 0]])
    crystal = Crystal(lattice, np.array([14, 14]), np.array([[0, 0, 0], [0.25, 0.25, 0.25]]))
    asked: list[int] = []
    rho = predict(model, crystal, shape=shape, symmetry=True, advance=asked.append)
    np.testing.assert_allclose(rho.values, predict(model, crystal, shape=shape).values, atol=1e-9)
    assert sum(asked) < rho.values.size / (20 if shape == (12, 12, 12) else 1.5)


def test_chunks_do_not_change_the_result(model, monkeypatch):
    crystal, shape = smooth_density().crystal, (12, 11, 10)
    whole = predict(model, crystal, shape=shape).values
    monkeypatch.setattr("ecd_models.prediction.network_outputs.MIN_CHUNK", 37)
    monkeypatch.setattr("ecd_models.prediction.network_outputs.MAX_CHUNK", 101)
    seen: list[int] = []
    np.testing.assert_allclose(predict(model, crystal, shape=shape, advance=seen.append).values, whole, atol=1e-12)
    assert sum(seen) == 12 * 11 * 10
    assert len(seen) > 10


def test_memory_does_not_grow_with_the_grid(tiny):
    crystal = smooth_density().crystal

    def peak(shape: tuple[int, int, int]) -> int:
        tracemalloc.start()
        predict(tiny, crystal, shape=shape)
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top - 2 * 8 * int(np.prod(shape))  # the output and its immutable copy

    small, large = peak((24, 24, 24)), peak((48, 48, 48))
    assert large < 2 * small + 8_000_000


def test_a_grid_or_points_must_be_asked_for(model):
    crystal = smooth_density().crystal
    with pytest.raises(UsageError, match="one of the two"):
        predict(model, crystal)  # type: ignore[call-overload]
    with pytest.raises(UsageError, match="three positive"):
        predict(model, crystal, shape=(4, 0, 4))
    assert predict(model, crystal, points=np.zeros((0, 3))).shape == (0,)


def test_atoms_without_elements_are_refused(model):
    with pytest.raises(UsageError, match="names no elements"):
        predict(model, Crystal(np.eye(3) * 4, np.array([0]), np.zeros((1, 3))), shape=(4, 4, 4))


def test_atoms_of_ase_and_structures_of_pymatgen_are_taken(model):
    crystal = smooth_density().crystal
    due = predict(model, crystal, shape=(6, 5, 7)).values
    for given in (crystal.to_ase(), crystal.to_pymatgen()):
        rho = predict(model, given, shape=(6, 5, 7))
        np.testing.assert_allclose(rho.values, due, atol=1e-9)
        assert isinstance(rho.crystal, Crystal)


def test_what_is_no_crystal_is_refused(model):
    from ase import Atoms
    from pymatgen.core import Lattice, Molecule, Structure

    alloy = Structure(Lattice.cubic(4), [{"Si": 0.5, "Ge": 0.5}], [[0, 0, 0]])
    for wrong, word in (
        (Atoms("H2", [[0, 0, 0], [0, 0, 1]]), "no cell"),
        (Atoms("H", cell=[3, 3, 0]), "no cell"),
        (alloy, "partial occupancies"),
        (Molecule(["H"], [[0, 0, 0]]), "wants a Crystal"),
        (smooth_density(), "its .crystal"),
        ("Si.cif", "not a str"),
    ):
        with pytest.raises(UsageError, match=word):
            predict(model, wrong, shape=(4, 4, 4))


def test_a_cutoff_makes_the_grid_of_vasp(tiny):
    crystal = cell(0)
    for encut, prec in ((30, "accurate"), (45.0, "normal"), (20, "single")):
        assert predict(tiny, crystal, encut=encut, prec=prec).shape == vasp_fine_grid(crystal.lattice, encut, prec)
    for wrong in (-1, 0, float("nan")):
        with pytest.raises(UsageError, match="cutoff"):
            predict(tiny, crystal, encut=wrong)
    with pytest.raises(UsageError, match="one of the two"):
        predict(tiny, crystal, encut=30, shape=(4, 4, 4))


def test_a_charged_structure_is_told_that_its_prediction_is_neutral(model, caplog):
    crystal = cell(0)
    neutral, atoms, structure = crystal.to_ase(), crystal.to_ase(), crystal.to_pymatgen()
    predict(model, neutral, shape=(4, 4, 4))
    assert "neutral" not in caplog.text
    atoms.set_initial_charges([1.0] + [0.0] * (len(crystal) - 1))
    structure.set_charge(-2)
    for charged, said in ((atoms, "charge of +1"), (structure, "charge of -2")):
        caplog.clear()
        predict(model, charged, shape=(4, 4, 4))
        assert said in caplog.text


def test_atoms_at_a_side_that_does_not_repeat_are_told(tiny, caplog):
    """A molecule at the origin of a box without periodicity has an eighth of its density in the box."""
    told = {
        ("centred", False): ((0.5, 0.5, 0.5), (False, False, False)),
        ("at the origin", True): ((0.0, 0.0, 0.0), (False, False, False)),
        ("outside", True): ((0.5, 0.5, -0.1), (True, True, False)),
        ("outside along a periodic axis", False): ((-0.1, 0.5, 0.5), (True, True, False)),
        ("periodic", False): ((0.0, 0.0, 0.0), (True, True, True)),
    }
    for (_, expected), (position, pbc) in told.items():
        caplog.clear()
        predict(tiny, Crystal(np.eye(3) * 8, [8], [position], pbc), shape=(6, 6, 6))
        assert ("does not repeat along" in caplog.text) == expected
