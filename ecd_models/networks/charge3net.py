"""ChargE3Net (Koker et al., npj Comput. Mater. 2024): an E(3)-equivariant network for the electron density.

Atoms exchange equivariant messages; probe points then receive messages from the atoms, layer by layer, and send none.
The density is read from the invariant (0e) state of a probe, and a probe layer passes on its state irrep by irrep: so
only 0e channels of the probes, and what leads to them, are built here. The output is that of the published network.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from e3nn import o3
from torch import Tensor, nn

from ecd_data.errors import UsageError
from ecd_models.batch import ProbeBatch
from ecd_models.networks.layers import (
    HIDDEN,
    AtomConvolution,
    AtomEdges,
    Features,
    Gate,
    RadialBasis,
    coupled_l2,
    gather_sum,
    harmonics,
    scaled_silu,
    weight,
)

SPECIES = 119  # one-hot classes: atomic numbers 0..118


@dataclass(frozen=True)
class ChargE3NetConfig:
    """Hyperparameters under their published names.

    mul: channels shared evenly among l = 0..lmax and their components; cutoff in Å; num_neighbors: sums over
    neighbours are divided by its square root.
    """

    num_interactions: int = 3
    mul: int = 500
    lmax: int = 4
    cutoff: float = 4.0
    num_basis: int = 20
    num_neighbors: float = 20.0

    def __post_init__(self) -> None:
        if self.num_interactions < 1 or self.lmax < 0 or self.num_basis < 2:
            raise UsageError(f"{self} needs at least one interaction, lmax 0 and two basis functions")
        if not (self.cutoff > 0 and self.num_neighbors > 0):
            raise UsageError(f"{self} needs a positive cutoff and number of neighbours")
        if min(self.channels) < 1:
            raise UsageError(f"mul={self.mul} leaves no channel for l={self.lmax}: raise mul or lower lmax")

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of one parity for each l [lmax + 1]."""
        return tuple(round(self.mul / (self.lmax + 1) / (2 * l + 1)) for l in range(self.lmax + 1))


def published_irreps(config: ChargE3NetConfig) -> list[o3.Irreps]:
    """The irreps after each atom layer that messages can reach [num_interactions]."""
    hidden = [(mul, o3.Irrep(l, p)) for l, mul in enumerate(config.channels) for p in (-1, 1)]
    layers, senders = [], o3.Irreps(f"{SPECIES}x0e")
    for _ in range(config.num_interactions):
        senders = o3.Irreps([(m, ir) for m, ir in hidden if any(coupled_l2(s, ir, config.lmax) for _, s in senders)])
        layers.append(senders)
    return layers


def live_irreps(config: ChargE3NetConfig) -> list[o3.Irreps]:
    """Those irreps after each atom layer that can influence the density [num_interactions].

    Probes take up what couples with harmonics to 0e, that is parity (-1)^l; an atom layer takes up what leads to a
    live irrep of its own.
    """
    live: list[o3.Irreps] = []
    for irreps in reversed(published_irreps(config)):
        later = live[0] if live else o3.Irreps()
        kept = [
            (mul, ir)
            for mul, ir in irreps
            if ir.p == (-1) ** ir.l or any(ir == r or coupled_l2(ir, r, config.lmax) for _, r in later)
        ]
        live.insert(0, o3.Irreps(kept))
    return live


class AtomEncoder(nn.Module):
    """Equivariant message passing between atoms, starting from one-hot species."""

    def __init__(self, config: ChargE3NetConfig):
        super().__init__()
        irreps = live_irreps(config)
        self.lmax = config.lmax
        self.gates = nn.ModuleList(Gate(out) for out in irreps)
        self.convolutions = nn.ModuleList(
            AtomConvolution(before, gate.irreps_in, config.lmax, config.num_basis, config.num_neighbors)
            for before, gate in zip([o3.Irreps(f"{SPECIES}x0e"), *irreps[:-1]], self.gates, strict=True)
        )

    def forward(self, batch: ProbeBatch, basis: RadialBasis) -> list[Features]:
        """The features of the atoms after each layer."""
        edges = AtomEdges(batch.atom_src, batch.atom_dst, batch.atom_vec, batch.n_atoms, basis, self.lmax)
        one_hot = nn.functional.one_hot(batch.numbers, SPECIES).to(batch.atom_vec.dtype)
        layers, x = [], {"0e": one_hot[:, None, :]}
        for convolution, gate in zip(self.convolutions, self.gates, strict=True):
            x = gate(convolution(x, edges))
            layers.append(x)
        return layers


