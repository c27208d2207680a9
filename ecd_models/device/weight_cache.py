"""What is made of a network's weights: made once and remembered while they stay the same, for every crystal."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import nn

T = TypeVar("T")

_REMEMBERED: WeakKeyDictionary[nn.Module, tuple[Hashable, dict[Hashable, Any]]] = WeakKeyDictionary()


def remember(network: nn.Module, name: Hashable, make: Callable[[], T]) -> T:
    """What `make` gives for a network's weights; it is called again when a weight was changed or replaced."""
    weights = list(network.parameters())
    if any(w.is_inference() for w in weights):  # nobody counts what is written to them
        return make()
    state = tuple((w.data_ptr(), w._version, w.device) for w in weights)
    if network not in _REMEMBERED or _REMEMBERED[network][0] != state:
        _REMEMBERED[network] = (state, {})
    found = _REMEMBERED[network][1]
    if name not in found:
        with torch.inference_mode(False), torch.no_grad():
            found[name] = make()
    return found[name]
