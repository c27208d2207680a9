"""Models of a user's own class: what they draw, and what they do wrong."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from ecd_data.errors import EcdError
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
