"""Properties of fourier_density with tables of each element: symmetry, electrons, elements without tables, training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from ecd_data import Crystal
from ecd_models import load_model
from ecd_models.checkpoint import save_checkpoint
from ecd_models.model import DensityModel
from ecd_models.networks.fourier_density.model import FourierDensity, FourierDensityConfig
from ecd_models.prediction.predict import predict
from tests.models.test_fourier_density import atoms

SHAPE = (32, 36, 30)
LATTICE = np.array([[3.1, 0.2, 0.0], [0.1, 3.4, 0.3], [0.0, -0.2, 2.9]])
FRACTIONS = np.array([[0.1, 0.2, 0.3], [0.55, 0.62, 0.71]])
CONFIG = FourierDensityConfig(
    functions=4, widest=0.5, sharpest=5.0, channels=4, layers=2, neighbors=4.0, element_tables=True
)


def crystal(lattice=LATTICE, numbers=(12, 8)) -> Crystal:
    return Crystal(lattice, np.array(numbers), FRACTIONS, (True, True, True))


def network(seed: int = 0) -> FourierDensity:
    """A network with tables of magnesium and oxygen alone."""
    torch.manual_seed(seed)
    net = FourierDensity(CONFIG)
    for name, weight in net.named_parameters():
        if not weight.abs().max():
            torch.nn.init.normal_(weight)
        if name.startswith("tables."):
            weight.data[[z for z in range(119) if z not in (8, 12)]] = 0
    return net.eval()


def without_tables(net: FourierDensity) -> FourierDensity:
    plain = FourierDensity(replace(CONFIG, element_tables=False)).eval()
    plain.load_state_dict({k: v for k, v in net.state_dict().items() if not k.startswith("tables.")})
    return plain


def close(found, expected, tolerance=1e-4):
    np.testing.assert_allclose(found, expected, atol=tolerance * np.abs(expected).max())


def test_tables_change_the_density_and_add_no_electrons():
    for seed in range(3):
        net = network(seed)
        values = net.on_grid(crystal(), SHAPE)
        assert abs(values.mean()) < 1e-5 * np.abs(values).max()
        assert np.abs(values - without_tables(net).on_grid(crystal(), SHAPE)).max() > 0.01 * np.abs(values).max()


def test_turning_the_crystal_turns_the_density():
    net, turn = network(), Rotation.from_euler("xyz", [0.3, -0.8, 1.2]).as_matrix()
    close(net.on_grid(crystal(LATTICE @ turn.T), SHAPE), net.on_grid(crystal(), SHAPE))


def test_the_density_is_one_on_all_grids_and_at_points():
    model = DensityModel(network(), atoms(), "fourier_density")
    rho, points = predict(model, crystal(), shape=(80, 84, 90)), np.random.default_rng(3).random((20, 3))
    assert rho.nelect == pytest.approx(8, abs=1e-6)
    close(predict(model, crystal(), points=points), rho.at(points), 1e-5)


def test_elements_without_tables_are_what_the_descriptors_say():
    net, other = network(), crystal(numbers=(20, 16))
    assert np.array_equal(net.on_grid(other, SHAPE), without_tables(net).on_grid(other, SHAPE))


def test_new_tables_add_nothing_and_get_gradients():
    net = FourierDensity(CONFIG)
    torch.nn.init.normal_(net.head.weight)
    assert np.array_equal(net.on_grid(crystal(), SHAPE), without_tables(net).on_grid(crystal(), SHAPE))
    net.encode(net._atoms(crystal())).square().sum().backward()
    for weight in net.tables.parameters():
        used = weight.grad.flatten(1).abs().sum(1) > 0
        assert set(used.nonzero()[:, 0].tolist()) == {8, 12}


def test_a_checkpoint_keeps_the_tables(tmp_path):
    model = DensityModel(network(), atoms(), "fourier_density")
    save_checkpoint(tmp_path / "tables.safetensors", model)
    read = load_model(tmp_path / "tables.safetensors")
    assert read.network.config == CONFIG
    assert np.array_equal(predict(read, crystal(), shape=SHAPE).values, predict(model, crystal(), shape=SHAPE).values)
