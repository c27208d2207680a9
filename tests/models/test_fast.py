from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from importlib import util

import numpy as np
import pytest
import torch
from torch import nn

from ecd_data import Crystal
from ecd_data.errors import UsageError
from ecd_models import predict
from ecd_models.batch import make_item
from ecd_models.graph import Neighbors
from ecd_models.kernels import Decoder, fast_decoder
from ecd_models.model import DensityModel
from ecd_models.networks import build_model
from ecd_models.prediction import network_outputs
from tests.conftest import smooth_density

pytest.importorskip("numba")


def network(lmax: int = 4, mul: int = 60, layers: int = 3, heat: float = 1.0, **options: int) -> nn.Module:
    """A small ChargE3Net; with heat above 1 its weights are larger, so that every part of it matters."""
    torch.manual_seed(lmax)
    net = build_model("charge3net", lmax=lmax, mul=mul, num_interactions=layers, **options)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(heat)
    return net.eval()


def encoded(net: nn.Module, crystal: Crystal, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    return net.encode(make_item(Neighbors(crystal, net.cutoff), crystal.numbers, np.zeros((0, 3)), dtype=dtype))


@torch.inference_mode()
def decoder_of(net: nn.Module, crystal: Crystal) -> Decoder:
    found = fast_decoder(net, encoded(net, crystal), crystal)
    assert found is not None
    return found


@torch.inference_mode()
def own(net: nn.Module, crystal: Crystal, points: np.ndarray, dtype: torch.dtype = torch.float64) -> np.ndarray:
    """The outputs of the network's own `decode`."""
    net = copy.deepcopy(net).to(dtype)
    item = make_item(Neighbors(crystal, net.cutoff), crystal.numbers, points, dtype=dtype)
    return net.decode(encoded(net, crystal, dtype), item).numpy()


def assert_same(net: nn.Module, crystal: Crystal, points: np.ndarray, tolerance: float) -> None:
    """Within `tolerance` of the largest output, or nearly as exact as the network's own float32 where that is less."""
    exact = own(net, crystal, points)
    found = decoder_of(net, crystal)(points)
    assert found.shape == exact.shape
    rounding = 2 * np.abs(own(net, crystal, points, torch.float32) - exact).max()
    assert np.abs(found - exact).max() <= max(tolerance * np.abs(exact).max(), rounding)


@pytest.mark.parametrize(
    ("lmax", "mul", "layers"), [(4, 100, 3), (4, 45, 4), (3, 40, 2), (2, 51, 1), (1, 30, 3), (0, 40, 3), (0, 100, 1)]
)
def test_outputs_are_those_of_the_network(lmax, mul, layers):
    crystal = smooth_density().crystal
    points = np.random.default_rng(1).random((333, 3)) * 3 - 1
    assert_same(network(lmax, mul, layers), crystal, points, 3e-6)


@pytest.mark.parametrize("lmax", [4, 0])
def test_large_weights_are_followed_by_finer_tables(lmax):
    assert_same(network(lmax, heat=1.6), smooth_density().crystal, np.random.default_rng(2).random((200, 3)), 1e-4)


def test_magnetizations_come_with_densities():
    net = network(2, outputs=2)
    assert_same(net, smooth_density().crystal, np.random.default_rng(3).random((50, 3)), 3e-6)


def crowd(atoms: int) -> Crystal:
    rng = np.random.default_rng(atoms)
    side = 2.4 * round(atoms ** (1 / 3) + 0.49)
    places = np.stack(np.meshgrid(*[np.arange(side // 2.4)] * 3, indexing="ij"), -1).reshape(-1, 3)[:atoms]
    return Crystal(np.eye(3) * side, rng.integers(1, 90, atoms), (places * 2.4 + rng.random((atoms, 3))) / side)


HARD_CELLS: dict[str, Callable[[], Crystal]] = {
    "one atom": lambda: Crystal(np.eye(3) * 3.1, np.array([29]), np.zeros((1, 3))),
    "nothing near": lambda: Crystal(np.eye(3) * 14.0, np.array([8]), np.full((1, 3), 0.5)),
    "240 atoms": lambda: crowd(240),
    "thin": lambda: Crystal(np.diag([1.3, 6.0, 5.0]), np.array([6, 1]), np.array([[0, 0, 0], [0.5, 0.2, 0.1]])),
    "hundreds of images": lambda: Crystal(np.eye(3) * 0.9 + 0.05, np.array([3]), np.zeros((1, 3))),
    "outside": lambda: Crystal(
        np.array([[0, 2.1, 2.1], [2.1, 0, 2.1], [2.1, 2.1, 0]]),
        np.array([12, 8]),
        np.array([[0, 0, 0], [-3.5, 5.5, 0.5]]),
    ),
    "slab": lambda: Crystal(
        np.diag([3.0, 3.2, 9.0]), np.array([14, 8]), np.array([[0, 0, 0.1], [0.5, 0.5, 0.3]]), pbc=(True, True, False)
    ),
}


@pytest.mark.parametrize("name", HARD_CELLS)
def test_hard_cells(name):
    crystal = HARD_CELLS[name]()
    points = np.concatenate([np.random.default_rng(4).random((150, 3)), crystal.frac_coords[:3]])
    assert_same(network(4, 45, 2), crystal, points, 1e-5)


def test_a_point_that_sees_no_atom_has_what_the_network_gives_it():
    net, crystal = network(), HARD_CELLS["nothing near"]()
    points = np.array([[0.0, 0.0, 0.0], [0.02, 0.0, 0.99]])
    np.testing.assert_array_equal(decoder_of(net, crystal)(points), own(net, crystal, points))


def test_an_edge_as_long_as_the_cutoff_counts():
    net = network()
    crystal = Crystal(np.eye(3) * 8.0, np.array([8]), np.zeros((1, 3)))
    points = np.array([[0.5, 0, 0], [0.2, 0, 0]])
    assert_same(net, crystal, points, 3e-6)
    assert decoder_of(net, crystal)(points)[0] != 0


def test_rotation_and_the_order_of_points_change_nothing():
    net, crystal = network(), smooth_density().crystal
    points = np.random.default_rng(5).random((700, 3))
    values = decoder_of(net, crystal)(points)
    scale = np.abs(values).max()
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    turned = Crystal(crystal.lattice @ rotation, crystal.numbers, crystal.frac_coords)
    np.testing.assert_allclose(decoder_of(net, turned)(points), values, rtol=0, atol=2e-5 * scale)
    order = np.random.default_rng(6).permutation(700)
    np.testing.assert_allclose(decoder_of(net, crystal)(points[order]), values[order], rtol=0, atol=2e-6 * scale)
    assert decoder_of(net, crystal)(np.zeros((0, 3))).shape == (0,)


def test_threads_do_not_change_a_bit():
    net, crystal = network(), smooth_density().crystal
    points, decode = np.random.default_rng(5).random((9000, 3)), decoder_of(net, crystal)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = decode(points)
        torch.set_num_threads(3)
        np.testing.assert_array_equal(decode(points), one)
    finally:
        torch.set_num_threads(before)


def test_no_fast_path_where_it_does_not_apply(monkeypatch):
    crystal, net = smooth_density().crystal, network(1)
    assert fast_decoder(net, encoded(net, crystal), crystal) is None, "gradients are wanted"
    with torch.inference_mode():
        assert fast_decoder(nn.Linear(1, 1), [], crystal) is None
        double = copy.deepcopy(net).double()
        assert fast_decoder(double, encoded(double, crystal, torch.float64), crystal) is None
        high = network(5, mul=200, layers=1)
        assert fast_decoder(high, encoded(high, crystal), crystal) is None
        monkeypatch.setattr(
            "ecd_models.kernels.find_spec", lambda name: None if name == "numba" else util.find_spec(name)
        )
        assert fast_decoder(net, encoded(net, crystal), crystal) is None


@pytest.mark.parametrize("name", ["charge3net", "deepdft", "invdeepdft"])
def test_an_edited_formula_is_not_answered_by_the_old_kernels(name, monkeypatch, caplog):
    torch.manual_seed(0)
    model, crystal = DensityModel(build_model(name).eval()), smooth_density().crystal
    whole = {"shape": (12, 11, 10), "refuse": False}  # weights at random
    monkeypatch.setattr(network_outputs, "MIN_COMPILED", 1)
    predict(model, crystal, **whole)
    assert "its formula was changed" not in caplog.text
    before = type(model.network).decode
    monkeypatch.setattr(type(model.network), "decode", lambda *given: 1.01 * before(*given))
    edited = predict(model, crystal, fast=False, **whole).values
    np.testing.assert_array_equal(predict(model, crystal, **whole).values, edited)
    assert "its formula was changed" in caplog.text
    with pytest.raises(UsageError, match="compiled kernels"):
        predict(model, crystal, fast=True, **whole)


def test_kernels_do_not_hide_that_a_network_overflows(monkeypatch):
    crystal, net = smooth_density().crystal, network(1)
    before = net.decode
    monkeypatch.setattr(net, "decode", lambda *given: float("inf") * before(*given))
    with torch.inference_mode():
        assert fast_decoder(net, encoded(net, crystal), crystal) is None


def test_predict_takes_the_fast_path_by_itself(monkeypatch):
    model, crystal = DensityModel(network()), smooth_density().crystal
    slow = predict(model, crystal, shape=(12, 11, 10), fast=False).values
    tolerance = 1e-5 * np.abs(slow).max()
    np.testing.assert_array_equal(predict(model, crystal, shape=(12, 11, 10)).values, slow)  # too few to load it
    monkeypatch.setattr(network_outputs, "MIN_COMPILED", 1)
    monkeypatch.setattr(network_outputs, "FAST_CHUNK", 500)
    seen: list[int] = []
    fast = predict(model, crystal, shape=(12, 11, 10), advance=seen.append).values
    assert seen == [500, 500, 320]
    assert not np.array_equal(fast, slow)
    np.testing.assert_allclose(fast, slow, rtol=0, atol=tolerance)
    monkeypatch.setattr("ecd_models.kernels.find_spec", lambda name: None)
    np.testing.assert_array_equal(predict(model, crystal, shape=(12, 11, 10)).values, slow)
    with pytest.raises(UsageError, match="no compiled kernels"):
        predict(model, crystal, shape=(2, 2, 2), fast=True)


def test_symmetry_on_the_fast_path():
    half = 2.1
    lattice = np.array([[0, half, half], [half, 0, half], [half, half, 0]])
    crystal = Crystal(lattice, np.array([14, 14]), np.array([[0, 0, 0], [0.25, 0.25, 0.25]]))
    model = DensityModel(network(2))
    asked: list[int] = []
    rho = predict(model, crystal, shape=(12, 12, 12), symmetry=True, fast=True, advance=asked.append)
    everywhere = predict(model, crystal, shape=(12, 12, 12), fast=True).values
    np.testing.assert_allclose(rho.values, everywhere, rtol=0, atol=1e-5 * np.abs(everywhere).max())
    assert sum(asked) < 12**3 / 20


LARGE = """
import sys
import numpy as np, torch
from ecd_data import Crystal
from ecd_models import predict
from ecd_models.model import DensityModel
from ecd_models.networks import build_model
from tests.models.test_atoms import true_atoms

def peak():  # in kB; getrusage would tell that of the process which started this one, if it is larger
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))

crystal = Crystal(np.eye(3) * 18.0, np.array([3, 9]), np.array([[0.2, 0.2, 0.2], [0.6, 0.5, 0.4]]))
model = DensityModel(build_model("charge3net", mul=16, lmax=0, num_interactions=1), true_atoms())
predict(model, crystal, shape=(20, 20, 20), fast=True)
before = peak()
rho = predict(model, crystal, shape=(288, 288, 288), symmetry=sys.argv[1] == "symmetry")
print((peak() - before) * 1024 - rho.values.nbytes)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells the peak memory in /proc")
@pytest.mark.parametrize("symmetry", ["symmetry", "everywhere"])
def test_24_million_points_need_less_than_2_gb_beside_the_output(symmetry):
    done = subprocess.run([sys.executable, "-c", LARGE, symmetry], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 2e9
