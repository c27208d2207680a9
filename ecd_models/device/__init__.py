"""Densities at many points on a GPU or another device of torch, where neighbours, messages and outputs stay.

The network's own `decode`, on a graph that is built on the device, serves every network and device. With Triton (the
extra `gpu`) the kernels in `MAKERS` replace it for the networks of this package.
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
from ecd_models.device.weight_tables import remember
from ecd_models.graph import Neighbors

log = logging.getLogger("ecd_models")

# The module with the kernels of each network class. Its class `GpuDecoder` is a `ecd_models.device.chunks.Decoder` and
# raises ValueError for a network that it does not support. The module is imported at its first use, so it may import
# Triton.
MAKERS = {
    "ecd_models.networks.charge3net.model.ChargE3Net": "ecd_models.networks.charge3net.gpu_kernel",
    "ecd_models.networks.deepdft.model.DeepDFT": "ecd_models.networks.deepdft.gpu_kernel",
    "ecd_models.networks.invdeepdft.model.InvDeepDFT": "ecd_models.networks.invdeepdft.gpu_kernel",
}
COMPARED_POINTS = 64  # at which the kernels are compared with the network before they replace it
AGREEMENT = 1e-4  # largest accepted difference, of the largest output
REASONS: set[str] = set()  # the warnings on kernels that are not used, each of which is logged once


class Device:
    """A network and the encoded atoms of one crystal on a device, for densities at many points.

    All values have the precision of the weights, also under autocast.

    Parameters
    ----------
    network : the network.
    features : what its `encode` returned for the atoms.
    encoded : the batch of these atoms, on the device.
    neighbors : the atoms and their images.
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
        """The kernels that replace the network's `decode`; None if there are none, which is logged once."""
        try:
            kernels = self.make_kernels(**options)
            if kernels is None:
                return None
            key = ("is correct", type(self.network).decode, *sorted(options.items()))
            return kernels if remember(self.network, key, lambda: self._is_correct(kernels)) else None
        except (
            Exception
        ) as error:  # of a compiler, a driver or the kernels, after which the network's own decode() is used
            log.debug("the kernels failed", exc_info=True)
            _warn_once(f"the GPU kernels of {type(self.network).__name__} cannot be used here ({_first_line(error)})")
            return None

    def on_grid(
        self,
        decoder: Decoder,
        shape: tuple[int, int, int],
        advance: Callable[[int], None] | None = None,
        memory: int | None = None,
    ) -> Tensor:
        """The outputs on a grid, on the device [outputs, points].

        advance: is called with numbers of points. memory: bytes of a chunk.
        """
        bricks = GridBricks(shape, self.lattice, decoder.brick, self.device, self.real)
        return self._decode(decoder, bricks, advance, memory)

    def at_points(
        self,
        decoder: Decoder,
        fractional: Tensor | Floats,
        advance: Callable[[int], None] | None = None,
        size: int | None = None,
    ) -> Tensor:
        """The outputs at fractional points [n, 3], on the device [outputs, n].

        advance: as in `on_grid`. size: points of a brick.
        """
        points = torch.as_tensor(fractional, dtype=self.real, device=self.device)
        points = torch.where(self.images.periodic, points - points.floor(), points)
        return self._decode(decoder, PointBricks(points, self.lattice, size or decoder.brick), advance)

    def _decode(
        self, decoder: Decoder, bricks: Bricks, advance: Callable[[int], None] | None, memory: int | None = None
    ) -> Tensor:
        with torch.autocast(self.device.type, enabled=False):
            return decode_all(decoder, self.images, bricks, self.outputs, advance, memory)

    def make_kernels(self, **options: Any) -> Decoder | None:
        """The kernels, before they are compared with the network; None if there are none for it.

        Raises an error of their compiler, or ValueError if they do not support the network.
        """
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

    def _is_correct(self, decoder: Decoder) -> bool:
        """Whether kernels and network have equal outputs at a few points."""
        points = np.random.default_rng(0).random((COMPARED_POINTS, 3))
        expected, output = (self.at_points(one, points) for one in (self.plain, decoder))
        difference = float((output - expected).abs().max())
        finite = bool(torch.isfinite(expected).all())  # of infinite outputs any difference would be small enough
        if finite and difference <= AGREEMENT * float(expected.abs().max()):
            return True
        if finite:
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
