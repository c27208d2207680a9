"""The models by name. Other packages add theirs through the entry point group `ecd.models`."""

from __future__ import annotations

from difflib import get_close_matches
from importlib.metadata import entry_points
from typing import Any

from torch import nn

from ecd_data.errors import UsageError
from ecd_models.model_faults import check_options, find_configuration, load_class, make_network
from ecd_models.networks.charge3net.model import ChargE3Net
from ecd_models.networks.deepdft.model import DeepDFT
from ecd_models.networks.fourier_density.model import FourierDensity
from ecd_models.networks.invdeepdft.model import InvDeepDFT
from ecd_models.networks.pair_density.model import PairDensity

# A model class has `configurations`, a dict from each of its names to a frozen dataclass of hyperparameters. Its
# constructor takes such an object and keeps it as `.config`. It has `.cutoff` in Å and maps a ProbeBatch to densities
# [p]. One in closed form has `on_grid(crystal, shape)` for whole grids; without `encode` a training fits it at once.
CLASSES = (ChargE3Net, DeepDFT, InvDeepDFT, PairDensity, FourierDensity)
MODELS: dict[str, Any] = {name: cls for cls in CLASSES for name in cls.configurations}


def model_class(name: str) -> Any:
    """The class of a registered model, of this package or of an entry point; raises UsageError for other names."""
    if name in MODELS:
        return MODELS[name]
    others = {point.name: point for point in entry_points(group="ecd.models")}
    if name in others:
        return load_class(others[name])
    names = [*MODELS, *others]
    similar = get_close_matches(name, names, n=1)
    hint = f"did you mean {similar[0]!r}?" if similar else f"there are {', '.join(names)}"
    raise UsageError(f"no model is called {name!r}: {hint}; one of your own needs its package installed")


def build_model(name: str, **options: Any) -> nn.Module:
    """A new model with random weights.

    Parameters
    ----------
    name : of a configuration.
    options : hyperparameters that replace those of the configuration.

    Raises
    ------
    UsageError : there is no model or no hyperparameter of this name, a hyperparameter has another type, or the class
        of the model is at fault.
    """
    cls = model_class(name)
    config = find_configuration(cls, name)
    check_options(name, config, options)
    return make_network(cls, name, config, options)
