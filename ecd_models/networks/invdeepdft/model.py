"""invDeepDFT (Jørgensen and Bhowmik, arXiv:2011.03346): an invariant network for the electron density.

Atoms exchange SchNet messages; probe points receive messages from the atoms, layer by layer, and send none. Weights
have the names of the published checkpoints, and the output is that of the published network.

A message is a function of sender and receiver times a filter of their distance. The first is computed once for each
pair, however many images of the sender the receiver sees, and its first linear map once for each point. The filters
are interpolated in a table where no gradient is asked for, to a part in 10^6.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ecd_data.errors import UsageError
from ecd_models.batch import ProbeBatch
from ecd_models.device_batch import PAIRS, DeviceBatch, PairedEdges
from ecd_models.networks.blocks import (
    AtomsThenProbes,
    Block,
    atom_blocks,
    embed_elements,
    probe_blocks,
    require_outputs,
)
from ecd_models.networks.charge3net.layers import gather_sum
from ecd_models.networks.elements import ONE_HOT, embedding, require_species
from ecd_models.networks.softplus import ShiftedSoftplus

ROWS = 128  # receivers that go through the layers together
FINENESS = 26  # intervals of a table of filters for each radial function: then cubic interpolation errs by 2e-7
NOTHING = 1e-30  # values of radial functions below are taken as zero
STEEPNESS, INSIDE = 5.0, 1.5  # 1/Å and Å: filters fade around this far inside the cutoff


@dataclass(frozen=True)
class InvDeepDFTConfig:
    """Hyperparameters under their published names.

    hidden_state_size: channels; cutoff in Å; gaussian_expansion_step: distance and width of the radial functions in Å;
    outputs: 1 for the density, 2 for the magnetization as well;
    species: "one-hot", or "descriptors", an element's vector from its properties.
    """

    num_interactions: int = 6
    hidden_state_size: int = 128
    cutoff: float = 4.0
    gaussian_expansion_step: float = 0.1
    outputs: int = 1
    species: str = ONE_HOT

    def __post_init__(self) -> None:
        if min(self.num_interactions, self.hidden_state_size) < 1:
            raise UsageError(f"{self} needs at least one interaction and one channel")
        if not (self.cutoff > 0 and self.gaussian_expansion_step > 0):
            raise UsageError(f"{self} needs a positive cutoff and step")
        require_outputs(self.outputs)
        require_species(self.species)

    @property
    def num_basis(self) -> int:
        """Radial functions: one at each multiple of the step below the cutoff."""
        return math.ceil(self.cutoff / self.gaussian_expansion_step - 1e-9)

    @property
    def intervals(self) -> int:
        """Intervals of a table of filters, from zero to the cutoff."""
        return FINENESS * self.num_basis


def perceptron(before: int, hidden: int, after: int) -> nn.Sequential:
    """Two linear maps with a shifted softplus between them."""
    return nn.Sequential(nn.Linear(before, hidden), ShiftedSoftplus(), nn.Linear(hidden, after))


class Pairs(NamedTuple):
    """Edges of one sender to one receiver, which follow each other, taken together: e edges of q pairs.

    src, dst [q]; first [q]: their first edges; pair [e]: whose edge it is; r [e] in Å; receivers: their number.
    """

    src: Tensor
    dst: Tensor
    first: Tensor
    pair: Tensor
    r: Tensor
    receivers: int

    @classmethod
    def of(cls, block: Block) -> Pairs:
        """The pairs of a block."""
        new = torch.ones_like(block.src, dtype=torch.bool)
        new[1:] = (block.src[1:] != block.src[:-1]) | (block.dst[1:] != block.dst[:-1])
        first = new.nonzero()[:, 0]
        return cls(block.src[first], block.dst[first], first, new.cumsum(0) - 1, block.vec.norm(dim=1), block.receivers)

    def sum_edges(self, rows: Tensor) -> Tensor:
        """Sums over the edges of each pair [q, ...]."""
        return gather_sum(rows, self.pair, len(self.src))

    def sum_pairs(self, rows: Tensor) -> Tensor:
        """Sums over the pairs of each receiver [receivers, ...]."""
        return gather_sum(rows, self.dst, self.receivers)

    def take_senders(self, values: Tensor) -> Tensor:
        """Each pair's row of its sender [q, ...]."""
        return values.index_select(0, self.src)

    def take_receivers(self, values: Tensor) -> Tensor:
        """Each pair's row of its receiver [q, ...]."""
        return values.index_select(0, self.dst)


