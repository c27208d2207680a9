"""invDeepDFT as the paper writes it (Jørgensen and Bhowmik, arXiv:2011.03346), edge by edge.

The module is for reading and for tests, which hold the fast network in `model` against it. A point has a state x [h].
With r the length of the edge from atom j to point i, an interaction is

    e_k(r) = exp(-(r - k step)^2 / (2 step^2)),   W(r) = MLP_e(e(r)) sigmoid(5 (cutoff - 1.5 - r))
    m_i = sum_j MLP_n(x_j, x_i) * W(r)

with lengths in Å and the shifted softplus ln(1/2 + exp(x)/2) in each perceptron. An atom becomes x + MLP_t(m). A probe,
whose state is zero at first, becomes g * x + (1 - g) * MLP_t(m) with the gate g = sigmoid(MLP_g(x)). The density is
MLP_r(x) of a probe.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import linear, softplus

from ecd_models.batch import ProbeBatch
from ecd_models.networks.invdeepdft.model import INSIDE, STEEPNESS, InvDeepDFT, InvDeepDFTConfig

Weights = dict[str, Tensor]
Edges = tuple[Tensor, Tensor, Tensor]  # sender [e], receiver [e], receiver minus sender in Å [e, 3]


def compute_density(network: InvDeepDFT, batch: ProbeBatch) -> Tensor:
    """The densities in e/Å^3 at the probes of a batch [p], or with the magnetizations [p, 2]."""
    weights, config = network.state_dict(), network.config
    x = weights["atom_model.atom_embeddings.weight"][batch.numbers]
    probe = x.new_zeros(batch.n_probes, x.shape[1])
    for layer in range(config.num_interactions):
        name, edges = f"atom_model.interactions.{layer}", (batch.atom_src, batch.atom_dst, batch.atom_vec)
        sums = _sum_messages(weights, f"{name}.message_sum_module.message_function", config, x, x, edges)
        x = x + _perceptron(weights, f"{name}.state_transition_function", sums)
        name, edges = f"probe_model.messagesum_layers.{layer}", (batch.probe_src, batch.probe_dst, batch.probe_vec)
        sums = _sum_messages(weights, f"{name}.message_function", config, x, probe, edges)
        gate = torch.sigmoid(_perceptron(weights, f"probe_model.probe_state_gate_functions.{layer}", probe))
        new = _perceptron(weights, f"probe_model.probe_state_transition_functions.{layer}", sums)
        probe = gate * probe + (1 - gate) * new
    return _perceptron(weights, "probe_model.readout_function", probe).squeeze(1)


def _sum_messages(
    weights: Weights, name: str, config: InvDeepDFTConfig, senders: Tensor, receivers: Tensor, edges: Edges
) -> Tensor:
    """The sums m_i for all receivers [n, h]."""
    src, dst, vec = edges
    r, step = vec.norm(dim=1, keepdim=True), config.gaussian_expansion_step
    centers = torch.arange(config.num_basis, dtype=r.dtype) * step
    gaussians = torch.exp(-((r - centers) ** 2) / (2 * step**2))
    envelope = torch.sigmoid(STEEPNESS * (config.cutoff - INSIDE - r))
    filters = _perceptron(weights, f"{name}.msg_function_edge", gaussians) * envelope
    pairs = torch.cat([senders[src], receivers[dst]], dim=1)
    messages = _perceptron(weights, f"{name}.msg_function_node", pairs) * filters
    return torch.zeros_like(receivers).index_add(0, dst, messages)


def _perceptron(weights: Weights, name: str, x: Tensor) -> Tensor:
    hidden = softplus(linear(x, weights[f"{name}.0.weight"], weights[f"{name}.0.bias"])) - math.log(2)
    return linear(hidden, weights[f"{name}.2.weight"], weights[f"{name}.2.bias"])
