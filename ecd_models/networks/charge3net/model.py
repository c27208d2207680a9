"""ChargE3Net (Koker et al., npj Comput. Mater. 2024): an E(3)-equivariant network for the electron density.

Atoms exchange equivariant messages; probe points then receive messages from the atoms, layer by layer, and send none.
The density is read from the invariant (0e) state of a probe, and a probe layer maps each irrep of its state to itself.
So only the 0e channels of the probes, and what leads to them, exist here. The output is that of the published network.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from e3nn import o3
from torch import Tensor, nn

from ecd_data.errors import UsageError
from ecd_models.batch import ProbeBatch
from ecd_models.device_batch import BLOCKS, DeviceBatch
from ecd_models.kernels.groups import Groups
from ecd_models.networks.blocks import require_outputs
from ecd_models.networks.charge3net.couplings import Couplings, find_coupled_l2
from ecd_models.networks.charge3net.layers import (
    AtomConvolution,
    AtomEdges,
    Features,
    Gate,
    RadialBasis,
    RadialWeights,
    SenderBlocks,
    scaled_silu,
    weight,
)
from ecd_models.networks.charge3net.linear_maps import PLAIN, LinearMaps, ScaledMaps, fan_in
from ecd_models.networks.elements import DESCRIPTORS, ONE_HOT, SPECIES, DescriptorEmbedding, require_species


@dataclass(frozen=True)
class ChargE3NetConfig:
    """Hyperparameters under their published names.

    mul: channels shared evenly among l = 0..lmax and their components; cutoff in Å; num_neighbors: sums over
    neighbours are divided by its square root; outputs: 1 for the density, 2 for the magnetization as well;
    species: "one-hot", or "descriptors", an element's vector from its properties.
    """

    num_interactions: int = 3
    mul: int = 500
    lmax: int = 4
    cutoff: float = 4.0
    num_basis: int = 20
    num_neighbors: float = 20.0
    outputs: int = 1
    species: str = ONE_HOT

    def __post_init__(self) -> None:
        if self.num_interactions < 1 or self.lmax < 0 or self.num_basis < 2:
            raise UsageError(f"{self} needs at least one interaction, lmax 0 and two basis functions")
        if not (self.cutoff > 0 and self.num_neighbors > 0):
            raise UsageError(f"{self} needs a positive cutoff and number of neighbours")
        require_outputs(self.outputs)
        require_species(self.species)
        if min(self.channels) < 1:
            raise UsageError(f"mul={self.mul} leaves no channel for l={self.lmax}: raise mul or lower lmax")

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of one parity for each l [lmax + 1]."""
        return tuple(round(self.mul / (self.lmax + 1) / (2 * l + 1)) for l in range(self.lmax + 1))


def list_published_irreps(config: ChargE3NetConfig) -> list[o3.Irreps]:
    """The irreps after each atom layer that messages can reach [num_interactions]."""
    hidden = [(mul, o3.Irrep(l, p)) for l, mul in enumerate(config.channels) for p in (-1, 1)]
    layers, senders = [], o3.Irreps(f"{SPECIES}x0e")
    for _ in range(config.num_interactions):
        senders = o3.Irreps(
            [(m, ir) for m, ir in hidden if any(find_coupled_l2(s, ir, config.lmax) for _, s in senders)]
        )
        layers.append(senders)
    return layers


def list_live_irreps(config: ChargE3NetConfig) -> list[o3.Irreps]:
    """The irreps after each atom layer that can influence the density [num_interactions].

    Probes use irreps that couple with harmonics to 0e, that is with parity (-1)^l; an atom layer uses those that lead
    to one of its own irreps that can influence the density.
    """
    live: list[o3.Irreps] = []
    for irreps in reversed(list_published_irreps(config)):
        later = live[0] if live else o3.Irreps()
        kept = [
            (mul, ir)
            for mul, ir in irreps
            if ir.p == (-1) ** ir.l or any(ir == r or find_coupled_l2(ir, r, config.lmax) for _, r in later)
        ]
        live.insert(0, o3.Irreps(kept))
    return live


