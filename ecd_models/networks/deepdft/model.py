"""DeepDFT (Jørgensen and Bhowmik, npj Comput. Mater. 2022): an equivariant network for the electron density.

Atoms exchange PaiNN messages; probe points receive messages from the atoms, layer by layer, and send none. A state is
a scalar part s [n, h] and a vector part v [n, 3, h]. Weights have the names of the published checkpoints, and the
output is that of the published network.

A message is linear in the radial functions of its edge. So these, and their products with the edge's direction, are
summed over the edges between two points once, and each layer is two matrix products instead of work for every edge.

The published layers multiply states by states, so that a state larger than those of the training grows as a high power
of itself, and near a nucleus vector messages jump from 0 to their largest values. With `bounded` no layer grows faster
than its input, and vector messages go to zero with the distance (formulas in `reference`).
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

ROWS = 256  # receivers that go through the layers together
SHORTEST = 1e-12  # Å: lengths below count as this one, so that radial functions and directions are finite
BOUND = 10.0  # of softened factors: states of trained networks are about 1, which it hardly changes
CORE = 0.3  # Å: below this distance softened vector messages fade; sums of sin(k pi r / cutoff) / r grow there


@dataclass(frozen=True)
class DeepDFTConfig:
    """Hyperparameters under their published names.

    hidden_state_size: channels of scalars and of vectors; cutoff in Å; distance_embedding_size: radial functions;
    outputs: 1 for the density, 2 for the magnetization as well, which the published model does not have;
    species: "one-hot", or "descriptors", an element's vector from its properties; bounded: soften products of states,
    and vector messages near atoms.
    """

    num_interactions: int = 3
    hidden_state_size: int = 128
    cutoff: float = 4.0
    distance_embedding_size: int = 30
    outputs: int = 1
    species: str = ONE_HOT
    bounded: bool = False

    def __post_init__(self) -> None:
        if min(self.num_interactions, self.hidden_state_size, self.distance_embedding_size) < 1:
            raise UsageError(f"{self} needs at least one interaction, one channel and one radial function")
        if not self.cutoff > 0:
            raise UsageError(f"{self} needs a positive cutoff")
        require_outputs(self.outputs)
        require_species(self.species)


def radial_functions(r: Tensor, number: int, cutoff: float) -> Tensor:
    """sin(k pi r / cutoff) / r for k = 1..number, then 1; all fade out at the cutoff as a cosine [e, number + 1]."""
    frequencies = torch.arange(1, number + 1, dtype=r.dtype, device=r.device) * (math.pi / cutoff)
    waves = torch.sin(r[:, None] * frequencies) / r[:, None]
    envelope = 0.5 * (torch.cos(r * (math.pi / cutoff)) + 1) * (r < cutoff)
    return torch.cat([waves, torch.ones_like(r)[:, None]], dim=1) * envelope[:, None]


def soften(x: Tensor, size: Tensor) -> Tensor:
    """x / (1 + size / BOUND): about x where its absolute value or norm `size` is small, and never above BOUND.

    A quotient is smooth, costs one division, and unlike a logarithm it needs no function that compiled kernels lack.
    """
    return x / (1 + size / BOUND)


def direction_divisor(r: Tensor, config: DeepDFTConfig) -> Tensor:
    """What vectors of length r are divided by to give directions, in Å [e]: r, or if bounded sqrt(r^2 + CORE^2)."""
    return torch.sqrt(r * r + CORE**2) if config.bounded else r


def directed_functions(vec: Tensor, config: DeepDFTConfig) -> Tensor:
    """The radial functions of edges times 1, x, y and z of their directions [e, 4 * (number + 1)]."""
    r = vec.norm(dim=1).clamp(min=SHORTEST)
    functions = radial_functions(r, config.distance_embedding_size, config.cutoff)
    directions = vec / direction_divisor(r, config)[:, None]
    parts = torch.cat([torch.ones_like(r)[:, None], directions], dim=1)
    return (parts[:, :, None] * functions[:, None]).flatten(1)


class Neighborhood(NamedTuple):
    """The surroundings of p receivers: b radial functions of m atoms, summed over the edges from each atom.

    atoms [m]; even [p, m * b]; odd [p * 3, m * b]: the functions times the direction to the receiver.
    """

    atoms: Tensor
    even: Tensor
    odd: Tensor

    @classmethod
    def of(cls, block: Block, n_atoms: int, config: DeepDFTConfig) -> Neighborhood:
        """The neighbourhood of a block's receivers among n_atoms atoms."""
        seen = torch.zeros(n_atoms, dtype=torch.bool, device=block.src.device)
        seen[block.src] = True
        column = seen.cumsum(0) - 1
        atoms = seen.nonzero()[:, 0]
        products = directed_functions(block.vec, config)
        sums = gather_sum(products, block.dst * len(atoms) + column[block.src], block.receivers * len(atoms))
        sums = sums.view(block.receivers, len(atoms), 4, config.distance_embedding_size + 1)
        even = sums[:, :, 0].flatten(1)
        odd = sums[:, :, 1:].transpose(1, 2).flatten(2).flatten(0, 1)
        return cls(atoms, even, odd)

    def sum_messages(self, sent: Tensor, filters: Tensor) -> tuple[Tensor, Tensor]:
        """Summed scalar [p, h] and vector messages [p, 3, h].

        sent [n, 5, h]: what an atom gives to scalars, to x, y, z, and along the direction to the receiver;
        filters [b, 3h]: coefficients of the radial functions for vectors, along the direction, for scalars.
        """
        sent, width = sent.index_select(0, self.atoms), sent.shape[2]
        vector, along, scalar = filters.split(width, dim=1)
        even = sent[:, None, :4] * torch.stack([scalar, vector, vector, vector], dim=1)
        odd = sent[:, None, 4] * along
        s, v = (self.even @ even.flatten(2).flatten(0, 1)).split([width, 3 * width], dim=1)
        return s, v.unflatten(1, (3, width)) + (self.odd @ odd.flatten(0, 1)).unflatten(0, (-1, 3))


