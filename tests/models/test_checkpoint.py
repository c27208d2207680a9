"""Checkpoints: what is written is read, what is not a checkpoint is refused in one sentence."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from ecd_data.crystal import Crystal
from ecd_data.errors import EcdError, FormatError, UsageError
from ecd_models.atoms.fitted import SuperposedAtoms
from ecd_models.batch import make_item
from ecd_models.checkpoint import (
    add_metadata,
    export_published,
    load_checkpoint,
    load_model,
    load_published,
    save_checkpoint,
)
from ecd_models.graph import Neighbors
from ecd_models.model import DensityModel
from ecd_models.networks import build_model
from ecd_models.networks.charge3net.model import ChargE3Net, ChargE3NetConfig
from ecd_models.networks.deepdft.model import DeepDFT, DeepDFTConfig
from ecd_models.networks.invdeepdft.model import InvDeepDFT, InvDeepDFTConfig

REFERENCE = Path(__file__).parents[3] / "shared" / "reference"
needs_reference = pytest.mark.skipif(not REFERENCE.is_dir(), reason="weights of the published code are not here")
PUBLISHED = {
    "c3n_small": ChargE3Net,
    "c3n_inv_small": ChargE3Net,
    "deepdft_painn_small": DeepDFT,
    "deepdft_schnet_small": InvDeepDFT,
}


@pytest.fixture
def small() -> ChargE3Net:
    return ChargE3Net(ChargE3NetConfig(num_interactions=2, mul=24, lmax=1, cutoff=3.5, num_basis=6))


@pytest.fixture
def published() -> dict[str, torch.Tensor]:
    return torch.load(REFERENCE / "c3n_small.pt", weights_only=True)["model"]


def assert_same(one: torch.nn.Module, other: torch.nn.Module) -> None:
    assert one.config == other.config
    for (name, a), (_, b) in zip(one.state_dict().items(), other.state_dict().items(), strict=True):
        assert torch.equal(a, b), name


def one_sentence(error: pytest.ExceptionInfo[EcdError], path: Path) -> bool:
    text = str(error.value)
    return str(path) in text and "\n" not in text


def test_what_is_saved_is_loaded(small: ChargE3Net, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "model.safetensors"
    save_checkpoint(path, small, {"task": "ecd_hse", "steps": 3}, {"moments": torch.arange(3.0)})
    model, metadata, state = load_checkpoint(path)
    assert_same(model.network, small)
    assert metadata == {"task": "ecd_hse", "steps": 3}
    assert state["moments"].tolist() == [0, 1, 2]
    assert not model.training
    assert_same(load_model(path).network, small)
    assert [file.name for file in path.parent.iterdir()] == ["model.safetensors"]
    assert path.stat().st_mode & 0o444 == 0o444  # others may read it


def test_metadata_are_added_to_a_file_whose_tensors_keep_their_bytes(small: ChargE3Net, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_checkpoint(path, small, {"step": 3}, {"moments": torch.arange(3.0)})
    before = load_file(path)
    for extra in ({"note": 'Å, <b> and "quotes"'}, {"more": "x" * 1001}, {"note": "another"}):
        add_metadata(path, extra)
    after = load_file(path)
    assert before.keys() == after.keys()
    assert all(before[name].numpy().tobytes() == after[name].numpy().tobytes() for name in before)
    loaded = load_checkpoint(path)
    assert loaded.metadata == {"step": 3, "note": "another", "more": "x" * 1001} == loaded.model.metadata
    assert_same(loaded.model.network, small)
    assert [file.name for file in tmp_path.iterdir()] == ["m.safetensors"]


def test_metadata_are_not_added_to_what_is_no_checkpoint(small: ChargE3Net, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_checkpoint(path, small)
    with pytest.raises(UsageError, match="'config' is a name that every checkpoint uses"):
        add_metadata(path, {"config": "{}"})
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(FormatError, match="not a whole"):
        add_metadata(path, {"note": "x"})
    with pytest.raises(UsageError, match="does not exist"):
        add_metadata(tmp_path / "gone.safetensors", {"note": "x"})


def test_double_precision_is_kept(small: ChargE3Net, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "m.safetensors", small.double())
    model = load_checkpoint(tmp_path / "m.safetensors").model.network
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    assert_same(model, small)


def test_broken_files_are_refused(small: ChargE3Net, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_checkpoint(path, small)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FormatError, match="not a whole safetensors file") as error:
        load_checkpoint(path)
    assert one_sentence(error, path)
    path.write_bytes(b"not a checkpoint at all")
    with pytest.raises(FormatError):
        load_model(path)
    save_file({"x": torch.zeros(2)}, path)
    with pytest.raises(FormatError, match="no ecd model header"):
        load_model(path)


def test_a_header_of_another_version_is_refused(small: ChargE3Net, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    header = {"format": "ecd-model-1", "model": "charge3net", "config": '{"sharpness": 3}', "metadata": "{}"}
    save_file(small.state_dict(), path, header)
    with pytest.raises(FormatError, match="sharpness"):
        load_checkpoint(path)
    save_file(small.state_dict(), path, header | {"config": "{}"})
    with pytest.raises(FormatError, match="does not fit its model"):
        load_checkpoint(path)


def test_names_and_missing_files() -> None:
    with pytest.raises(UsageError, match="neither a file nor the name of a model"):
        load_model("no-such-model")
    with pytest.raises(UsageError, match="does not exist"):
        load_model("nowhere.safetensors")
    with pytest.raises(UsageError, match="does not exist"):
        load_published("nowhere.pt")


@needs_reference
@pytest.mark.parametrize("wrap", ["bare", "model", "lightning", "ddp"])
def test_published_files_of_every_kind(wrap: str, published: dict[str, torch.Tensor], tmp_path: Path) -> None:
    content = {
        "bare": published,
        "model": {"epoch": 1, "step": 2, "model": published},
        "lightning": {"state_dict": {f"network.{k}": v for k, v in published.items()}},
        "ddp": {"model": {f"module.{k}": v for k, v in published.items()}},
    }[wrap]
    torch.save(content, tmp_path / "best.pt")
    model = load_model(tmp_path / "best.pt").network
    assert_same(model, load_published(published))
    assert (model.config.num_interactions, model.config.lmax, model.config.num_basis) == (2, 2, 10)
    assert model.config.channels == (11, 4, 2)


@pytest.mark.parametrize("number", [np.float64(0.5), np.float32(0.5), np.int64(3), torch.tensor(0.5), 0.5])
def test_numbers_next_to_the_weights_are_read(number: object, tmp_path: Path) -> None:
    model = DeepDFT(DeepDFTConfig(1, 4))
    torch.save({"epoch": 3, "model": model.state_dict(), "best_nmape": number}, tmp_path / "best.pt")
    assert_same(load_published(tmp_path / "best.pt"), model)
    content = (tmp_path / "best.pt").read_bytes()
    assert (b"numpy" in content) == isinstance(number, np.generic)


@needs_reference
def test_dead_published_weights_change_nothing(published: dict[str, torch.Tensor]) -> None:
    changed = {name: value.clone() for name, value in published.items()}
    changed["probe_model.convolutions.0.sc.weight"] += 1
    changed["probe_model.convolutions.1.lin2.weight"][-1] += 1  # to the last 2e channel
    assert_same(load_published(changed), load_published(published))


@needs_reference
def test_incomplete_published_files_are_refused(published: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = tmp_path / "part.pt"
    for name in ("probe_model.convolutions.1.lin2.weight", "atom_model.basis.mean"):
        torch.save({"model": {k: v for k, v in published.items() if k != name}}, path)
        with pytest.raises(FormatError, match=name) as error:
            load_published(path)
        assert one_sentence(error, path)
    extra = "probe_model.convolutions.2.lin1.weight"
    torch.save({"model": published | {extra: torch.ones(5)}}, path)
    with pytest.raises(FormatError, match=extra):
        load_published(path)


def test_the_cutoff_that_a_published_file_does_not_record_is_told(tmp_path: Path, caplog) -> None:
    network = DeepDFT(DeepDFTConfig(1, 4, cutoff=6.0))
    export_published(network, tmp_path / "six.pt")
    assert load_model(tmp_path / "six.pt").network.cutoff == 4.0
    assert "six.pt does not record its cutoff: 4 Å is taken" in caplog.text
    assert_same(load_published(tmp_path / "six.pt", cutoff=6.0), network)


@needs_reference
@pytest.mark.parametrize("name", PUBLISHED)
def test_an_exported_file_is_the_published_one(name: str, tmp_path: Path) -> None:
    """Names, shapes and constants; the weights themselves but for those that nothing depends on, which are zero."""
    original = torch.load(REFERENCE / f"{name}.pt", weights_only=True)["model"]
    model = load_published(original)
    assert type(model) is PUBLISHED[name]
    path = tmp_path / "deep" / "exported.pt"
    export_published(DensityModel(model, name=name), path)
    exported = torch.load(path, weights_only=True)["model"]
    assert set(exported) == set(original)
    for key, value in original.items():
        assert (exported[key].shape, exported[key].dtype) == (value.shape, value.dtype), key
        kept = exported[key] != 0
        assert torch.allclose(exported[key][kept], value[kept], rtol=0, atol=1e-6), key
        if key.endswith(("_mask", ".mean", ".inv_std")) or "_w3j_" in key or PUBLISHED[name] is not ChargE3Net:
            assert torch.allclose(exported[key], value, rtol=0, atol=1e-6), key
    assert_same(load_published(path), model)
    assert [file.name for file in path.parent.iterdir()] == ["exported.pt"]


@pytest.mark.parametrize(
    ("name", "options", "weights"),
    [
        ("charge3net", {}, 1_909_389),
        ("charge3net", {"num_interactions": 4, "mul": 30, "lmax": 2}, None),
        ("invcharge3net", {}, 3_910_680),
        ("deepdft", {}, 1_487_233),
        ("deepdft", {"num_interactions": 1, "hidden_state_size": 6, "distance_embedding_size": 5}, None),
        ("invdeepdft", {}, 2_071_681),
        ("invdeepdft", {"num_interactions": 2, "hidden_state_size": 6, "gaussian_expansion_step": 4 / 49}, None),
    ],
)
def test_models_of_any_size_go_out_and_come_back(name: str, options: dict, weights: int | None, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build_model(name, **options)
    path = tmp_path / "exported.pt"
    export_published(model, path)
    exported = torch.load(path, weights_only=True)["model"]
    if weights is not None:
        assert sum(v.numel() for k, v in exported.items() if k.endswith((".weight", ".bias"))) == weights
    back = load_model(path).network
    assert_same(back, model)
    crystal = Crystal(np.eye(3) * 4.0, np.array([12, 8]), np.array([[0, 0, 0], [0.5, 0.4, 0.5]]))
    batch = make_item(Neighbors(crystal, 4.0), crystal.numbers, np.array([[0.1, 0.2, 0.3], [0, 0, 0]]))
    with torch.no_grad():
        assert torch.equal(back(batch), model(batch))


def test_what_the_published_code_lacks_is_not_exported(tmp_path: Path) -> None:
    atoms = SuperposedAtoms(np.zeros((119, 16)))
    with pytest.raises(UsageError, match="superposed atoms"):
        export_published(DensityModel(DeepDFT(DeepDFTConfig(1, 4)), atoms), tmp_path / "m.pt")
    with pytest.raises(UsageError, match="scales no density"):
        export_published(DensityModel(DeepDFT(DeepDFTConfig(1, 4)), valences=np.ones(119)), tmp_path / "m.pt")
    with pytest.raises(UsageError, match="Linear has no published layout"):
        export_published(torch.nn.Linear(2, 2), tmp_path / "m.pt")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("network", [DeepDFT(DeepDFTConfig(2, 6)), InvDeepDFT(InvDeepDFTConfig(2, 6))])
def test_missing_and_extra_weights_are_named(network: torch.nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "part.pt"
    state = network.state_dict()
    for name in state:
        torch.save({"model": {k: v for k, v in state.items() if k != name}}, path)
        with pytest.raises(FormatError, match=name) as error:
            load_published(path)
        assert one_sentence(error, path)
    torch.save({"model": state | {"probe_model.readout_function.4.bias": torch.ones(1)}}, path)
    with pytest.raises(FormatError, match=r"it also has probe_model.readout_function.4.bias"):
        load_published(path)
    two_channels = {"probe_model.readout_function.2.weight": torch.ones(2, 6)}
    torch.save({"model": state | two_channels}, path)
    with pytest.raises(FormatError, match=r"readout_function.2.weight missing or misshapen"):
        load_published(path)


def test_our_files_keep_every_model(tmp_path: Path) -> None:
    for name in ("deepdft", "invdeepdft"):
        model = build_model(name, hidden_state_size=6, cutoff=5.0)
        save_checkpoint(tmp_path / "m.safetensors", model)
        assert_same(load_model(tmp_path / "m.safetensors").network, model)


def test_other_peoples_checkpoints_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    for content in ({"layer.weight": torch.ones(2)}, {"model": {}}, [1, 2], torch.ones(3)):
        torch.save(content, path)
        with pytest.raises(FormatError) as error:
            load_published(path)
        assert one_sentence(error, path)
    for content in (b"", b"plain words, no checkpoint", b"PK\x03\x04 cut"):
        path.write_bytes(content)
        with pytest.raises(FormatError) as error:
            load_published(path)
        assert one_sentence(error, path)


class Trap:
    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> tuple:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("save", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_a_file_that_would_run_code_is_refused(save, tmp_path: Path) -> None:
    path = tmp_path / "trap.pt"
    save({"model": Trap(tmp_path / "ran")}, path)
    with pytest.raises(EcdError, match=r"was refused|is not a") as error:
        load_model(path)
    assert one_sentence(error, path)
    assert not (tmp_path / "ran").exists()