class AtomEncoder(nn.Module):
    """Equivariant message passing between atoms, starting from their elements."""

    def __init__(self, config: ChargE3NetConfig):
        super().__init__()
        irreps = list_live_irreps(config)
        self.lmax = config.lmax
        self.species = DescriptorEmbedding(SPECIES) if config.species == DESCRIPTORS else None
        self.gates = nn.ModuleList(Gate(out) for out in irreps)
        self.convolutions = nn.ModuleList(
            AtomConvolution(before, gate.irreps_in, config.lmax, config.num_basis, config.num_neighbors)
            for before, gate in zip([o3.Irreps(f"{SPECIES}x0e"), *irreps[:-1]], self.gates, strict=True)
        )

    def factors(self) -> dict[nn.Parameter, float]:
        """The factor of each weight."""
        return {w: f for each in cast(Iterable[AtomConvolution], self.convolutions) for w, f in each.factors().items()}

    def forward(self, batch: ProbeBatch | DeviceBatch, basis: RadialBasis, maps: LinearMaps = PLAIN) -> list[Features]:
        """The features of the atoms after each layer."""
        edges: SenderBlocks | AtomEdges
        if isinstance(batch, DeviceBatch):
            edges = AtomEdges(batch.atoms, basis, self.lmax)
        else:
            edges = SenderBlocks.of(batch.atom_src, batch.atom_dst, batch.atom_vec, batch.n_atoms, basis, self.lmax)
        couplings = Couplings(edges.y)
        if self.species is None:
            one_hot = batch.numbers[:, None] == torch.arange(SPECIES, device=batch.numbers.device)
            species = one_hot.to(edges.y.dtype)
        else:
            species = self.species(batch.numbers)
        layers, x = [], {"0e": species[:, None, :]}
        for convolution, gate in zip(self.convolutions, self.gates, strict=True):
            x = gate(convolution(x, edges, couplings, maps))
            layers.append(x)
        return layers


class ProbeLayer(nn.Module):
    """Messages from atoms to the 0e channels of probes: c channels from the atoms, s scalars of the probes.

    The channels, also the outputs of `radial` and the rows of `lin2`, are ordered by l of the sender, channel.
    """

    def __init__(self, config: ChargE3NetConfig, first: bool):
        super().__init__()
        scalars, total = config.channels[0], sum(config.channels)
        self.lin1 = nn.ParameterList(weight(mul, mul) for mul in config.channels)
        self.radial = RadialWeights(config.num_basis, total, config.num_neighbors)
        self.lin2 = weight(total, scalars)
        self.lin3 = weight(total)
        self.sc = None if first else weight(scalars, scalars)  # the first state is zero

    def sender_factors(self) -> dict[nn.Parameter, float]:
        """The factor of each weight of the senders."""
        return {w: fan_in(w, 2 * l + 1) for l, w in enumerate(self.lin1)}

    def factors(self) -> dict[nn.Parameter, float]:
        """The factor of each weight of the probes."""
        own = {self.lin2: fan_in(self.lin2), self.lin3: fan_in(self.lin2)}
        return own | ({} if self.sc is None else {self.sc: fan_in(self.sc)}) | self.radial.factors()

    def field(self, features: Features, maps: LinearMaps = PLAIN) -> Tensor:
        """What each atom sends into a direction, as coefficients of the harmonics [n, (lmax+1)^2, c].

        A channel has one l only, so the blocks lie on a diagonal; one product with all harmonics is still faster
        than one for each l.
        """
        blocks, last = [], 0
        total = len(self.lin2)
        for l, w in enumerate(self.lin1):
            x = maps(features[f"{l}{'eo'[l % 2]}"], w, len(w) * (2 * l + 1))
            blocks.append(nn.functional.pad(x, (last, total - last - len(w))))
            last += len(w)
        return torch.cat(blocks, dim=1)

    def messages(self, field: Tensor, edges: SenderBlocks) -> Tensor:
        """The message of each edge [e, c]."""
        weights = self.radial(edges.basis)
        return edges.contract(edges.y[:, None], edges.take_senders(field)).squeeze(1) * weights

    def sums(self, field: Tensor, edges: SenderBlocks, receivers: Groups, maps: LinearMaps) -> Tensor:
        """The summed messages of the probes [p, c], all at once, for GPUs."""
        weights, sent = self.radial(edges.basis, maps), edges.take_senders(field)
        if sent.shape[1] == 1:  # the one harmonic is 1 everywhere
            return receivers.sum_products(weights, sent.squeeze(1))
        return receivers.sum_products(edges.contract(edges.y[:, None], sent).squeeze(1), weights)

    def forward(self, state: Tensor, total: Tensor, maps: LinearMaps = PLAIN) -> Tensor:
        """The new states of the probes [p, s] from the old ones and the summed messages [p, c]."""
        if maps is PLAIN:
            total = total / math.sqrt(len(self.lin2))
            angle, out = 0.1 * (total @ self.lin3)[:, None], total @ self.lin2
        else:
            inputs = len(self.lin2)
            angle, out = 0.1 * maps(total, self.lin3, inputs)[:, None], maps(total, self.lin2, inputs)
        out = torch.sin(angle) * out
        if self.sc is not None:
            out = out + torch.cos(angle) * maps(state, self.sc, len(self.sc))
        return scaled_silu(out)


