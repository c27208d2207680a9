"""Densities at many points on processors: compiled kernels with a neighbour search of their own, in place of `decode`.

They need numba (the extra `fast`). Where they do not apply, the caller goes on with the network's own `decode`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ecd_data.crystal import Crystal, Floats
from ecd_models.batch import make_item
from ecd_models.graph import Neighbors

log = logging.getLogger("ecd_models")

# Fractional points [n, 3] to the network's outputs there [n]. Any points are right; it is fast where points that
# follow each other lie close together, see `ecd_models.kernels.order`.
Decoder = Callable[[Floats], NDArray[np.float32]]

# The module for each network class. Its `decoder(network, features, crystal)` gives a Decoder, or None for a network
# that it cannot serve; it may import numba at the top, as it is imported when it is first asked for.
MAKERS = {
    "ecd_models.networks.charge3net.model.ChargE3Net": "ecd_models.networks.charge3net.kernel",
    "ecd_models.networks.deepdft.model.DeepDFT": "ecd_models.networks.deepdft.kernel",
    "ecd_models.networks.invdeepdft.model.InvDeepDFT": "ecd_models.networks.invdeepdft.kernel",
}


PROBED = 32  # points at which the kernels are compared with the network before they replace it
AGREEMENT = 1e-3  # of the largest output there; rounding in float32 stays a hundred times below it


def fast_decoder(network: nn.Module, features: Any, crystal: Crystal) -> Decoder | None:
    """What gives the network's outputs at fractional points, from the features that it encoded the crystal's atoms to.

    None where no fast path applies: another network class, a device that is not the processor, weights that are not
    float32, gradients wanted, no numba. Points are taken into the home cell along periodic directions.
    The kernels repeat the formula of the class in their own words, so they are compared with the network's `decode` at
    a few points first; where they differ (a formula was edited), a warning is logged and None returned.
    """
    cls = type(network)
    module = MAKERS.get(f"{cls.__module__}.{cls.__qualname__}")
    weight = next(network.parameters())
    wanted = torch.is_grad_enabled() and any(p.requires_grad for p in network.parameters())
    if module is None or wanted or weight.device.type != "cpu" or weight.dtype != torch.float32:
        return None
    if find_spec("numba") is None or find_spec(module) is None:
        return None
    decoder = import_module(module).decoder(network, features, crystal)
    return decoder if decoder is None or _agrees(decoder, network, features, crystal) else None


@torch.inference_mode()
def _agrees(decoder: Decoder, network: Any, features: Any, crystal: Crystal) -> bool:
    """Whether the kernels give what the network gives at a few points, the same for the same crystal."""
    points = np.random.default_rng(0).random((PROBED, 3))
    item = make_item(Neighbors(crystal, network.cutoff), crystal.numbers, points, dtype=torch.float32)
    expected = network.decode(features, item).numpy()
    difference = np.abs(decoder(points) - expected).max()
    if difference <= AGREEMENT * np.abs(expected).max():
        return True
    if np.isfinite(expected).all():
        log.warning(
            "the compiled kernels of %s differ from its decode() by up to %.2g e/Å^3: its formula was changed, or the"
            " kernels are wrong. Its own decode() is used instead, which is slower",
            *(type(network).__name__, difference),
        )
    return False
