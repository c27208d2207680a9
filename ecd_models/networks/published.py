"""Weights of the published ChargE3Net, rearranged: the flat arrays of e3nn into blocks, without the dead ones.

e3nn stores a linear map as its blocks (one for each sender slot) one after the other, and the weights of a tensor
product by sender slot, l2, receiver; the product's outputs, not merged, are then sorted stably by irrep.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from e3nn import o3
from torch import Tensor

from ecd_models.networks.charge3net import SPECIES, ChargE3NetConfig, live_irreps, published_irreps
from ecd_models.networks.layers import HIDDEN, Gate, RadialBasis

Weights = dict[str, Tensor]
Slots = list[tuple[int, o3.Irrep]]
SCALAR = o3.Irreps("1x0e")


class Convolution(NamedTuple):
    """The irreps of one published convolution: senders, the receiver's own state, and the gate after it."""

    prefix: str
    senders: o3.Irreps
    state: o3.Irreps
    gate: Gate

    def product_slots(self, lmax: int) -> Slots:
        """The outputs of the tensor product in the order of its weights; outputs to 0e always exist."""
        wanted = {ir for _, ir in self.gate.irreps_in} | {o3.Irrep("0e")}
        return [
            (mul, out)
            for mul, ir in self.senders
            for l2 in range(lmax + 1)
            for out in ir * o3.Irrep(l2, (-1) ** l2)
            if out in wanted
        ]


def convolutions(config: ChargE3NetConfig) -> tuple[list[Convolution], list[Convolution]]:
    """The published atom and probe convolutions."""
    outs = published_irreps(config)
    gates = [Gate(out) for out in outs]
    species = o3.Irreps(f"{SPECIES}x0e")
    atoms = [
        Convolution(f"atom_model.convolutions.{k}", before, before, gates[k])
        for k, before in enumerate([species, *outs[:-1]])
    ]
    probes = [
        Convolution(f"probe_model.convolutions.{k}", outs[k], before, gates[k])
        for k, before in enumerate([SCALAR, *outs[:-1]])
    ]
    return atoms, probes


def linear_size(senders: Slots | o3.Irreps, receivers: o3.Irreps) -> int:
    """Number of weights of a published linear map."""
    return sum(mul * receivers.count(ir) for mul, ir in senders)


def published_shapes(config: ChargE3NetConfig) -> dict[str, tuple[int, ...]]:
    """The name and shape of every trained weight and basis buffer of the published model."""
    shapes: dict[str, tuple[int, ...]] = {}
    for model in ("atom_model", "probe_model"):
        shapes |= {f"{model}.basis.{name}": (config.num_basis,) for name in ("mean", "inv_std")}
    for conv in [c for side in convolutions(config) for c in side]:
        product, out = conv.product_slots(config.lmax), conv.gate.irreps_in
        sizes: dict[str, tuple[int, ...]] = {
            "sc": (linear_size(conv.state, out),),
            "lin1": (linear_size(conv.senders, conv.senders),),
            "lin2": (linear_size(product, out),),
            "lin3": (linear_size(product, SCALAR),),
            "fc.layer0": (config.num_basis, HIDDEN),
            "fc.layer1": (HIDDEN, sum(mul for mul, _ in product)),
        }
        shapes |= {f"{conv.prefix}.{name}.weight": shape for name, shape in sizes.items()}
    return shapes | {"probe_model.readout.weight": (config.channels[0],)}


def inferred_config(weights: Weights, cutoff: float, num_neighbors: float) -> ChargE3NetConfig:
    """The hyperparameters that these weights were made with; KeyError or ValueError if there are none.

    The cutoff and the number of neighbours leave no trace in the weights. Several `mul` can give the same channels:
    the one nearest to an even share is taken.
    """
    depth = sum(f"atom_model.convolutions.{k}.lin1.weight" in weights for k in range(100))
    number = len(weights["atom_model.basis.mean"])
    lmax = weights["atom_model.convolutions.0.fc.layer1.weight"].shape[1] // SPECIES - 1
    even_share = len(weights["probe_model.readout.weight"]) * (lmax + 1)
    for mul in sorted(range(1, even_share + lmax + 2), key=lambda mul: abs(mul - even_share)):
        if all(round(mul / (lmax + 1) / (2 * l + 1)) for l in range(lmax + 1)):
            config = ChargE3NetConfig(depth, mul, lmax, cutoff, number, num_neighbors)
            if not misfits(weights, config):
                return config
        if abs(mul - even_share) > lmax + 1:
            break
    raise ValueError("no number of channels fits")


def misfits(weights: Weights, config: ChargE3NetConfig) -> list[str]:
    """Names of the weights that are absent or have another shape."""
    shapes = published_shapes(config)
    return [name for name, shape in shapes.items() if name not in weights or tuple(weights[name].shape) != shape]