class ArrangedPairs:
    """The same of all edges of an arranged batch."""

    def __init__(self, edges: PairedEdges):
        self.r, self.receivers = edges.vec.norm(dim=1), len(edges.receivers)
        self.sum_edges, self.sum_pairs = edges.pair.sum, edges.receivers.sum
        self.take_senders, self.take_receivers = edges.senders.spread, edges.receivers.spread


class Sent(NamedTuple):
    """What atoms send: their part of the first linear map [n, 2h], their table of filters or None."""

    state: Tensor
    table: Tensor | None


class ExactFilters:
    """Filters summed over the edges of each pair, from their perceptron."""

    def __init__(self, pairs: Pairs | ArrangedPairs, config: InvDeepDFTConfig):
        self._sum = pairs.sum_edges
        self._basis, self._envelope = radial_functions(pairs.r, config)

    def __call__(self, message: Message, sent: Sent) -> Tensor:
        """The sums [q, h]; the last linear map comes after them."""
        first, softplus, last = message.msg_function_edge
        hidden = self._sum(softplus(first(self._basis)) * self._envelope)
        return torch.addcmul(hidden @ last.weight.T, self._sum(self._envelope), last.bias)


class TabulatedFilters:
    """The same from tables, by polynomials of degree three through the nearest nodes."""

    def __init__(self, pairs: Pairs, config: InvDeepDFTConfig):
        x = pairs.r * (config.intervals / config.cutoff)
        below = x.floor().clamp(0, config.intervals - 1)
        t = x - below
        a, b, c = t + 1, t - 1, t - 2
        self._weights = torch.stack([t * b * c / -6, a * b * c / 2, a * t * c / -2, a * t * b / 6], dim=1).flatten()
        self._nodes = (below.long()[:, None] + torch.arange(4, device=t.device)).flatten()
        self._first = 4 * pairs.first

    def __call__(self, message: Message, sent: Sent) -> Tensor:
        """The sums [q, h]."""
        assert sent.table is not None
        return nn.functional.embedding_bag(
            self._nodes, sent.table, self._first, mode="sum", per_sample_weights=self._weights
        )


def radial_functions(r: Tensor, config: InvDeepDFTConfig) -> tuple[Tensor, Tensor]:
    """Gaussians at the multiples of the step [e, b], and what fades the filters out [e, 1]."""
    r, step = r[:, None], config.gaussian_expansion_step
    centers = torch.arange(config.num_basis, dtype=r.dtype, device=r.device) * step
    gaussians = torch.exp(-((r - centers) ** 2) / (2 * step**2))
    gaussians = nn.functional.threshold(gaussians, NOTHING, 0.0)  # denormal numbers make products ten times slower
    return gaussians, torch.sigmoid(STEEPNESS * (config.cutoff - INSIDE - r))


class Message(nn.Module):
    """A perceptron of sender and receiver times a filter of the distance."""

    def __init__(self, config: InvDeepDFTConfig):
        super().__init__()
        self.config = config
        width = config.hidden_state_size
        self.msg_function_edge: Any = perceptron(config.num_basis, width, width)
        self.msg_function_node: Any = perceptron(2 * width, 2 * width, width)

    def project_senders(self, state: Tensor, tabulated: bool = False) -> Sent:
        """What atoms in these states [n, h] send."""
        first = self.msg_function_node[0]
        part = nn.functional.linear(state, first.weight[:, : state.shape[1]], first.bias)
        return Sent(part, self._table(state) if tabulated else None)

    def _table(self, like: Tensor) -> Tensor:
        config = self.config
        nodes = torch.arange(-1, config.intervals + 2, dtype=like.dtype, device=like.device)
        gaussians, envelope = radial_functions(nodes * (config.cutoff / config.intervals), config)
        return self.msg_function_edge(gaussians) * envelope

    def sum_messages(
        self,
        sent: Sent,
        state: Tensor | None,
        pairs: Pairs | ArrangedPairs,
        filters: ExactFilters | TabulatedFilters,
    ) -> Tensor:
        """Summed messages to receivers in these states [p, h]; None is zero, and then a sender says the same to all."""
        first, softplus, last = self.msg_function_node
        if state is None:
            messages = pairs.take_senders(last(softplus(sent.state)))
        else:
            received_state = nn.functional.linear(state, first.weight[:, state.shape[1] :])
            messages = last(softplus(pairs.take_senders(sent.state) + pairs.take_receivers(received_state)))
        return pairs.sum_pairs(messages * filters(self, sent))


