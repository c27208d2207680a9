"""ChargE3Net as the paper writes it (Koker et al., npj Comput. Mater. 10, 161 (2024)), with e3nn's tensor products.

The module is for reading and for tests, which hold the fast network in `model` against it. It has all channels of the
published network, also those that no density depends on. A point has features x of irreps l = 0..lmax of both parities.
With r the length and u the direction of the edge from atom j to point i, a convolution is

    R(r) = W_1 SiLU(W_0 B(r)),   B: Gaussians on [0, cutoff]
    m_i = 1 / sqrt(num_neighbors) sum_j R(r) (L_1 x_j) (x) Y(u)
    angle = 0.1 L_3 m_i,   y_i = cos(angle) L_0 x_i + sin(angle) L_2 m_i

where (x) is the Clebsch-Gordan product with the spherical harmonics Y, a weight R for each path, and the L are linear
maps of each irrep. Irreps that x_i does not have are L_2 m_i. After it the gate applies SiLU to 0e, tanh to 0o, and
multiplies other irreps by sigmoids of further 0e channels. Atoms start from a one-hot vector of their species, probes
from zero. Probes receive the features of the atoms after each layer; their density is linear in their last 0e channels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from e3nn import o3
from e3nn.math import normalize2mom
from e3nn.nn import Gate
from torch import Tensor

from ecd_models.batch import ProbeBatch
from ecd_models.networks.charge3net.layers import RadialBasis, harmonics
from ecd_models.networks.charge3net.model import SPECIES, ChargE3NetConfig, list_published_irreps

Weights = Mapping[str, Tensor]


class Edges(NamedTuple):
    """Edges to points: sender [e], receiver [e], harmonics [e, (lmax+1)^2] and radial basis [e, num_basis]."""

    src: Tensor
    dst: Tensor
    harmonics: Tensor
    basis: Tensor


def compute_density(weights: Weights, config: ChargE3NetConfig, batch: ProbeBatch) -> Tensor:
    """The densities in e/Å^3 at the probes of a batch [p], in double precision.

    Parameters
    ----------
    weights : the weights in the published layout, as `ecd_models.checkpoint.export_published` writes them.
    config : the hyperparameters.
    batch : the batch.
    """
    basis = RadialBasis(config.num_basis, config.cutoff).double()
    atom_edges, probe_edges = (
        Edges(src, dst, harmonics(vec, config.lmax), basis(vec.norm(dim=1)))
        for src, dst, vec in (
            (batch.atom_src, batch.atom_dst, batch.atom_vec),
            (batch.probe_src, batch.probe_dst, batch.probe_vec),
        )
    )
    atoms = torch.nn.functional.one_hot(batch.numbers, SPECIES).double()
    probes, before, state = atoms.new_zeros(batch.n_probes, 1), o3.Irreps(f"{SPECIES}x0e"), o3.Irreps("0e")
    for layer, after in enumerate(list_published_irreps(config)):
        gate = _make_gate(after)
        scale = 1 / math.sqrt(config.num_neighbors)
        convolution = Convolution(weights, f"atom_model.convolutions.{layer}", before, before, gate.irreps_in, scale)
        atoms = gate(convolution(atoms, atoms, atom_edges))
        convolution = Convolution(weights, f"probe_model.convolutions.{layer}", after, state, gate.irreps_in, scale)
        probes = gate(convolution(atoms, probes, probe_edges))
        before = state = after
    readout = o3.Linear(state, "0e", internal_weights=False, shared_weights=True).double()
    return readout(probes, weights["probe_model.readout.weight"])[:, 0]


class Convolution(NamedTuple):
    """One convolution from features of irreps `senders` and `state` to the input of a gate."""

    weights: Weights
    name: str
    senders: o3.Irreps
    state: o3.Irreps
    gate_in: o3.Irreps
    scale: float

    def __call__(self, sent: Tensor, own: Tensor, edges: Edges) -> Tensor:
        """The input of the gate [n, .] from the features of the senders and those of the n receivers."""
        product, middle = self._make_product(math.isqrt(edges.harmonics.shape[1]) - 1)
        w0, w1 = (self.weights[f"{self.name}.fc.layer{k}.weight"] for k in (0, 1))
        silu = normalize2mom(torch.nn.functional.silu)
        radial = silu(edges.basis @ w0 / math.sqrt(len(w0))) @ w1 / math.sqrt(len(w1))
        messages = product(self._map("lin1", self.senders, self.senders, sent)[edges.src], edges.harmonics, radial)
        sums = messages.new_zeros(len(own), middle.dim).index_add(0, edges.dst, messages) * self.scale
        angle = 0.1 * self._map("lin3", middle, o3.Irreps("0e"), sums)
        kept = torch.cat([torch.full((mul * ir.dim,), float(ir in self.state)) for mul, ir in self.gate_in]).to(sums)
        new = (1 - kept + kept * torch.sin(angle)) * self._map("lin2", middle, self.gate_in, sums)
        return torch.cos(angle) * self._map("sc", self.state, self.gate_in, own) + new

    def _make_product(self, lmax: int) -> tuple[Any, o3.Irreps]:
        """The product with the harmonics, with a weight for each path, and its irreps."""
        harmonic_irreps = o3.Irreps.spherical_harmonics(lmax)
        slots = [
            (mul, out, i, j)
            for i, (mul, ir) in enumerate(self.senders)
            for j, (_, y) in enumerate(harmonic_irreps)
            for out in ir * y
            if out in self.gate_in or out == o3.Irrep("0e")
        ]
        middle, order, _ = o3.Irreps([slot[:2] for slot in slots]).sort()
        paths = [(i, j, order[k], "uvu", True) for k, (_, _, i, j) in enumerate(slots)]
        options = {"internal_weights": False, "shared_weights": False}
        return o3.TensorProduct(self.senders, harmonic_irreps, middle, paths, **options).double(), middle

    def _map(self, name: str, before: o3.Irreps, after: o3.Irreps, values: Tensor) -> Tensor:
        """The linear map of each irrep with the weights of this name."""
        product = o3.FullyConnectedTensorProduct(before, "0e", after, internal_weights=False, shared_weights=True)
        return product.double()(values, values.new_ones(len(values), 1), self.weights[f"{self.name}.{name}.weight"])


def _make_gate(irreps: o3.Irreps) -> Any:
    """The nonlinearity after a layer with these output irreps."""
    scalars = o3.Irreps([(mul, ir) for mul, ir in irreps if ir.l == 0])
    gated = o3.Irreps([(mul, ir) for mul, ir in irreps if ir.l > 0])
    gates = o3.Irreps([(mul, "0e") for mul, _ in gated])
    functions = [torch.nn.functional.silu if ir.p == 1 else torch.tanh for _, ir in scalars]
    return Gate(scalars, functions, gates, [torch.sigmoid] * len(gates), gated).double()