class ProbeDecoder(nn.Module):
    """The densities at probes from what the atoms send."""

    def __init__(self, config: ChargE3NetConfig):
        super().__init__()
        self.lmax = config.lmax
        self.layers = nn.ModuleList(ProbeLayer(config, first=k == 0) for k in range(config.num_interactions))
        self.readout = weight(config.channels[0], *([2] if config.outputs == 2 else []))

    def sender_factors(self) -> dict[nn.Parameter, float]:
        """The factor of each weight of the senders."""
        return {w: f for layer in cast(Iterable[ProbeLayer], self.layers) for w, f in layer.sender_factors().items()}

    def factors(self) -> dict[nn.Parameter, float]:
        """The factor of each weight of the probes."""
        own = {self.readout: fan_in(self.readout)}
        return own | {w: f for layer in cast(Iterable[ProbeLayer], self.layers) for w, f in layer.factors().items()}

    def fields(self, features: list[Features], maps: LinearMaps = PLAIN) -> list[Tensor]:
        """What the atoms send to any probe, layer by layer [n, (lmax+1)^2, c]."""
        layers = cast(Iterable[ProbeLayer], self.layers)
        return [layer.field(x, maps) for layer, x in zip(layers, features, strict=True)]

    def forward(self, fields: list[Tensor], batch: ProbeBatch | DeviceBatch, basis: RadialBasis) -> Tensor:
        """The densities at the probes of a batch [p], or with the magnetizations [p, 2]."""
        state, maps = self.readout.new_zeros(batch.n_probes, 1), PLAIN
        layers = cast(list[ProbeLayer], list(self.layers))
        if isinstance(batch, DeviceBatch):
            maps = ScaledMaps(self.factors())
            blocks = SenderBlocks.of_device_batch(batch.probes, basis, self.lmax)
            pairs = zip(layers, fields, strict=True)
            totals = [layer.sums(field, blocks, batch.probes.receivers, maps) for layer, field in pairs]
        else:
            totals = self._sums(fields, batch, basis)
        for layer, total in zip(layers, totals, strict=True):
            state = layer(state, total, maps)
        return maps(state, self.readout, len(self.readout))

    def _sums(self, fields: list[Tensor], batch: ProbeBatch, basis: RadialBasis) -> list[Tensor]:
        """The summed messages of each layer [p, c]."""
        edges = SenderBlocks.of(batch.probe_src, batch.probe_dst, batch.probe_vec, batch.n_atoms, basis, self.lmax)
        layers = cast(list[ProbeLayer], list(self.layers))
        totals = [self.readout.new_zeros(batch.n_probes, len(layer.lin2)) for layer in layers]
        for piece in edges.split():
            for layer, field, total in zip(layers, fields, totals, strict=True):
                total.index_add_(0, piece.receiver, layer.messages(field, piece).to(total.dtype))
        return totals


class ChargE3Net(nn.Module):
    """The network: encode the atoms of a batch once, decode any number of probes."""

    Config = ChargE3NetConfig
    configurations: ClassVar[dict[str, ChargE3NetConfig]] = {
        "charge3net": ChargE3NetConfig(),
        "charge3net-4layer": ChargE3NetConfig(num_interactions=4),
        "invcharge3net": ChargE3NetConfig(lmax=0),
        "invcharge3net-4layer": ChargE3NetConfig(num_interactions=4, lmax=0),
    }
    arrangement: ClassVar[str] = BLOCKS

    def __init__(self, config: ChargE3NetConfig | None = None):
        super().__init__()
        self.config = config or ChargE3NetConfig()
        self.basis = RadialBasis(self.config.num_basis, self.config.cutoff)
        self.encoder = AtomEncoder(self.config)
        self.decoder = ProbeDecoder(self.config)

    @property
    def cutoff(self) -> float:
        """The neighbour cutoff in Å for atoms and probes."""
        return self.config.cutoff

    def encode(self, batch: ProbeBatch | DeviceBatch) -> list[Tensor]:
        """What the atoms send to any probe, layer by layer [n, (lmax+1)^2, channels]."""
        maps = PLAIN
        if isinstance(batch, DeviceBatch):
            maps = ScaledMaps(self.encoder.factors() | self.decoder.sender_factors())
        return self.decoder.fields(self.encoder(batch, self.basis, maps), maps)

    def decode(self, fields: list[Tensor], batch: ProbeBatch | DeviceBatch) -> Tensor:
        """Densities in e/Å^3 at the probes of a batch [p] whose atoms are those that were encoded."""
        return self.decoder(fields, batch, self.basis)

    def forward(self, batch: ProbeBatch | DeviceBatch) -> Tensor:
        """Densities in e/Å^3 at the probes of a batch [p], or with magnetizations [p, 2]."""
        return self.decode(self.encode(batch), batch)
