"""What GPU kernels compute once from a network's weights: tables of its radial functions, in tiles of channels.

Polynomials of degree two on 1,024 intervals, three on 256, or four on 128 have about the same error, 1e-6 of the
largest value of a published function. With long intervals, points that lie close together use the same few of them, and
most reads of the table come from the first-level cache.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import nn

from ecd_data.crystal import Floats
from ecd_models.kernels.radial import RadialTable

DEGREE = 3
TOLERANCE, ACCEPTED = 2e-7, 1e-5  # of the largest value of a radial function

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


def accurate_table(tabulate: Callable[..., RadialTable], network: nn.Module, degree: int) -> RadialTable:
    """The table of a network's radial functions that its `radial_table` makes, exact to TOLERANCE.

    Raises
    ------
    ValueError : the radial functions are too steep for a table.
    """
    table = tabulate(network, tolerance=TOLERANCE, degree=degree)
    if table.error > ACCEPTED:
        raise ValueError(f"its radial functions are too steep for a table, whose error is {table.error:.1g}")
    return table


def tile_channels(values: Floats, width: int) -> Floats:
    """The last axis, which is that of the channels, in tiles of `width` padded by zeros [..., tiles, width]."""
    tiles = -(-values.shape[-1] // width)
    padding = [(0, 0)] * (values.ndim - 1) + [(0, tiles * width - values.shape[-1])]
    return np.pad(values, padding).reshape(*values.shape[:-1], tiles, width)


def to_float32(values: Any, device: torch.device) -> torch.Tensor:
    """An array as float32 on a device."""
    return torch.as_tensor(np.ascontiguousarray(values, dtype=np.float32), device=device)
