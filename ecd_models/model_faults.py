"""Faults of a model's class, mostly one of a user's own (docs/add_a_model.md), as sentences that name the model."""

from __future__ import annotations

import sys
import traceback
from dataclasses import Field, fields, is_dataclass, replace
from importlib.metadata import EntryPoint
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from torch import nn

from ecd_data.errors import EcdError, UsageError

PAGE = "docs/add_a_model.md says what a class must have"
METHODS = ("encode", "decode")  # of a model that is evaluated at points
OPTION_KINDS: dict[str, Any] = {"int": Integral, "float": Real, "str": str, "bool": bool}


def load_class(point: EntryPoint) -> Any:
    """The class of an entry point; raises UsageError where it cannot be imported."""
    try:
        return point.load()
    except Exception as error:  # a module may raise anything while it is imported
        package = point.dist.name if point.dist is not None else "a package"
        raise UsageError(
            f"the model {point.name!r} of {package} cannot be imported from {point.value!r} "
            f"({_describe_error(error)}): correct its entry point, or install what it needs"
        ) from error


def find_configuration(cls: Any, name: str) -> Any:
    """The configuration of a model's name; raises UsageError where the class has none."""
    configurations = getattr(cls, "configurations", None)
    found = configurations.get(name) if isinstance(configurations, dict) else None
    if found is None or not is_dataclass(found) or isinstance(found, type):
        raise UsageError(
            f"the class {_class_name(cls)} of the model {name!r} lacks configurations = {{{name!r}: ...}}, with an"
            f" instance of a frozen dataclass: {PAGE}"
        )
    return found


def check_options(name: str, config: Any, options: dict[str, Any]) -> None:
    """Raise UsageError for an option that the configuration of a model does not have, or of another type."""
    hyperparameters = {field.name: field for field in fields(config)}
    unknown = sorted(set(options) - set(hyperparameters))
    if unknown:
        raise UsageError(f"model {name!r} has no option {unknown[0]!r}: it has {', '.join(hyperparameters)}")
    for key, value in options.items():
        kind = _type_name(hyperparameters[key])
        due = OPTION_KINDS.get(kind)
        if due is not None and (not isinstance(value, due) or (isinstance(value, bool) and kind != "bool")):
            raise UsageError(f"model {name!r} has the option {key} = {value!r} where {kind} is due: correct [options]")


def _type_name(field: Field[Any]) -> str:
    return field.type if isinstance(field.type, str) else getattr(field.type, "__name__", "")


def make_network(cls: Any, name: str, config: Any, options: dict[str, Any]) -> nn.Module:
    """A network of a class with a configuration, in which `options` replace hyperparameters.

    Raises UsageError where the class cannot make one, or lacks what every class has.
    """
    try:
        network = cls(replace(config, **options))
    except EcdError:
        raise
    except Exception as error:
        raise UsageError(f"{explain_fault(cls, name, error)}, or its [options]") from error
    due = ["config"] if hasattr(cls, "on_grid") else ["config", "cutoff", *METHODS]
    missing = [f"`{word}`" for word in due if not hasattr(network, word)]
    if missing or not isinstance(network, nn.Module):
        lacks = f"lacks {' and '.join(missing)}" if missing else "is no torch.nn.Module"
        raise UsageError(f"the class {_class_name(cls)} of the model {name!r} {lacks}: {PAGE}")
    return network


def is_own_class(cls: type) -> bool:
    """Whether a class is one of a user's own, not of this package."""
    return cls.__module__.partition(".")[0] != "ecd_models"


def explain_fault(cls: Any, name: str, error: Exception) -> str:
    """Which model failed, where in its file, and why."""
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == file] or frames
    place = f"{Path(own[-1].filename).name}, line {own[-1].lineno}"
    return f"the model {name!r} fails in {place} ({_describe_error(error)}): correct its class {_class_name(cls)}"


def _describe_error(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _class_name(cls: Any) -> str:
    return f"{getattr(cls, '__module__', '')}.{getattr(cls, '__qualname__', cls)}"