class PairedNeighborhood(NamedTuple):
    """The surroundings of all receivers: b radial functions, summed over the edges of each of q pairs.

    even [q, b]; odd [q * 3, b]: the functions times the direction to the receiver.
    """

    edges: PairedEdges
    even: Tensor
    odd: Tensor

    @classmethod
    def of(cls, edges: PairedEdges, config: DeepDFTConfig) -> PairedNeighborhood:
        """The neighbourhood of all receivers of arranged edges."""
        sums = edges.pair.sum(directed_functions(edges.vec, config)).unflatten(1, (4, -1))
        return cls(edges, sums[:, 0].contiguous(), sums[:, 1:].flatten(0, 1))

    def sum_messages(self, sent: Tensor, filters: Tensor) -> tuple[Tensor, Tensor]:
        """Summed scalar [p, h] and vector messages [p, 3, h], see `Neighborhood.received`."""
        width = sent.shape[2]
        vector, along, scalar = filters.split(width, dim=1)
        from_sender = self.edges.senders.spread(sent)
        scale_s, scale_v = (self.even @ torch.cat([scalar, vector], dim=1)).split(width, dim=1)
        odd = (self.odd @ along).unflatten(0, (-1, 3))
        v = torch.addcmul(from_sender[:, 1:4] * scale_v[:, None], odd, from_sender[:, 4:])
        messages = torch.cat([(from_sender[:, 0] * scale_s)[:, None], v], dim=1)
        sums = self.edges.receivers.sum(messages)
        return sums[:, 0], sums[:, 1:]


def perceptron(before: int, hidden: int, after: int) -> nn.Sequential:
    """Two linear maps with a SiLU between them."""
    return nn.Sequential(nn.Linear(before, hidden), nn.SiLU(), nn.Linear(hidden, after))


class Message(nn.Module):
    """The messages that atoms send, and their dependence on the distance."""

    def __init__(self, config: DeepDFTConfig):
        super().__init__()
        width = config.hidden_state_size
        self.bounded = config.bounded
        self.filter_layer = nn.Linear(config.distance_embedding_size, 3 * width)
        self.scalar_message_mlp = perceptron(width, width, 3 * width)

    def project_senders(self, s: Tensor, v: Tensor) -> Tensor:
        """What atoms in these states send, see `Neighborhood.received` [n, 5, h]."""
        factors = self.scalar_message_mlp(s)
        if self.bounded:
            factors = soften(factors, factors.abs())
        vector, along, scalar = factors.chunk(3, dim=1)
        return torch.cat([(s * scalar)[:, None], v * vector[:, None], along[:, None]], dim=1)

    def filters(self) -> Tensor:
        """Coefficients of the radial functions [b, 3h]."""
        return torch.cat([self.filter_layer.weight.T, self.filter_layer.bias[None]])