class ProbeDecoder(nn.Module):
    """The 0e states of the probes. The weights of all K layers are stacked: [K, in, out], K - 1 for `sc`.

    c = sum of the channels over l; `radial_out` and `lin2` are ordered by l, channel.
    """

    def __init__(self, config: ChargE3NetConfig):
        super().__init__()
        self.channels, self.num_neighbors = config.channels, config.num_neighbors
        depth, scalars, total = config.num_interactions, config.channels[0], sum(config.channels)
        self.lin1 = nn.ParameterList(weight(depth, mul, mul) for mul in self.channels)
        self.radial_in = weight(depth, config.num_basis, HIDDEN)
        self.radial_out = weight(depth, HIDDEN, total)
        self.lin2 = weight(depth, total, scalars)
        self.lin3 = weight(depth, total)
        self.sc = weight(depth - 1, scalars, scalars)
        self.readout = weight(scalars)

    def senders(self, layers: list[Features]) -> list[Tensor]:
        """What the atoms send, for each l [n, 2l+1, K * mul]."""
        sent = []
        for l, (mul, lin1) in enumerate(zip(self.channels, self.lin1, strict=True)):
            x = torch.stack([features[f"{l}{'eo'[l % 2]}"] for features in layers])
            linear = torch.einsum("knmu,kuv->nmkv", x, lin1) / math.sqrt(mul * (2 * l + 1))
            sent.append(linear.flatten(2))
        return sent

    def forward(self, sent: list[Tensor], batch: ProbeBatch, basis: RadialBasis) -> Tensor:
        """The densities at the probes of a batch [p]."""
        state: Tensor | None = None
        for k, total in enumerate(self._received(sent, batch, basis)):
            conv = total @ self.lin2[k] / math.sqrt(total.shape[1])
            angle = 0.1 * (total @ self.lin3[k])[:, None] / math.sqrt(total.shape[1])
            out = torch.sin(angle) * conv
            if state is not None:
                out = out + torch.cos(angle) * (state @ self.sc[k - 1] / math.sqrt(len(self.readout)))
            state = scaled_silu(out)
        assert state is not None
        return state @ self.readout / math.sqrt(len(self.readout))

    def _received(self, sent: list[Tensor], batch: ProbeBatch, basis: RadialBasis) -> list[Tensor]:
        """Per layer the expansion of the atoms' fields around each probe, summed over atoms [K][p, c]."""
        y = harmonics(batch.probe_vec, len(self.channels) - 1)
        radial = self._radial(basis(batch.probe_vec.norm(dim=1)))
        depth, messages = len(self.lin2), []
        for l, (mul, x, r) in enumerate(zip(self.channels, sent, radial, strict=True)):
            field = torch.bmm(y[:, None, l * l : (l + 1) ** 2], x[batch.probe_src])
            messages.append(field.view(-1, depth, mul) * r)
        totals = gather_sum(torch.cat(messages, dim=2), batch.probe_dst, batch.n_probes)
        return list(totals.unbind(1))

    def _radial(self, basis: Tensor) -> tuple[Tensor, ...]:
        """Radial weights of the edges, for each l [e, K, mul]."""
        hidden = scaled_silu(basis @ self.radial_in.transpose(0, 1).flatten(1) / math.sqrt(basis.shape[1]))
        hidden = hidden.view(len(basis), -1, HIDDEN)
        radial = torch.einsum("ekh,khc->ekc", hidden, self.radial_out) / math.sqrt(HIDDEN * self.num_neighbors)
        return radial.split(self.channels, dim=2)


class ChargE3Net(nn.Module):
    """The network: encode the atoms of a batch once, decode any number of probes."""

    Config = ChargE3NetConfig
    configurations: ClassVar[dict[str, ChargE3NetConfig]] = {
        "charge3net": ChargE3NetConfig(),
        "charge3net-4layer": ChargE3NetConfig(num_interactions=4),
        "invcharge3net": ChargE3NetConfig(lmax=0),
        "invcharge3net-4layer": ChargE3NetConfig(num_interactions=4, lmax=0),
    }

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

    def encode(self, batch: ProbeBatch) -> list[Tensor]:
        """What the atoms send to any probe, for each l [n, 2l+1, layers * channels]."""
        return self.decoder.senders(self.encoder(batch, self.basis))

    def decode(self, features: list[Tensor], batch: ProbeBatch) -> Tensor:
        """Densities in e/Å^3 at the probes of a batch [p] whose atoms are those that were encoded."""
        return self.decoder(features, batch, self.basis)

    def forward(self, batch: ProbeBatch) -> Tensor:
        """Densities in e/Å^3 at the probes of a batch [p]."""
        return self.decode(self.encode(batch), batch)