class Interaction(nn.Module):
    """Messages between atoms and what they change."""

    def __init__(self, config: InvDeepDFTConfig):
        super().__init__()
        width = config.hidden_state_size
        self.message_sum_module: Any = nn.ModuleDict({"message_function": Message(config)})
        self.state_transition_function = perceptron(width, width, width)

    def forward(self, state: Tensor, around: list[tuple[Pairs | ArrangedPairs, ExactFilters]]) -> Tensor:
        """The new states of the atoms [n, h]; the pairs' receivers are the atoms in their order."""
        message = self.message_sum_module["message_function"]
        sent, parts = message.project_senders(state), state.split([pairs.receivers for pairs, _ in around])
        sums = [message.sum_messages(sent, part, *near) for part, near in zip(parts, around, strict=True)]
        return state + self.state_transition_function(torch.cat(sums))


class AtomModel(nn.Module):
    """Messages between atoms, starting from one vector for each element."""

    def __init__(self, config: InvDeepDFTConfig):
        super().__init__()
        self.config = config
        self.interactions = nn.ModuleList(Interaction(config) for _ in range(config.num_interactions))
        self.atom_embeddings = embedding(config.species, config.hidden_state_size)

    def forward(self, batch: ProbeBatch | DeviceBatch) -> list[Tensor]:
        """The states of the atoms after each layer [n, h]."""
        pairs: list[Pairs | ArrangedPairs]
        if isinstance(batch, DeviceBatch):
            pairs = [ArrangedPairs(batch.atoms)]
        else:
            pairs = [Pairs.of(block) for block in atom_blocks(batch, ROWS)]
        around = [(near, ExactFilters(near, self.config)) for near in pairs]
        states, state = [], embed_elements(self.atom_embeddings, batch)
        for interaction in self.interactions:
            state = interaction(state, around)
            states.append(state)
        return states


class ProbeModel(nn.Module):
    """Messages from atoms to probes, whose states are zero at first; gates let probes take up a part."""

    def __init__(self, config: InvDeepDFTConfig):
        super().__init__()
        self.config = config
        depth, width = config.num_interactions, config.hidden_state_size
        self.messagesum_layers: Any = nn.ModuleList(
            nn.ModuleDict({"message_function": Message(config)}) for _ in range(depth)
        )
        self.probe_state_gate_functions = nn.ModuleList(perceptron(width, width, width) for _ in range(depth))
        self.probe_state_transition_functions = nn.ModuleList(perceptron(width, width, width) for _ in range(depth))
        self.readout_function = perceptron(width, width, config.outputs)

    @property
    def messages(self) -> list[Message]:
        """What the probes receive, layer by layer."""
        return [layer["message_function"] for layer in self.messagesum_layers]

    def project_senders(self, states: list[Tensor]) -> list[Sent]:
        """What atoms in these states send to any probe, layer by layer."""
        tabulated = not torch.is_grad_enabled() and states[0].dtype == torch.float32
        return [message.project_senders(state, tabulated) for message, state in zip(self.messages, states, strict=True)]

    def forward(self, sent: list[Sent], batch: ProbeBatch | DeviceBatch) -> Tensor:
        """The densities at the probes of a batch [p], or with the magnetizations [p, 2]."""
        if isinstance(batch, DeviceBatch):
            pairs = ArrangedPairs(batch.probes)
            return self._at(sent, pairs, ExactFilters(pairs, self.config))
        parts = (Pairs.of(block) for block in probe_blocks(batch, ROWS))
        filters = ExactFilters if sent[0].table is None else TabulatedFilters
        return torch.cat([self._at(sent, part, filters(part, self.config)) for part in parts])

    def _at(self, sent: list[Sent], pairs: Pairs | ArrangedPairs, filters: ExactFilters | TabulatedFilters) -> Tensor:
        state, old = None, pairs.r.new_zeros(1, self.config.hidden_state_size)
        changes = zip(self.probe_state_gate_functions, self.probe_state_transition_functions, strict=True)
        for message, (gate, transition), x in zip(self.messages, changes, sent, strict=True):
            new = transition(message.sum_messages(x, state, pairs, filters))
            kept = torch.sigmoid(gate(old)).to(old.dtype)  # under autocast products are short, states are not
            state = old = torch.lerp(new.to(old.dtype), old, kept)
        return self.readout_function(old).squeeze(1)


class InvDeepDFT(AtomsThenProbes):
    """The network, by default with the published sizes."""

    Config = InvDeepDFTConfig
    configurations: ClassVar[dict[str, InvDeepDFTConfig]] = {"invdeepdft": InvDeepDFTConfig()}
    arrangement: ClassVar[str] = PAIRS

    def __init__(self, config: InvDeepDFTConfig | None = None):
        config = config or InvDeepDFTConfig()
        super().__init__(config, AtomModel(config), ProbeModel(config))
