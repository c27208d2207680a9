"""A cache of what is computed from a network's weights, which is valid while the weights do not change."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import nn

T = TypeVar("T")

_CACHE: WeakKeyDictionary[nn.Module, tuple[Hashable, dict[Hashable, Any]]] = WeakKeyDictionary()


def remember(network: nn.Module, name: Hashable, make: Callable[[], T]) -> T:
    """The result of make() for a network's weights; it is called again once a weight was changed or replaced."""
    weights = list(network.parameters())
    if any(w.is_inference() for w in weights):  # torch does not count their changes
        return make()
    state = tuple((w.data_ptr(), w._version, w.device) for w in weights)
    if network not in _CACHE or _CACHE[network][0] != state:
        _CACHE[network] = (state, {})
    results = _CACHE[network][1]
    if name not in results:
        with torch.inference_mode(False), torch.no_grad():
            results[name] = make()
    return results[name]
