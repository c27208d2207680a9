"""Conversion of the published ChargE3Net's weights: flat arrays of e3nn to blocks, without those of no influence.

e3nn stores a linear map as its blocks (one for each sender slot) one after the other, and the weights of a tensor
product by sender slot, l2, receiver; the product's outputs, not merged, are then sorted stably by irrep.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from e3nn import o3
from torch import Tensor

from ecd_models.networks.charge3net.layers import HIDDEN, Gate
from ecd_models.networks.charge3net.model import SPECIES, ChargE3NetConfig, list_live_irreps, list_published_irreps

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

    def couplings(self, lmax: int) -> list[tuple[int, int, int]]:
        """The (l1, l2, l3) of the tensor product whose coefficients e3nn keeps: those without a zero."""
        wanted = {ir for _, ir in self.gate.irreps_in}
        pairs = [(ir, o3.Irrep(l2, (-1) ** l2)) for _, ir in self.senders for l2 in range(1, lmax + 1)]
        found = {(ir.l, y.l, out.l) for ir, y in pairs for out in ir * y if out in wanted}
        return sorted(ls for ls in found if min(ls) > 0)


def convolutions(config: ChargE3NetConfig) -> tuple[list[Convolution], list[Convolution]]:
    """The published atom and probe convolutions."""
    outs = list_published_irreps(config)
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


def count_linear_weights(senders: Slots | o3.Irreps, receivers: o3.Irreps) -> int:
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
            "sc": (count_linear_weights(conv.state, out),),
            "lin1": (count_linear_weights(conv.senders, conv.senders),),
            "lin2": (count_linear_weights(product, out),),
            "lin3": (count_linear_weights(product, SCALAR),),
            "fc.layer0": (config.num_basis, HIDDEN),
            "fc.layer1": (HIDDEN, sum(mul for mul, _ in product)),
        }
        shapes |= {f"{conv.prefix}.{name}.weight": shape for name, shape in sizes.items()}
    return shapes | {"probe_model.readout.weight": (config.channels[0],)}


def infer_config(weights: Weights, cutoff: float, num_neighbors: float) -> ChargE3NetConfig:
    """The hyperparameters that fit these weights best; KeyError, IndexError or ValueError if they are another model's.

    The cutoff and the number of neighbours leave no trace in the weights. Several `mul` can give the same channels:
    the one nearest to an even share is taken.
    """
    depth = sum(f"atom_model.convolutions.{k}.lin1.weight" in weights for k in range(100))
    number = len(weights["atom_model.basis.mean"])
    lmax = weights["atom_model.convolutions.0.fc.layer1.weight"].shape[1] // SPECIES - 1
    even_share = len(weights["probe_model.readout.weight"]) * (lmax + 1)
    candidates = [
        ChargE3NetConfig(depth, mul, lmax, cutoff, number, num_neighbors)
        for mul in sorted(
            range(max(1, even_share - lmax - 1), even_share + lmax + 2), key=lambda m: abs(m - even_share)
        )
        if round(mul / (lmax + 1) / (2 * lmax + 1)) > 0
    ]
    return min(candidates, key=lambda config: len(find_misfits(weights, config)))


def find_misfits(weights: Weights, config: ChargE3NetConfig) -> list[str]:
    """Names of the weights that are absent or have another shape."""
    shapes = published_shapes(config)
    return [name for name, shape in shapes.items() if name not in weights or tuple(weights[name].shape) != shape]


def concatenate_blocks(blocks: list[tuple[str, Tensor]], dim: int) -> Weights:
    """The blocks of each irrep, concatenated along `dim`."""
    parts: dict[str, list[Tensor]] = {}
    for ir, block in blocks:
        parts.setdefault(ir, []).append(block)
    return {ir: torch.cat(rows, dim=dim) for ir, rows in parts.items()}


def split_linear(flat: Tensor, senders: Slots | o3.Irreps, receivers: o3.Irreps) -> Weights:
    """The matrix of a published linear map for each irrep, senders' slots one below the other [mul_in, mul_out]."""
    met = [(str(ir), mul, receivers.count(ir)) for mul, ir in senders if receivers.count(ir)]
    parts = flat.split([rows * columns for _, rows, columns in met])
    blocks = [(ir, part.view(rows, columns)) for (ir, rows, columns), part in zip(met, parts, strict=True)]
    return concatenate_blocks(blocks, dim=0)


def find_live_columns(gate: Gate, live: Gate) -> Tensor:
    """The 0e inputs of a published gate that the gate here has: all scalars, and the gates of its channels."""
    kept, start = list(range(gate.scalars["0e"])), gate.scalars["0e"]
    for ir, mul in gate.gated.items():
        kept += range(start, start + mul) if ir in live.gated else ()
        start += mul
    return torch.tensor(kept)


