"""The compiled kernels of DeepDFT and invDeepDFT against the networks themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ecd_data.crystal import Crystal
from ecd_models.batch import make_item
from ecd_models.graph import Neighbors
from ecd_models.kernels import Decoder, fast_decoder
from ecd_models.networks import build_model
from ecd_models.networks.deepdft.model import DeepDFT
from ecd_models.networks.invdeepdft.model import InvDeepDFT

pytest.importorskip("numba")
Network = DeepDFT | InvDeepDFT
NAMES = ["deepdft", "bounded deepdft", "invdeepdft"]


def cell(sides: tuple[float, float, float], atoms: int, seed: int = 0) -> Crystal:
    rng = np.random.default_rng(seed)
    lattice = np.diag(sides) + rng.uniform(-0.1, 0.1, (3, 3)) * min(sides)
    return Crystal(lattice, rng.integers(1, 90, atoms), rng.uniform(-1, 2, (atoms, 3)))


CRYSTALS = {
    "triclinic": cell((5.1, 5.5, 6.2), 8),
    "one atom": cell((2.9, 2.9, 2.9), 1),
    "thin": cell((1.6, 4.0, 9.0), 2),
    "240 atoms": cell((14.0, 15.0, 16.0), 240),
    "lonely": Crystal(np.eye(3) * 12.0, np.array([8]), np.zeros((1, 3))),
    "not periodic": Crystal(np.eye(3) * 4.0, np.array([8, 1]), np.eye(3)[:2] * 0.3, pbc=(True, False, False)),
}


def network(name: str, heat: float = 1.0, **options: int | float) -> Network:
    """A network with random weights, multiplied by `heat`: then every part matters."""
    torch.manual_seed(0)
    bounded = {"bounded": True} if name.startswith("bounded") else {}
    model = build_model(name.removeprefix("bounded "), **bounded, **options)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= heat
    return model.requires_grad_(False)  # type: ignore[return-value]


def points_of(crystal: Crystal, count: int = 150) -> np.ndarray:
    """Points at random, some outside the cell, one on a nucleus and many close together: more than one block."""
    rng = np.random.default_rng(1)
    anywhere, close = rng.uniform(-1, 2, (count, 3)), 0.4 + 0.05 * rng.random((count, 3))
    return np.concatenate([crystal.frac_coords[:1], anywhere, close])


def compiled(model: Network, crystal: Crystal) -> Decoder:
    nothing = make_item(Neighbors(crystal, model.cutoff), crystal.numbers, np.zeros((0, 3)))
    decode = fast_decoder(model, model.encode(nothing), crystal)
    assert decode is not None
    return decode


def plain(model: Network, crystal: Crystal, points: np.ndarray, dtype: torch.dtype) -> np.ndarray:
    batch = make_item(Neighbors(crystal, model.cutoff), crystal.numbers, points, dtype=dtype)
    values = model.to(dtype)(batch).numpy()
    model.float()
    return values


def assert_equal(model: Network, crystal: Crystal) -> None:
    """As near to the network in double precision as the network in single precision is, or to 1e-5."""
    points = points_of(crystal)
    values = compiled(model, crystal)(points)
    assert values.shape == (len(points),)
    single, double = (plain(model, crystal, points, dtype) for dtype in (torch.float32, torch.float64))
    scale = np.abs(double).max()
    assert scale > 1e-3
    assert np.abs(values - single).max() < 1e-5 * scale
    assert np.abs(values - double).max() < 1e-5 * scale


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("crystal", CRYSTALS.values(), ids=CRYSTALS)
def test_gives_what_the_network_gives(name: str, crystal: Crystal) -> None:
    assert_equal(network(name, num_interactions=3, hidden_state_size=32), crystal)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("options", [{}, {"hidden_state_size": 20, "num_interactions": 1, "cutoff": 3.3}])
def test_sizes(name: str, options: dict) -> None:
    """The published size, where weights must not be hot to be delicate, and one that fills no registers."""
    assert_equal(network(name, **options), CRYSTALS["triclinic"])


@pytest.mark.parametrize("name", NAMES)
def test_hot_weights(name: str) -> None:
    assert_equal(network(name, heat=1.25, num_interactions=3, hidden_state_size=32), CRYSTALS["triclinic"])


@pytest.mark.parametrize("name", NAMES)
def test_a_point_does_not_depend_on_the_others(name: str) -> None:
    crystal = CRYSTALS["triclinic"]
    decode = compiled(network(name, num_interactions=2, hidden_state_size=16), crystal)
    points = points_of(crystal)
    together = decode(points)
    alone = np.concatenate([decode(point) for point in points[:5, None]])
    assert np.abs(alone - together[:5]).max() <= 1e-6 * np.abs(together).max()
    assert np.abs(decode(points[::-1])[::-1] - together).max() <= 1e-6 * np.abs(together).max()
    assert decode(points[:0]).shape == (0,)


@pytest.mark.parametrize("name", NAMES)
def test_is_not_taken_where_gradients_or_precision_are_wanted(name: str) -> None:
    crystal, model = CRYSTALS["one atom"], network(name, num_interactions=1, hidden_state_size=8)
    features = model.encode(make_item(Neighbors(crystal, 4.0), crystal.numbers, np.zeros((0, 3))))
    assert fast_decoder(model.double(), features, crystal) is None
    assert fast_decoder(model.float().requires_grad_(), features, crystal) is None
