"""Densities at many points on a GPU or another device of torch: neighbours, messages, layers and output stay there.

The network's own `decode` on a graph built on the device serves every network and device. Where Triton is there (the
extra `gpu`), kernels of the package's networks take its place: `MAKERS`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ecd_data.crystal import Floats
from ecd_models.batch import ProbeBatch
from ecd_models.device.bricks import Bricks, GridBricks, PointBricks
from ecd_models.device.chunks import Decoder, decode_all
from ecd_models.device.near import Images
from ecd_models.device.plain_decoder import PlainDecoder
from ecd_models.device.weight_cache import remember
from ecd_models.graph import Neighbors

log = logging.getLogger("ecd_models")

# The module for each network class. Its class `GpuDecoder` (see `ecd_models.device.chunks.Decoder`) raises ValueError
# for a network that it cannot serve; the module may import Triton at the top, as it is imported when first needed.
MAKERS = {
    "ecd_models.networks.charge3net.model.ChargE3Net": "ecd_models.networks.charge3net.gpu_kernel",
    "ecd_models.networks.deepdft.model.DeepDFT": "ecd_models.networks.deepdft.gpu_kernel",
    "ecd_models.networks.invdeepdft.model.InvDeepDFT": "ecd_models.networks.invdeepdft.gpu_kernel",
}
PROBED = 64  # points at which kernels are compared with the network before they replace it
AGREEMENT = 1e-4  # of the largest output there
REASONS: set[str] = set()  # why kernels were not used: the log has each once


class Device:
    """A network and one crystal's encoded atoms on a device, for densities at many points.

    encoded: the batch that `features` were encoded from, on the device. Autocast changes nothing here: all numbers have
    the precision of the weights.
    """

    def __init__(self, network: Any, features: Any, encoded: ProbeBatch, neighbors: Neighbors):
        self.network, self.encoded = network, encoded
        self.device = encoded.numbers.device
        self.real = torch.float32 if self.device.type == "mps" else torch.float64
        self.images = Images.of(neighbors, self.device, self.real)
        self.lattice = np.array(neighbors.crystal.lattice)
        self.outputs = getattr(network.config, "outputs", 1)
        self.plain = PlainDecoder(network, features, encoded)
        self.features = features

    def kernels(self, **options: Any) -> Decoder | None:
        """The kernels in place of the network's `decode`; None where there are none, which is logged once."""
        try:
            found = self.make_kernels(**options)
            if found is None:
                return None
            question = ("agrees", type(self.network).decode, *sorted(options.items()))
            return found if remember(self.network, question, lambda: self._agrees(found)) else None
        except Exception as error:  # of a compiler, a driver or the kernels: any of them leaves the plain path
            log.debug("why there are no kernels", exc_info=True)
            _warn_once(f"the GPU kernels of {type(self.network).__name__} cannot be used here ({_first_line(error)})")
            return None

    def on_grid(
        self,
        decoder: Decoder,
        shape: tuple[int, int, int],
        advance: Callable[[int], None] | None = None,
        memory: int | None = None,
        size: int | None = None,
    ) -> Tensor:
        """The outputs on a grid, on the device [outputs, points]; size: points of a brick."""
        bricks = GridBricks(shape, self.lattice, size or decoder.brick, self.device, self.real)
        return self._decode(decoder, bricks, advance, memory)

    def at_points(
        self,
        decoder: Decoder,
        fractional: Tensor | Floats,
        advance: Callable[[int], None] | None = None,
        memory: int | None = None,
        size: int | None = None,
    ) -> Tensor:
        """The outputs at fractional points [n, 3], on the device [outputs, n]; size: points of a brick."""
        points = torch.as_tensor(fractional, dtype=self.real, device=self.device)
        points = torch.where(self.images.periodic, points - points.floor(), points)
        return self._decode(decoder, PointBricks(points, self.lattice, size or decoder.brick), advance, memory)

    def _decode(
        self, decoder: Decoder, bricks: Bricks, advance: Callable[[int], None] | None, memory: int | None
    ) -> Tensor:
        with torch.autocast(self.device.type, enabled=False):
            return decode_all(decoder, self.images, bricks, self.outputs, advance, memory)

    def make_kernels(self, **options: Any) -> Decoder | None:
        """The kernels, not yet compared with the network; None where there are none; raises where they cannot serve."""
        cls = type(self.network)
        name = MAKERS.get(f"{cls.__module__}.{cls.__qualname__}")
        if name is None or next(self.network.parameters()).dtype != torch.float32:
            return None
        if self.device.type not in ("cuda", "xpu") and os.environ.get("TRITON_INTERPRET") != "1":
            return None
        if find_spec("triton") is None:
            _warn_once(
                "there is no Triton (pip install 'ecd-data[gpu]'): the network's own decode() is used, which is slower"
            )
            return None
        return import_module(name).GpuDecoder(self.network, self.features, **options)

    def _agrees(self, decoder: Decoder) -> bool:
        """Whether the kernels give what the network gives at a few points."""
        points = np.random.default_rng(0).random((PROBED, 3))
        expected, found = (self.at_points(one, points) for one in (self.plain, decoder))
        difference = float((found - expected).abs().max())
        if difference <= AGREEMENT * float(expected.abs().max()):
            return True
        if bool(torch.isfinite(expected).all()):
            log.warning(
                "the GPU kernels of %s differ from its decode() by up to %.2g e/Å^3: its formula was changed, or the"
                " kernels are wrong. Its own decode() is used instead, which is slower",
                *(type(self.network).__name__, difference),
            )
        return False


def _warn_once(sentence: str) -> None:
    if sentence not in REASONS:
        REASONS.add(sentence)
        log.warning("%s", sentence)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no reason given'}"