def import_atom_weights(conv: Convolution, live_in: o3.Irreps, live: Gate, weights: Weights, lmax: int) -> Weights:
    """The weights of an `AtomConvolution`."""
    slots, out = conv.product_slots(lmax), conv.gate.irreps_in
    flat = {name: weights[f"{conv.prefix}.{name}.weight"] for name in ("sc", "lin1", "lin2", "lin3")}
    ordered = sorted(slots, key=lambda slot: (slot[1].l, slot[1].p))
    columns = weights[f"{conv.prefix}.fc.layer1.weight"].split([mul for mul, _ in slots], dim=1)
    radial = concatenate_blocks([(str(ir), part) for (_, ir), part in zip(slots, columns, strict=True)], dim=1)
    receivers = [str(ir) for _, ir in live.irreps_in]
    maps = {"sc": split_linear(flat["sc"], conv.state, out), "lin2": split_linear(flat["lin2"], ordered, out)}
    for blocks in maps.values():
        if "0e" in blocks:
            blocks["0e"] = blocks["0e"][:, find_live_columns(conv.gate, live)]
    lin1 = split_linear(flat["lin1"], conv.senders, conv.senders)
    found = {f"lin1.{ir}": lin1[str(ir)] for _, ir in live_in}
    found |= {f"{name}.{ir}": blocks[ir] for name, blocks in maps.items() for ir in receivers if ir in blocks}
    found["lin3"] = split_linear(flat["lin3"], ordered, SCALAR)["0e"][:, 0]
    found["radial.layer0"] = weights[f"{conv.prefix}.fc.layer0.weight"]
    found["radial.layer1"] = torch.cat([radial[ir] for ir in receivers], dim=1)
    return found


def import_probe_weights(conv: Convolution, weights: Weights, config: ChargE3NetConfig) -> Weights:
    """The weights of a `ProbeLayer`: those that lead to the scalars among the 0e channels."""
    natural = o3.Irreps([(mul, (l, (-1) ** l)) for l, mul in enumerate(config.channels)])
    live = Gate(o3.Irreps(f"{config.channels[0]}x0e"))
    found = import_atom_weights(conv, natural, live, weights, config.lmax)
    for l, (_, ir) in enumerate(natural):
        found[f"lin1.{l}"] = found.pop(f"lin1.{ir}")
    for name in ("sc", "lin2"):
        if f"{name}.0e" in found:
            found[name] = found.pop(f"{name}.0e")
    if conv.state == SCALAR:  # the probes' initial state, which is zero
        del found["sc"]
    return found


def import_weights(weights: Weights, config: ChargE3NetConfig) -> Weights:
    """The state of the `ChargE3Net` that computes the same densities as these published weights."""
    atoms, probes = convolutions(config)
    irreps = list_live_irreps(config)
    found = {f"basis.{name}": weights[f"probe_model.basis.{name}"] for name in ("mean", "inv_std")}
    found["decoder.readout"] = weights["probe_model.readout.weight"]
    befores = [atoms[0].senders, *irreps[:-1]]
    for k, (conv, before, out) in enumerate(zip(atoms, befores, irreps, strict=True)):
        part = import_atom_weights(conv, before, Gate(out), weights, config.lmax)
        found |= {f"encoder.convolutions.{k}.{name}": value for name, value in part.items()}
    for k, conv in enumerate(probes):
        part = import_probe_weights(conv, weights, config)
        found |= {f"decoder.layers.{k}.{name}": value for name, value in part.items()}
    return {name: value.detach().clone() for name, value in found.items()}


def export_weights(live: Mapping[str, Tensor], config: ChargE3NetConfig) -> Weights:
    """The published state dict, e3nn's constants included, that gives the densities of a `ChargE3Net` in this state.

    Weights that no density depends on are zero.
    """
    shapes = published_shapes(config)
    sizes = [math.prod(shape) for shape in shapes.values()]
    places = dict(zip(shapes, torch.arange(sum(sizes)).split(sizes), strict=True))
    where = import_weights({name: place.view(shapes[name]) for name, place in places.items()}, config)
    flat = live["decoder.readout"].new_zeros(sum(sizes), device="cpu")
    for name, place in where.items():
        flat[place.flatten()] = live[name].detach().cpu().flatten()
    found = {name: flat[place].view(shapes[name]) for name, place in places.items()}
    found |= {f"atom_model.basis.{name}": found[f"probe_model.basis.{name}"].clone() for name in ("mean", "inv_std")}
    return found | make_constants(config)


def make_constants(config: ChargE3NetConfig) -> Weights:
    """What e3nn stores in a state dict besides weights: couplings, masks of the outputs, weights of size zero."""
    found: Weights = {"probe_model.readout.bias": torch.zeros(0), "probe_model.readout.output_mask": torch.ones(1)}
    atoms, probes = convolutions(config)
    for conv in atoms + probes:
        slots, out = conv.product_slots(config.lmax), conv.gate.irreps_in
        product = {ir for _, ir in slots}
        found |= {
            f"{conv.prefix}.sc.output_mask": make_mask(out, {ir for _, ir in conv.state}),
            f"{conv.prefix}.lin1.output_mask": torch.ones(conv.senders.dim),
            f"{conv.prefix}.tp.weight": torch.zeros(0),
            f"{conv.prefix}.tp.output_mask": torch.ones(sum(mul * ir.dim for mul, ir in slots)),
            f"{conv.prefix}.lin2.output_mask": make_mask(out, product),
            f"{conv.prefix}.lin3.output_mask": make_mask(SCALAR, product),
        }
        for l1, l2, l3 in conv.couplings(config.lmax):
            name = f"{conv.prefix}.tp._compiled_main_left_right._w3j_{l1}_{l2}_{l3}"
            found[name] = o3.wigner_3j(l1, l2, l3, dtype=torch.float32)
        gates = conv.prefix.replace("convolutions", "gates")
        gated = sum(mul * o3.Irrep(ir).dim for ir, mul in conv.gate.gated.items())
        found |= {f"{gates}.mul.weight": torch.zeros(0), f"{gates}.mul.output_mask": torch.ones(gated)}
    return found


def make_mask(irreps: o3.Irreps, reached: set[o3.Irrep]) -> Tensor:
    """One for each component of the irreps that are reached, else zero [dimension]."""
    return torch.cat([torch.full((mul * ir.dim,), float(ir in reached)) for mul, ir in irreps])