class GatedMessage(Message):
    """A message to probes, whose gate decides how much of it changes their states."""

    def __init__(self, config: DeepDFTConfig):
        super().__init__(config)
        width = config.hidden_state_size
        self.update_gate_mlp = perceptron(width, 2 * width, 2 * width)

    def take_up(self, s: Tensor, v: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        """The new states from the summed messages and the old states, which are zero if None."""
        gates = torch.sigmoid(self.update_gate_mlp(s)).to(s.dtype)  # under autocast products are short, states are not
        gate_s, gate_v = gates.chunk(2, dim=1)
        if state is None:
            return s - gate_s * s, v - gate_v[:, None] * v
        old_s, old_v = state[0].to(s.dtype), state[1].to(v.dtype)
        return torch.lerp(s, old_s, gate_s), torch.lerp(v, old_v, gate_v[:, None])


def vector_length(v: Tensor) -> Tensor:
    """The lengths of vectors [p, 3, h], with gradient 0 for a zero vector [p, h]."""
    return (v * v).sum(1).clamp(min=torch.finfo(v.dtype).tiny).sqrt()


class Update(nn.Module):
    """The update of the scalars and the vectors of a point by each other."""

    def __init__(self, width: int, bounded: bool = False):
        super().__init__()
        self.bounded = bounded
        self.linearU = nn.Linear(width, width, bias=False)
        self.linearV = nn.Linear(width, width, bias=False)
        self.combined_mlp: Any = perceptron(2 * width, width, 3 * width)

    def _products(self, s: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Uv [p, 3, h], the products Uv.Vv [p, h] and the input of the last linear map [p, h]."""
        u, w = (v @ torch.cat([self.linearU.weight, self.linearV.weight]).T).chunk(2, dim=2)
        length, product = vector_length(w), (u * w).sum(1)
        if self.bounded:
            stretch = vector_length(u)
            product = soften(product, stretch * length)
            u, length = soften(u, stretch[:, None]), soften(length, length)
        first, silu, _ = self.combined_mlp
        return u, product, silu(first(torch.cat([s, length], dim=1)))

    def forward(self, s: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """The states after the update."""
        u, product, hidden = self._products(s, v)
        plain, scale, stretch = self.combined_mlp[2](hidden).chunk(3, dim=1)
        return torch.addcmul(s + plain, scale, product), torch.addcmul(v, stretch[:, None], u)

    def scalars(self, s: Tensor, v: Tensor) -> Tensor:
        """The scalars after the update, for the last layer, where the vectors are not needed."""
        _, product, hidden = self._products(s, v)
        last, used = self.combined_mlp[2], 2 * s.shape[1]
        plain, scale = nn.functional.linear(hidden, last.weight[:used], last.bias[:used]).chunk(2, dim=1)
        return torch.addcmul(s + plain, scale, product)


class AtomModel(nn.Module):
    """Messages between atoms, starting from one vector of scalars for each element."""

    def __init__(self, config: DeepDFTConfig):
        super().__init__()
        self.config = config
        self.interactions: Any = nn.ModuleList(Message(config) for _ in range(config.num_interactions))
        self.scalar_vector_update: Any = nn.ModuleList(
            Update(config.hidden_state_size, config.bounded) for _ in range(config.num_interactions)
        )
        self.atom_embeddings = embedding(config.species, config.hidden_state_size)

    def forward(self, batch: ProbeBatch | DeviceBatch) -> list[tuple[Tensor, Tensor]]:
        """The states of the atoms after each layer."""
        around: list[Any]
        if isinstance(batch, DeviceBatch):
            around = [PairedNeighborhood.of(batch.atoms, self.config)]
        else:
            around = [Neighborhood.of(block, batch.n_atoms, self.config) for block in atom_blocks(batch, ROWS)]
        s = embed_elements(self.atom_embeddings, batch)
        v = s.new_zeros(len(s), 3, s.shape[1])
        states = []
        for message, update in zip(self.interactions, self.scalar_vector_update, strict=True):
            sent, filters = message.project_senders(s, v), message.filters()
            sums = [neighborhood.sum_messages(sent, filters) for neighborhood in around]
            s, v = update(s + torch.cat([s for s, _ in sums]), v + torch.cat([v for _, v in sums]))
            states.append((s, v))
        return states


class ProbeModel(nn.Module):
    """Messages from atoms to probes, whose states are zero at first."""

    def __init__(self, config: DeepDFTConfig):
        super().__init__()
        self.config = config
        width = config.hidden_state_size
        self.message_layers: Any = nn.ModuleList(GatedMessage(config) for _ in range(config.num_interactions))
        self.scalar_vector_update: Any = nn.ModuleList(
            Update(width, config.bounded) for _ in range(config.num_interactions)
        )
        self.readout_function = perceptron(width, width, config.outputs)

    def project_senders(self, states: list[tuple[Tensor, Tensor]]) -> list[Tensor]:
        """What atoms in these states send to any probe, layer by layer [n, 5, h]."""
        return [message.project_senders(*state) for message, state in zip(self.message_layers, states, strict=True)]

    def forward(self, sent: list[Tensor], batch: ProbeBatch | DeviceBatch) -> Tensor:
        """The densities at the probes of a batch [p], or with the magnetizations [p, 2]."""
        if isinstance(batch, DeviceBatch):
            return self._at(sent, PairedNeighborhood.of(batch.probes, self.config))
        parts = (Neighborhood.of(block, len(sent[0]), self.config) for block in probe_blocks(batch, ROWS))
        return torch.cat([self._at(sent, around) for around in parts])

    def _at(self, sent: list[Tensor], around: Neighborhood | PairedNeighborhood) -> Tensor:
        state, updates = None, list(self.scalar_vector_update)
        for message, update, x in zip(self.message_layers, updates, sent, strict=True):
            state = message.take_up(*around.sum_messages(x, message.filters()), state)
            if update is not updates[-1]:
                state = update(*state)
        assert state is not None
        return self.readout_function(updates[-1].scalars(*state)).squeeze(1)


class DeepDFT(AtomsThenProbes):
    """The network, by default with the published sizes."""

    Config = DeepDFTConfig
    configurations: ClassVar[dict[str, DeepDFTConfig]] = {"deepdft": DeepDFTConfig()}
    arrangement: ClassVar[str] = PAIRS

    def __init__(self, config: DeepDFTConfig | None = None):
        config = config or DeepDFTConfig()
        super().__init__(config, AtomModel(config), ProbeModel(config))
