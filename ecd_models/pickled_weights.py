"""Reads weights from .pt files as data: no code that a pickle names is run."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ecd_data.errors import EcdError, FormatError, UsageError
from ecd_models.networks.published import PUBLISHED

# The types of numpy numbers, under their names in numpy 1 and 2, which training scripts store in checkpoints.
NUMBERS: list[Any] = [
    *((np.float64(0).__reduce__()[0], f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    np.dtype,
    *(type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64)),
]


def read_pickle(path: Path) -> Any:
    """The content of a .pt file, which is read as data: tensors, numbers, and containers of these.

    Raises
    ------
    UsageError : the file does not exist.
    EcdError : the file holds more than data and could run code.
    FormatError : the file is no complete torch checkpoint.
    """
    try:
        with torch.serialization.safe_globals(NUMBERS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UsageError(f"{path} does not exist: give the path of a checkpoint") from error
    except pickle.UnpicklingError as error:
        if "global" in str(error).lower():  # torch calls a class or function so
            message = "it contains more than weights and could run code; save its state_dict() alone and load that"
            raise EcdError(f"{path} was refused: {message}") from error
        raise FormatError(f"{path} is not a torch checkpoint: give a .pt that holds a state dict") from error
    except Exception as error:  # torch reads any bytes as commands of pickle, whose errors can be of any class
        raise FormatError(f"{path} is not a whole torch checkpoint: copy or download it again") from error


class _Empty:
    """Replaces all objects in a checkpoint that are not weights; it has no content."""

    def __new__(cls, *_: Any) -> _Empty:
        return super().__new__(cls)

    def __setstate__(self, _: Any) -> None:
        pass


def read_weights_alone(path: Path) -> Any:
    """The weights in a checkpoint that may hold other objects as well, which are left empty without running their code.

    Trainings with Lightning store their configuration and the classes of their optimisers with the weights.
    """
    try:
        with torch.serialization.safe_globals(NUMBERS):
            others = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # torch lists them for its own format only; for other files `read_pickle` says what is wrong
        others = []
    empty: list[Any] = [(_Empty, name) for name in others]
    with torch.serialization.safe_globals(empty):
        return read_pickle(path)


def find_state_dict(content: Any, name: str) -> dict[str, Tensor]:
    """The weights in a checkpoint: its whole content, or what it has under "model" or "state_dict".

    name: of the file, in messages. Raises FormatError if there are none.
    """
    if isinstance(content, Mapping):
        inner = content.get("model", content.get("state_dict", content))
        if isinstance(inner, Mapping):
            weights = {key: value for key, value in inner.items() if isinstance(value, Tensor)}
            if weights:
                return weights
    raise FormatError(f"{name} holds no state dict: give a checkpoint of {', '.join(p.name for p in PUBLISHED)}")


def strip_prefixes(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights by their names in the network, without the prefixes that Lightning and DDP add."""
    plain = {}
    for name, value in weights.items():
        while name.startswith(("network.", "module.")):
            name = name.split(".", 1)[1]
        plain[name] = value
    return plain
