"""DeepDFT as the paper writes it (Jørgensen and Bhowmik, npj Comput. Mater. 8, 183 (2022)), edge by edge.

The module is for reading and for tests, which hold the fast network in `model` against it. A point has scalars s [h]
and vectors v [3, h]. With r the length and u the direction of the edge from atom j to point i, an interaction is

    e_k(r) = sin(k pi r / cutoff) / r,   W(r) = (W_f e(r) + b_f) (cos(pi r / cutoff) + 1) / 2
    a, b, c = MLP_m(s_j) * W(r)
    ds_i = sum_j s_j * c,   dv_i = sum_j v_j * a + u * b
    a, b, c = MLP_c(s, |V v|),   s += a + b * (U v . V v),   v += c * U v

where the last line is the update of each point from its own state. Atoms add ds and dv to their states; probes, whose
states are zero at first, mix them in by gates g = sigmoid(MLP_g(ds)): s = g * s + (1 - g) * ds, and likewise v. The
density is MLP_r(s) of a probe.

A bounded network has, with B = 10 and r0 = 0.3 Å,

    MLP_m(s) / (1 + |MLP_m(s)| / B)              in place of MLP_m(s),
    r / sqrt(r^2 + r0^2) u                       in place of u,
    U v / (1 + |U v| / B)                        in place of U v, but not in the product,
    |V v| / (1 + |V v| / B)                      in place of |V v|,
    U v . V v / (1 + |U v| |V v| / B)            in place of U v . V v.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import linear, silu

from ecd_models.batch import ProbeBatch
from ecd_models.networks.deepdft.model import BOUND, CORE, SHORTEST, DeepDFT, DeepDFTConfig

Weights = dict[str, Tensor]
Edges = tuple[Tensor, Tensor, Tensor]  # sender [e], receiver [e], receiver minus sender in Å [e, 3]


def compute_density(network: DeepDFT, batch: ProbeBatch) -> Tensor:
    """The densities in e/Å^3 at the probes of a batch [p], or with the magnetizations [p, 2]."""
    weights, config = network.state_dict(), network.config
    s = weights["atom_model.atom_embeddings.weight"][batch.numbers]
    v = s.new_zeros(len(s), 3, config.hidden_state_size)
    probe_s, probe_v = s.new_zeros(batch.n_probes, v.shape[2]), s.new_zeros(batch.n_probes, 3, v.shape[2])
    for layer in range(config.num_interactions):
        edges = batch.atom_src, batch.atom_dst, batch.atom_vec
        ds, dv = _sum_messages(weights, f"atom_model.interactions.{layer}", config, (s, v), edges, batch.n_atoms)
        s, v = _update(weights, f"atom_model.scalar_vector_update.{layer}", config, s + ds, v + dv)
        edges, name = (batch.probe_src, batch.probe_dst, batch.probe_vec), f"probe_model.message_layers.{layer}"
        ds, dv = _sum_messages(weights, name, config, (s, v), edges, batch.n_probes)
        gates = torch.sigmoid(_perceptron(weights, f"{name}.update_gate_mlp", ds))
        gate_s, gate_v = gates[:, None].chunk(2, dim=2)
        probe_s, probe_v = gate_s[:, 0] * probe_s + (1 - gate_s[:, 0]) * ds, gate_v * probe_v + (1 - gate_v) * dv
        probe_s, probe_v = _update(weights, f"probe_model.scalar_vector_update.{layer}", config, probe_s, probe_v)
    return _perceptron(weights, "probe_model.readout_function", probe_s).squeeze(1)


def _sum_messages(
    weights: Weights, name: str, config: DeepDFTConfig, state: tuple[Tensor, Tensor], edges: Edges, count: int
) -> tuple[Tensor, Tensor]:
    """ds [count, h] and dv [count, 3, h]."""
    (s, v), (src, dst, vec) = state, edges
    r = vec.norm(dim=1, keepdim=True)
    k = torch.arange(1, config.distance_embedding_size + 1, dtype=r.dtype)
    waves = torch.sinc(k * r / config.cutoff) * math.pi * k / config.cutoff
    filters = linear(waves, weights[f"{name}.filter_layer.weight"], weights[f"{name}.filter_layer.bias"])
    filters = filters * torch.where(r < config.cutoff, 0.5 * (torch.cos(math.pi * r / config.cutoff) + 1), 0)
    factors, direction = _perceptron(weights, f"{name}.scalar_message_mlp", s), vec / r.clamp(min=SHORTEST)
    if config.bounded:
        factors = factors / (1 + factors.abs() / BOUND)
        direction = direction * r / torch.sqrt(r**2 + CORE**2)
    a, b, c = (factors[src] * filters).chunk(3, dim=1)
    vectors = v[src] * a[:, None] + direction[:, :, None] * b[:, None]
    ds = s.new_zeros(count, s.shape[1]).index_add(0, dst, s[src] * c)
    return ds, v.new_zeros(count, 3, s.shape[1]).index_add(0, dst, vectors)


def _update(weights: Weights, name: str, config: DeepDFTConfig, s: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """The states [n, h] and [n, 3, h] after each point acted on itself."""
    uv, vv = (v @ weights[f"{name}.linear{matrix}.weight"].T for matrix in "UV")
    product, length = (uv * vv).sum(dim=1), vv.norm(dim=1)
    if config.bounded:
        product = product / (1 + uv.norm(dim=1) * length / BOUND)
        uv = uv / (1 + uv.norm(dim=1, keepdim=True) / BOUND)
        length = length / (1 + length / BOUND)
    a, b, c = _perceptron(weights, f"{name}.combined_mlp", torch.cat([s, length], dim=1)).chunk(3, dim=1)
    return s + a + b * product, v + c[:, None] * uv


def _perceptron(weights: Weights, name: str, x: Tensor) -> Tensor:
    hidden = silu(linear(x, weights[f"{name}.0.weight"], weights[f"{name}.0.bias"]))
    return linear(hidden, weights[f"{name}.2.weight"], weights[f"{name}.2.bias"])
