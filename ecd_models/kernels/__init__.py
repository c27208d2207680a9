"""Compiled kernels for densities at many points on a CPU, used in place of a network's `decode`.

They have a neighbour search of their own and need numba (the extra `fast`). Where they do not apply, the caller uses
the network's own `decode`.
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

# Maps fractional points [n, 3] to the outputs of the network [n]. It is correct for any points, and fast if consecutive
# points lie close together.
Decoder = Callable[[Floats], NDArray[np.float32]]

# The module with the kernels of each network class. Its `decoder(network, features, crystal)` returns a Decoder, or
# None for a network that it does not support. The module is imported at its first use, so it may import numba.
MAKERS = {
    "ecd_models.networks.charge3net.model.ChargE3Net": "ecd_models.networks.charge3net.kernel",
    "ecd_models.networks.deepdft.model.DeepDFT": "ecd_models.networks.deepdft.kernel",
    "ecd_models.networks.invdeepdft.model.InvDeepDFT": "ecd_models.networks.invdeepdft.kernel",
}


COMPARED_POINTS = 32  # at which the kernels are compared with the network before they replace it
AGREEMENT = 1e-3  # largest accepted difference, of the largest output; rounding in float32 is a hundred times smaller


def fast_decoder(network: nn.Module, features: Any, crystal: Crystal) -> Decoder | None:
    """A function from fractional points to the outputs of a network, or None if no compiled kernel applies.

    No kernel applies to other network classes, devices other than the CPU, weights other than float32, if gradients are
    needed, and without numba. The kernels implement the formula of the class a second time. So they are compared with
    the network's `decode` at a few points first. If they differ, because a formula was edited, a warning is logged and
    None returned. Points are moved into the home cell along the periodic directions.

    Parameters
    ----------
    network : the network.
    features : what its `encode` returned for the atoms of the crystal.
    crystal : the crystal.
    """
    cls = type(network)
    module = MAKERS.get(f"{cls.__module__}.{cls.__qualname__}")
    weight = next(network.parameters())
    needs_gradient = torch.is_grad_enabled() and any(p.requires_grad for p in network.parameters())
    if module is None or needs_gradient or weight.device.type != "cpu" or weight.dtype != torch.float32:
        return None
    if find_spec("numba") is None or find_spec(module) is None:
        return None
    decoder = import_module(module).decoder(network, features, crystal)
    return decoder if decoder is None or _is_correct(decoder, network, features, crystal) else None


@torch.inference_mode()
def _is_correct(decoder: Decoder, network: Any, features: Any, crystal: Crystal) -> bool:
    """Whether kernels and network have equal outputs at a few points, which are the same in each call."""
    points = np.random.default_rng(0).random((COMPARED_POINTS, 3))
    item = make_item(Neighbors(crystal, network.cutoff), crystal.numbers, points, dtype=torch.float32)
    expected = network.decode(features, item).numpy()
    difference = np.abs(decoder(points) - expected).max()
    finite = bool(np.isfinite(expected).all())  # of infinite outputs any difference would be small enough
    if finite and difference <= AGREEMENT * np.abs(expected).max():
        return True
    if finite:
        log.warning(
            "the compiled kernels of %s differ from its decode() by up to %.2g e/Å^3: its formula was changed, or the"
            " kernels are wrong. Its own decode() is used instead, which is slower",
            *(type(network).__name__, difference),
        )
    return False
