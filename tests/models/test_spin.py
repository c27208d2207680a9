"""The magnetization as a second even scalar of every network: symmetries, kernels, training, files, checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ecd_data import Crystal, load_split, open_store, read, write
from ecd_data.errors import UsageError
from ecd_data.store import StoreWriter
from ecd_models import load_model, predict, train
from ecd_models.batch import make_item
from ecd_models.checkpoint import export_published
from ecd_models.graph import Neighbors
from ecd_models.kernels import fast_decoder
from ecd_models.model import DensityModel
from ecd_models.networks import MODELS, build_model
from ecd_models.prediction.density_files import GridRule, predict_files
from ecd_models.training.config import TrainConfig
from tests.conftest import smooth_density
from tests.models.conftest import SMALL

SMALL_ONES: dict[str, dict[str, Any]] = {
    "charge3net": SMALL,
    "invcharge3net": {"mul": 24, "num_interactions": 2, "num_basis": 12},
    "deepdft": {"hidden_state_size": 24, "num_interactions": 2},
    "invdeepdft": {"hidden_state_size": 24, "num_interactions": 2},
}
every_model = pytest.mark.parametrize("name", SMALL_ONES)


def network(name: str, outputs: int = 2) -> torch.nn.Module:
    torch.manual_seed(0)
    return build_model(name, **SMALL_ONES[name], outputs=outputs).requires_grad_(False)


def outputs_of(net: Any, crystal: Crystal, points: np.ndarray) -> np.ndarray:
    """Densities and magnetizations in double precision."""
    item = make_item(Neighbors(crystal, net.cutoff), crystal.numbers, points, dtype=torch.float64)
    return net.double()(item).numpy()


@every_model
def test_both_scalars_are_even(name):
    crystal, points = smooth_density().crystal, np.random.default_rng(0).random((20, 3))
    net = network(name)
    both = outputs_of(net, crystal, points)
    assert both.shape == (20, 2)
    assert np.ptp(both, axis=0).min() > 0
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    for orthogonal in (rotation, -np.eye(3), np.diag([1.0, 1.0, -1.0])):
        moved = Crystal(crystal.lattice @ orthogonal, crystal.numbers, crystal.frac_coords)
        np.testing.assert_allclose(outputs_of(net, moved, points), both, rtol=0, atol=1e-9 * np.abs(both).max())


@every_model
def test_the_second_output_leaves_the_first_alone(name):
    crystal, points = smooth_density().crystal, np.random.default_rng(0).random((20, 3))
    both, one = network(name), network(name, outputs=1)
    weights = both.state_dict()
    for key, value in one.state_dict().items():
        if value.shape != weights[key].shape:
            weights[key] = weights[key][:, 0] if "charge3net" in name else weights[key][:1]
    one.load_state_dict(weights)
    np.testing.assert_allclose(outputs_of(both, crystal, points)[:, 0], outputs_of(one, crystal, points), rtol=1e-12)
    assert outputs_of(both, crystal, points[:1]).shape == (1, 2)


@pytest.mark.parametrize("name", ["deepdft", "invdeepdft"])  # ChargE3Net's are in test_fast
def test_kernels_give_both(name):
    pytest.importorskip("numba")
    crystal, points = smooth_density().crystal, np.random.default_rng(0).random((200, 3))
    net: Any = network(name)
    decode = fast_decoder(net, net.encode(make_item(Neighbors(crystal, 4.0), crystal.numbers, points[:0])), crystal)
    assert decode is not None
    fast, exact = decode(points), outputs_of(net, crystal, points)
    assert np.abs(fast - exact).max() <= 1e-5 * np.abs(exact).max()
    assert decode(points[:0]).shape == (0, 2)


@pytest.fixture(scope="module")
def iron(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with the iron and nickel of the sample, which have spin, and two crystals that have none."""
    folder, store = tmp_path_factory.mktemp("iron"), open_store("pbe")
    with StoreWriter(folder / "pbe.ecd") as writer:
        for id in ("Fe_bcc", "Ni_fcc"):
            writer.add(id, store[id].resample((12, 12, 12)))
        smallest = sorted(load_split("sample_pbe")["validation"], key=lambda id: store.row(id)["natoms"])
        for id in smallest[:2]:
            writer.add(id, store[id].resample((12, 12, 12)))
    return folder


@every_model
def test_iron_is_learned_predicted_and_written(name, iron, tmp_path):
    config = TrainConfig(
        out=str(tmp_path / "run"),
        task="pbe",
        data_dir=str(iron),
        model=name,
        options=SMALL_ONES[name],
        spin=True,
        difference=True,
        atoms=str(iron / "pbe.ecd"),
        exact_nelect=True,
        steps=3,
        batch_size=2,
        probes=20,
        validate_every=3,
        validation_probes=20,
        threads=1,
    )
    model = train(config).model
    kept = load_model(Path(config.out) / "last.safetensors")
    rho = open_store(iron / "pbe.ecd")["Fe_bcc"]
    guess, bare = (predict(m, rho.crystal, shape=(10, 10, 10)) for m in (kept, DensityModel(model.network)))
    assert guess.nelect == pytest.approx(16, rel=1e-9)
    np.testing.assert_array_equal(guess.magnetization, bare.magnetization)  # no atoms, no scaling
    assert not np.allclose(guess.values, bare.values)
    write(tmp_path / "CHGCAR_iron", rho)
    target = tmp_path / "Fe_CHGCAR"
    predict_files(kept, [tmp_path / "CHGCAR_iron"], target, GridRule(shape=(10, 10, 10)))
    again = read(target)
    assert np.abs(again.values - guess.values).max() < 1e-4 * np.abs(guess.values).max()
    assert again.magnetization is not None
    assert np.abs(again.magnetization - guess.magnetization).max() < 1e-4 * np.abs(guess.magnetization).max()
    with pytest.raises(UsageError, match="no magnetization"):
        export_published(DensityModel(model.network), tmp_path / "spin.pt")


def test_symmetry_gives_the_magnetization_too(iron):
    crystal = open_store(iron / "pbe.ecd")["Fe_bcc"].crystal
    model = DensityModel(network("deepdft")).double()
    whole, less = (predict(model, crystal, shape=(8, 8, 8), symmetry=symmetry) for symmetry in (False, True))
    np.testing.assert_allclose(less.magnetization, whole.magnetization, atol=1e-9)


def test_wrong_numbers_of_outputs_and_networks_without_are_told(iron, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="not 3"):
        build_model("deepdft", outputs=3)

    class Plain:
        configurations = {"plain": MODELS["deepdft"].configurations["deepdft"]}  # noqa: RUF012

        def __init__(self, config: object) -> None:
            raise UsageError("model 'plain' has no option 'outputs'")

    monkeypatch.setitem(MODELS, "plain", Plain)
    with pytest.raises(UsageError, match="plain gives no magnetization"):
        train(TrainConfig(out=str(tmp_path / "run"), task="pbe", data_dir=str(iron), model="plain", spin=True))
