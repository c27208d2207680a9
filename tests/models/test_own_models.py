"""Models of a user's own class: what they draw, and what they do wrong."""

from __future__ import annotations

import signal
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from ecd_data.errors import EcdError, UsageError
from ecd_models import load_model, train
from ecd_models.networks import MODELS


@dataclass(frozen=True)
class Sizes:
    """Hyperparameters of the networks here."""

    channels: int = 4
    cutoff: float = 3.0


class Small(nn.Module):
    """A network of a user's own, as docs/add_a_model.md describes it."""

    configurations: ClassVar[dict[str, Any]] = {"small": Sizes()}

    def __init__(self, config: Sizes) -> None:
        super().__init__()
        self.config, self.cutoff = config, config.cutoff
        self.element = nn.Embedding(119, config.channels)
        self.readout = nn.Linear(config.channels, 1)

    def encode(self, batch: Any) -> torch.Tensor:
        return self.element(batch.numbers)

    def decode(self, atoms: torch.Tensor, batch: Any) -> torch.Tensor:
        waves = torch.exp(-batch.probe_vec.norm(dim=1, keepdim=True))
        sums = torch.zeros(batch.n_probes, atoms.shape[1]).index_add(0, batch.probe_dst, waves * atoms[batch.probe_src])
        return self.readout(sums)[:, 0]

    def forward(self, batch: Any) -> torch.Tensor:
        return self.decode(self.encode(batch), batch)


@pytest.fixture
def own(config, monkeypatch):
    """Gives the configuration of a run with a network class."""

    def make(network: type[nn.Module]):
        monkeypatch.setitem(MODELS, "small", network)
        return replace(config, model="small", options={})

    return make


class WithoutGradient(Small):
    """Its output is finite, and from the third step on its gradient is not."""

    calls = 0

    def forward(self, batch: Any) -> torch.Tensor:
        type(self).calls += self.training
        density = super().forward(batch)
        return density + (0 * self.element.weight.sum()).sqrt() if self.calls > 2 else density


@pytest.mark.parametrize("steps", [3, 12])
def test_weights_that_are_no_numbers_end_a_run_and_are_not_saved(own, steps):
    WithoutGradient.calls = 0
    config = replace(own(WithoutGradient), steps=steps, validate_every=steps, save_every=2)
    with pytest.raises(EcdError, match=r"not finite|is nan") as told:
        train(config)
    for word in ("step 3", "lower lr than 0.005", "clip_norm", "another out"):
        assert word in str(told.value)
    assert not Path(config.out, "best.safetensors").exists()
    assert all(values.isfinite().all() for values in load_model(Path(config.out, "last.safetensors")).parameters())


class Shared(Small):
    """One matrix serves twice."""

    def __init__(self, config: Sizes) -> None:
        super().__init__(config)
        self.again = self.element


def test_a_network_with_shared_weights_is_trained_and_saved(own):
    result = train(own(Shared))
    assert load_model(result.best).network.again.weight is not None
    saved = load_model(result.best).network
    assert torch.equal(saved.again.weight, saved.element.weight)


class WithoutConfigurations(Small):
    configurations: ClassVar[dict[str, Any]] = {}


class WithoutConfig(Small):
    def __init__(self, config: Sizes) -> None:
        super().__init__(config)
        del self.config


class WithoutDecode(nn.Module):
    configurations: ClassVar[dict[str, Any]] = {"small": Sizes()}

    def __init__(self, config: Sizes) -> None:
        super().__init__()
        self.config, self.cutoff, self.encode = config, config.cutoff, nn.Linear(1, 1)


class FailsToStart(Small):
    def __init__(self, config: Sizes) -> None:
        super().__init__(config)
        self.readout = nn.Linear(config.channel, 1)  # a typing error


class FailsToRun(Small):
    def decode(self, atoms: torch.Tensor, batch: Any) -> torch.Tensor:
        return self.readout(atoms)[batch.probe_source]


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (WithoutConfigurations, ["'small'", "WithoutConfigurations", "lacks configurations", "frozen dataclass"]),
        (WithoutConfig, ["'small'", "WithoutConfig", "lacks `config`"]),
        (WithoutDecode, ["'small'", "WithoutDecode", "lacks `decode`"]),
        (FailsToStart, ["'small'", "test_own_models.py, line", "no attribute 'channel'", "FailsToStart"]),
        (FailsToRun, ["'small'", "test_own_models.py, line", "no attribute 'probe_source'", "FailsToRun"]),
    ],
)
def test_a_fault_of_the_class_is_one_sentence_that_names_the_model(own, network, words):
    with pytest.raises(EcdError) as told:
        train(own(network))
    for word in words:
        assert word in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(("option", "due"), [("four", "int"), (4.5, "int"), (True, "int"), ([4], "int")])
def test_an_option_of_another_type_is_refused(own, option, due):
    with pytest.raises(UsageError, match=rf"model 'small' has the option channels = .* where {due} is due"):
        train(replace(own(Small), options={"channels": option}))


def test_a_whole_number_is_a_number(own):
    assert train(replace(own(Small), options={"cutoff": 3})).best_error > 0


@pytest.fixture
def install(monkeypatch, tmp_path):
    """Installs a package with an entry point of ecd.models."""

    def make(value: str) -> None:
        info = tmp_path / "mine-0.1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 0.1\n")
        (info / "entry_points.txt").write_text(f"[ecd.models]\nsmall = {value}\n")
        (tmp_path / "needy.py").write_text("import a_package_that_is_not_here\n")
        monkeypatch.syspath_prepend(str(tmp_path))

    return make


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ("nowhere:Small", "No module named 'nowhere'"),
        ("needy:Small", "No module named 'a_package_that_is_not_here'"),
        ("tests.models.test_own_models:Smal", "no attribute 'Smal'"),
    ],
)
def test_an_entry_point_that_cannot_be_loaded_is_named(config, install, value, word):
    install(value)
    with pytest.raises(UsageError, match=rf"the model 'small' of mine cannot be imported from '{value}'.*{word}"):
        train(replace(config, model="small", options={}))


def test_a_checkpoint_of_a_package_that_is_not_installed_says_so(own, monkeypatch):
    best = train(own(Small)).best
    monkeypatch.delitem(MODELS, "small")
    with pytest.raises(UsageError, match=r"best.safetensors holds a model of another package, install that first"):
        load_model(best)


class WithDropout(Small):
    """It draws random numbers in training."""

    def encode(self, batch: Any) -> torch.Tensor:
        return nn.functional.dropout(super().encode(batch), 0.5, self.training)


def test_a_network_with_dropout_resumes_exactly(own):
    config = own(WithDropout)
    without = train(replace(own(Small), out=config.out + "-without"))
    whole = train(replace(own(WithDropout), out=config.out + "-whole"))

    def interrupt(progress):
        if progress.step == 7:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(config, interrupt)
    torch.rand(5)  # what is drawn meanwhile does not matter
    resumed, expected = train(config).model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(resumed[name], expected[name]) for name in expected)
    assert any(not torch.equal(values, expected[name]) for name, values in without.model.state_dict().items())
