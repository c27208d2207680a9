"""Weights in .pt files, which are read as data: none of the code that pickles may name is run."""

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

# The types of numpy that a training script may leave in a checkpoint: numbers, under their names in numpy 1 and 2.
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
    EcdError : it holds more than data and could run code.
    FormatError : it is no whole torch checkpoint.
    """
    try:
        with torch.serialization.safe_globals(NUMBERS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UsageError(f"{path} does not exist: give the path of a checkpoint") from error
    except pickle.UnpicklingError as error:
        if "global" in str(error).lower():  # torch's word for a class or function that is not on its list
            message = "it contains more than weights and could run code; save its state_dict() alone and load that"
            raise EcdError(f"{path} was refused: {message}") from error
        raise FormatError(f"{path} is not a torch checkpoint: give a .pt that holds a state dict") from error
    except Exception as error:  # torch reads any other bytes as pickle's commands, which fail in every way there is
        raise FormatError(f"{path} is not a whole torch checkpoint: copy or download it again") from error


class _Unread:
    """Stands for whatever else than weights a training left in its checkpoint: made empty, never used."""

    def __new__(cls, *_: Any) -> _Unread:
        return super().__new__(cls)

    def __setstate__(self, _: Any) -> None:
        pass


def read_weights_alone(path: Path) -> Any:
    """The weights in a checkpoint that may hold other objects too; those stay empty, and none of their code runs.

    Trainings with Lightning keep their configuration and their optimisers' classes beside the weights.
    """
    try:
        with torch.serialization.safe_globals(NUMBERS):
            others = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # torch lists them for its present format only: `read_pickle` says what is wrong
        others = []
    empty: list[Any] = [(_Unread, name) for name in others]
    with torch.serialization.safe_globals(empty):
        return read_pickle(path)


def find_state_dict(content: Any, name: str) -> dict[str, Tensor]:
    """The weights in a checkpoint, which are its whole content or under "model" or "state_dict"."""
    if isinstance(content, Mapping):
        inner = content.get("model", content.get("state_dict", content))
        if isinstance(inner, Mapping):
            found = {key: value for key, value in inner.items() if isinstance(value, Tensor)}
            if found:
                return found
    raise FormatError(f"{name} holds no state dict: give a checkpoint of {', '.join(p.name for p in PUBLISHED)}")


def plain_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights under their names in the network, without the prefixes that Lightning and DDP add."""
    plain = {}
    for name, value in weights.items():
        while name.startswith(("network.", "module.")):
            name = name.split(".", 1)[1]
        plain[name] = value
    return plain
