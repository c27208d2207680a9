"""Prediction on a device: on a GPU where there is one, else on tensors of the processor, kernels through Triton's
interpreter."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from importlib import import_module, util
from typing import Any

import numpy as np
import pytest
import torch

from ecd_data import Crystal
from ecd_data.errors import UsageError
from ecd_models import predict
from ecd_models.atoms.fitted import EXPONENTS, MAX_ELEMENT, SuperposedAtoms
from ecd_models.batch import make_item
from ecd_models.device import Device
from ecd_models.device.bricks import GridBricks, choose_block
from ecd_models.device.chunks import split_into_chunks
from ecd_models.device.near import Counts, count_near, edge_mask, find_near
from ecd_models.device.superposed_atoms import superpose
from ecd_models.graph import Neighbors
from ecd_models.model import DensityModel
from ecd_models.networks import build_model
from tests.conftest import smooth_density

ON = torch.device("cuda" if torch.cuda.is_available() else "cpu")
SMALL: dict[str, dict[str, Any]] = {
    "charge3net": {"mul": 60, "num_interactions": 2},
    "invcharge3net": {"mul": 40, "num_interactions": 2},
    "deepdft": {"hidden_state_size": 24, "num_interactions": 2, "distance_embedding_size": 12},
    "bounded deepdft": {"hidden_state_size": 24, "num_interactions": 2, "distance_embedding_size": 12, "bounded": True},
    "invdeepdft": {"hidden_state_size": 24, "num_interactions": 3},
}
CELLS: dict[str, Callable[[], Crystal]] = {
    "oblique": lambda: smooth_density().crystal,
    "one atom": lambda: Crystal(np.eye(3) * 3.1, np.array([29]), np.zeros((1, 3))),
    "nothing near": lambda: Crystal(np.eye(3) * 14.0, np.array([8]), np.full((1, 3), 0.5)),
    "thin": lambda: Crystal(np.diag([1.3, 6.0, 5.0]), np.array([6, 1]), np.array([[0, 0, 0], [0.5, 0.2, 0.1]])),
    "outside": lambda: Crystal(
        np.array([[0, 2.1, 2.1], [2.1, 0, 2.1], [2.1, 2.1, 0]]),
        np.array([12, 8]),
        np.array([[0, 0, 0], [-3.5, 5.5, 0.5]]),
    ),
    "slab": lambda: Crystal(
        np.diag([3.0, 3.2, 9.0]), np.array([14, 8]), np.array([[0, 0, 0.1], [0.5, 0.5, 0.3]]), pbc=(True, True, False)
    ),
}


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton, whose interpreter stands in for a GPU where there is none."""
    pytest.importorskip("triton", reason="the kernels need Triton")
    if ON.type == "cuda":
        return
    if os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("the kernels need a GPU or Triton's interpreter")
    from triton.runtime import interpreter

    patched: Callable[..., None] = interpreter._patch_lang_tensor

    def with_index(tensor: Any, scope: Any) -> None:  # numpy 2.4 refuses the interpreter's arrays of one number
        patched(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    monkeypatch.setattr(interpreter, "_patch_lang_tensor", with_index)


def network(name: str, **options: Any) -> Any:
    torch.manual_seed(0)
    return build_model(name.removeprefix("bounded "), **{**SMALL[name], **options}).eval()


@torch.no_grad()
def own(net: Any, crystal: Crystal, points: np.ndarray, dtype: torch.dtype = torch.float64) -> np.ndarray:
    """The outputs of the network's own `decode` [outputs, points]."""
    net = copy.deepcopy(net).to(dtype)
    item = make_item(Neighbors(crystal, net.cutoff), crystal.numbers, points, dtype=dtype)
    return net.decode(net.encode(item), item).numpy().reshape(len(points), -1).T


@torch.no_grad()
def device_of(net: Any, crystal: Crystal) -> Device:
    net, neighbors = copy.deepcopy(net).to(ON), Neighbors(crystal, net.cutoff)
    item = make_item(neighbors, crystal.numbers, np.zeros((0, 3))).to(ON)
    return Device(net, net.encode(item), item, neighbors)


def grid_of(shape: tuple[int, int, int]) -> np.ndarray:
    return np.stack(np.unravel_index(np.arange(np.prod(shape)), shape), axis=1) / np.array(shape)


def assert_same(found: torch.Tensor, net: Any, crystal: Crystal, points: np.ndarray) -> None:
    """Within 5e-6 of the largest output, or nearly as exact as the network's own float32 where that is less."""
    exact = own(net, crystal, points)
    assert found.shape == exact.shape
    rounding = 3 * np.abs(own(net, crystal, points, torch.float32) - exact).max()
    assert np.abs(found.cpu().numpy() - exact).max() <= max(5e-6 * np.abs(exact).max(), rounding)


@torch.no_grad()
def test_the_neighbours_of_a_grid_are_those_of_the_processor():
    for cell in CELLS.values():
        crystal, shape = cell(), (5, 6, 7)
        net = network("invdeepdft")
        device = device_of(net, crystal)
        bricks = GridBricks(shape, device.lattice, 32, ON, torch.float64)
        counts = count_near(device.images, bricks)
        near = find_near(device.images, bricks, 0, bricks.number, int(counts.entries.sum()))
        there = edge_mask(near)
        entry, point = there.nonzero(as_tuple=True)
        place = near.place[near.brick.long()[entry], point]
        real = place < bricks.count
        vec = (near.points[near.brick.long()[entry], :, point] - near.images[entry])[real]
        edges = Neighbors(crystal, net.cutoff).probes(grid_of(shape))
        ours = np.lexsort(np.round(np.c_[vec.cpu().double(), near.atoms[entry][real].cpu(), place[real].cpu()], 4).T)
        theirs = np.lexsort(np.round(np.c_[edges.vec, edges.src, edges.dst], 4).T)
        np.testing.assert_array_equal(place[real].cpu().numpy()[ours], edges.dst[theirs])
        np.testing.assert_array_equal(near.atoms[entry][real].cpu().numpy()[ours], edges.src[theirs])
        np.testing.assert_allclose(vec.cpu().numpy()[ours], edges.vec[theirs], atol=1e-5)


def test_an_edge_as_long_as_the_cutoff_counts_and_a_longer_one_does_not():
    net = network("invcharge3net", num_interactions=1)
    crystal = Crystal(np.eye(3) * 8.0, np.array([8]), np.zeros((1, 3)))
    device = device_of(net, crystal)
    points = np.array([[0.5, 0, 0], [0.5, 1e-7, 0], [0.5 - 1e-8, 1e-7, 0], [0.2, 0, 0]])
    with torch.no_grad():
        found = device.at_points(device.plain, points)
    assert_same(found, net, crystal, points)
    assert found[0, 0] != 0


def test_blocks_are_compact_and_no_larger_than_their_grid():
    assert choose_block((96, 96, 96), np.eye(3) * 4.2, 64) == (4, 4, 4)
    assert choose_block((20, 20, 200), np.diag([5, 5, 5.0]), 32) == (2, 1, 16)
    assert choose_block((1, 1, 3), np.eye(3), 16) == (1, 1, 16)  # more than there are: the rest is nobody's
    assert choose_block((2, 40, 40), np.diag([0.1, 4, 4]), 64) == (2, 8, 4)


def test_chunks_keep_to_the_memory_they_are_given():
    counts = Counts(np.array([5, 5, 50, 5, 5]), np.ones(5, np.int64))
    assert split_into_chunks(counts, 32, 100, (0, 0, 0), 32 * 60 * 10) == [(0, 2), (2, 3), (3, 5)]
    assert split_into_chunks(counts, 32, 1 << 30, (0, 0, 0), 1 << 40) == [(k, k + 1) for k in range(5)]


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("cell", CELLS)
@torch.no_grad()
def test_plain_outputs_are_those_of_the_network(name, cell):
    net, crystal, shape = network(name), CELLS[cell](), (5, 3, 4)
    device = device_of(net, crystal)
    assert_same(device.on_grid(device.plain, shape), net, crystal, grid_of(shape))
    points = np.concatenate([np.random.default_rng(3).random((40, 3)) * 3 - 1, crystal.frac_coords])
    if all(crystal.pbc):
        assert_same(device.at_points(device.plain, points), net, crystal, points)


@pytest.mark.parametrize("name", SMALL)
@torch.no_grad()
def test_chunks_and_progress_change_nothing(name):
    net, crystal, shape = network(name, outputs=2), CELLS["oblique"](), (7, 6, 5)
    device, seen = device_of(net, crystal), []
    whole = device.on_grid(device.plain, shape)
    pieces = device.on_grid(device.plain, shape, seen.append, memory=300_000)
    assert len(seen) > 1
    assert sum(seen) == 210
    scale = float(whole.abs().max())
    torch.testing.assert_close(pieces, whole, rtol=0, atol=1e-6 * scale)


@pytest.mark.parametrize("name", SMALL)
@torch.no_grad()
def test_kernels_give_what_the_network_gives(kernels, name):
    net, crystal = network(name), CELLS["oblique"]()
    device = device_of(net, crystal)
    points = np.concatenate([0.2 + 0.1 * np.random.default_rng(3).random((30, 3)), crystal.frac_coords[:2]])
    decoder = device.make_kernels()
    assert decoder is not None
    assert_same(device.at_points(decoder, points), net, crystal, points)


@pytest.mark.parametrize("lmax", [1, 2, 3])
@torch.no_grad()
def test_kernels_for_each_lmax(kernels, lmax):
    net, crystal = network("charge3net", lmax=lmax, outputs=2), CELLS["oblique"]()
    device = device_of(net, crystal)
    points = 0.4 + 0.1 * np.random.default_rng(3).random((20, 3))
    assert_same(device.at_points(device.make_kernels(), points), net, crystal, points)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("cell", ["one atom", "nothing near", "thin", "slab"])
@torch.no_grad()
def test_kernels_in_hard_cells(kernels, name, cell):
    net, crystal = network(name, num_interactions=1), CELLS[cell]()
    device = device_of(net, crystal)
    places = 0.02 * np.random.default_rng(3).random((14, 3)) + (crystal.frac_coords[0] if cell != "nothing near" else 0)
    points = np.concatenate([places, crystal.frac_coords[:1]])
    size = 16
    found = device.at_points(device.make_kernels(), points, size=size)
    assert_same(found, net, crystal, points)


@torch.no_grad()
def test_an_edited_formula_is_not_answered_by_the_kernels(kernels, monkeypatch, caplog):
    net, crystal = network("invcharge3net", num_interactions=1), CELLS["nothing near"]()
    before = type(net).decode
    monkeypatch.setattr("ecd_models.device.COMPARED_POINTS", 8)
    crystal = Crystal(np.eye(3) * 5.0, crystal.numbers, crystal.frac_coords)
    assert device_of(net, crystal).kernels() is not None
    monkeypatch.setattr(type(net), "decode", lambda *args: 1.01 * before(*args))
    assert device_of(net, crystal).kernels() is None
    assert "its formula was changed" in caplog.text


def test_without_triton_the_networks_own_decode_is_used_and_the_log_says_so_once(monkeypatch, caplog):
    net, crystal = network("deepdft"), CELLS["oblique"]()
    monkeypatch.setattr("ecd_models.device.REASONS", set())
    monkeypatch.setattr("ecd_models.device.find_spec", lambda name: None if name == "triton" else util.find_spec(name))
    device = device_of(net, crystal)
    assert device.kernels() is None
    assert device.kernels() is None
    assert caplog.text.count("no Triton") == 1


def fitted() -> SuperposedAtoms:
    coefficients = np.full((MAX_ELEMENT + 1, len(EXPONENTS)), np.nan)
    coefficients[1:] = 3 * np.eye(len(EXPONENTS))[6:12].mean(axis=0)
    return SuperposedAtoms(coefficients)


@pytest.mark.parametrize("shape", [(20, 21, 24), (9, 8, 7), (1, 4, 5)])
def test_superposed_atoms_are_those_of_the_processor(shape):
    crystal, atoms = CELLS["oblique"](), fitted()
    found = superpose(atoms, crystal, shape, ON).cpu().numpy()
    np.testing.assert_allclose(found, atoms(crystal, shape).values, rtol=1e-9, atol=1e-10)


def test_superposed_atoms_of_an_element_that_was_not_fitted():
    with pytest.raises(UsageError, match="no atomic density for"):
        superpose(SuperposedAtoms(np.full((119, len(EXPONENTS)), np.nan)), CELLS["one atom"](), (4, 4, 4), ON)


@pytest.mark.parametrize("symmetry", [False, True])
@pytest.mark.parametrize("name", ["charge3net", "deepdft"])
def test_predict_on_a_device_gives_what_it_gives_on_the_processor(name, symmetry, monkeypatch):
    crystal, shape = CELLS["outside"](), (6, 6, 6)
    valences = np.full(119, 4.0)
    model = DensityModel(network(name, outputs=2), fitted(), valences=valences)
    whole = {"shape": shape, "refuse": False, "symmetry": symmetry}
    there = predict(model, crystal, fast=False, **whole)
    points = np.random.default_rng(0).random((9, 3))
    at = predict(model, crystal, points=points, refuse=False)
    monkeypatch.setattr("ecd_models.prediction.predict._is_on_device", lambda model: True)
    seen: list[int] = []
    here = predict(model.to(ON), crystal, advance=seen.append, **whole)
    scale = np.abs(there.values).max()
    np.testing.assert_allclose(here.values, there.values, rtol=0, atol=1e-5 * scale)
    np.testing.assert_allclose(here.magnetization, there.magnetization, rtol=0, atol=1e-5 * scale)
    np.testing.assert_allclose(
        predict(model, crystal, points=points, refuse=False), at, rtol=0, atol=1e-5 * np.abs(at).max()
    )
    assert sum(seen) == (216 if not symmetry else seen[0])


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("name", SMALL)
def test_autocast_changes_no_number(name, fast, monkeypatch, request):
    if fast:
        request.getfixturevalue("kernels")
    monkeypatch.setattr("ecd_models.prediction.predict._is_on_device", lambda model: True)
    monkeypatch.setattr("ecd_models.device.COMPARED_POINTS", 4)
    crystal = Crystal(np.eye(3) * 5.0, np.array([8]), np.zeros((1, 3)))
    model = DensityModel(network(name, num_interactions=1).to(ON))
    whole = {"shape": (2, 2, 4), "fast": fast, "refuse": False}
    exact = predict(model, crystal, **whole).values
    with torch.autocast(ON.type, dtype=torch.bfloat16):
        np.testing.assert_array_equal(predict(model, crystal, **whole).values, exact)


def test_kernels_that_are_asked_for_and_not_there_are_an_error(monkeypatch):
    model = DensityModel(network("deepdft"))
    monkeypatch.setattr("ecd_models.prediction.predict._is_on_device", lambda model: True)
    monkeypatch.setattr("ecd_models.device.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="no GPU kernels"):
        predict(model, CELLS["oblique"](), shape=(2, 2, 2), fast=True)


@pytest.mark.parametrize("name", ["invcharge3net", "invdeepdft"])
def test_tables_are_made_once_while_the_weights_stay_the_same(kernels, name, monkeypatch):
    monkeypatch.setattr("ecd_models.prediction.predict._is_on_device", lambda model: True)
    monkeypatch.setattr("ecd_models.device.COMPARED_POINTS", 8)
    crystal = Crystal(np.eye(3) * 5.0, np.array([8]), np.zeros((1, 3)))
    model = DensityModel(network(name, num_interactions=1).to(ON))
    made: list[int] = []
    kernels = import_module(f"ecd_models.networks.{'charge3net' if 'charge' in name else name}.gpu_kernel")
    radial_table = kernels.radial_table
    monkeypatch.setattr(
        kernels, "radial_table", lambda *args, **options: made.append(1) or radial_table(*args, **options)
    )
    whole = {"shape": (4, 4, 2), "fast": True, "refuse": False}
    first = predict(model, crystal, **whole).values
    np.testing.assert_array_equal(predict(model, crystal, **whole).values, first)
    assert len(made) == 1
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.1)
    changed = predict(model, crystal, **whole).values
    assert len(made) == 2
    own = predict(model, crystal, **{**whole, "fast": False}).values
    np.testing.assert_allclose(changed, own, rtol=0, atol=1e-5 * np.abs(own).max())
