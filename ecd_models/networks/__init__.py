"""The models by name. Other packages add theirs through the entry point group `ecd.models`."""

from __future__ import annotations

from dataclasses import fields, replace
from difflib import get_close_matches
from importlib.metadata import entry_points
from typing import Any

from torch import nn

from ecd_data.errors import UsageError
from ecd_models.networks.charge3net.model import ChargE3Net
from ecd_models.networks.deepdft.model import DeepDFT
from ecd_models.networks.fourier_density.model import FourierDensity
from ecd_models.networks.invdeepdft.model import InvDeepDFT
from ecd_models.networks.pair_density.model import PairDensity

# A model class has `configurations`, a dict from each of its names to a frozen dataclass of hyperparameters; takes such
# an object; keeps it as `.config`; has `.cutoff` in Å; maps a ProbeBatch to densities [p].
# One in closed form has `on_grid(crystal, shape)` for whole grids; without `encode` a training fits it at once.
CLASSES = (ChargE3Net, DeepDFT, InvDeepDFT, PairDensity, FourierDensity)
MODELS: dict[str, Any] = {name: cls for cls in CLASSES for name in cls.configurations}


def model_class(name: str) -> Any:
    """The class of a registered model, in this package or behind an entry point."""
    if name in MODELS:
        return MODELS[name]
    others = {point.name: point for point in entry_points(group="ecd.models")}
    if name in others:
        return others[name].load()
    known = [*MODELS, *others]
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
    raise UsageError(f"no model is called {name!r}: {hint}")


def build_model(name: str, **options: Any) -> nn.Module:
    """A new model with random weights: the named configuration with some hyperparameters changed."""
    cls = model_class(name)
    config = cls.configurations[name]
    known = [field.name for field in fields(config)]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise UsageError(f"model {name!r} has no option {unknown[0]!r}: it has {', '.join(known)}")
    return cls(replace(config, **options))
