"""Checkpoints: what is written is read, what is not a checkpoint is refused in one sentence."""

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ecd_data.errors import EcdError, FormatError, UsageError
from ecd_models.checkpoint import load_checkpoint, load_model, load_published, save_checkpoint
from ecd_models.networks.charge3net import ChargE3Net, ChargE3NetConfig

REFERENCE = Path(__file__).parents[3] / "shared" / "reference"
needs_reference = pytest.mark.skipif(not REFERENCE.is_dir(), reason="weights of the published code are not here")


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
    with pytest.raises(UsageError, match="neither a file nor a shipped checkpoint"):
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
