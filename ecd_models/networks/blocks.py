"""Networks that process blocks of receivers of messages, which bounds the memory of what they store for each edge."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ecd_data.errors import UsageError
from ecd_models.batch import ProbeBatch
from ecd_models.device_batch import DeviceBatch


def require_outputs(outputs: int) -> None:
    """Raises UsageError unless `outputs` is 1 or 2: the density, or density and magnetization."""
    if outputs not in (1, 2):
        raise UsageError(f"outputs is 1 (density) or 2 (density and magnetization), not {outputs}")


class Block(NamedTuple):
    """Some receivers of one crystal and their edges: e edges to `receivers` points.

    src [e]: sending atom; dst [e]: receiver, counted from the block's first; vec [e, 3] in Å.
    """

    receivers: int
    src: Tensor
    dst: Tensor
    vec: Tensor


def blocks(src: Tensor, dst: Tensor, vec: Tensor, crystal: Tensor, rows: int) -> Iterator[Block]:
    """Blocks of at most `rows` receivers, in their order; there is at least one.

    crystal: the crystal of each receiver [receivers]. Edges may have any order; those ordered by receiver need no
    sorting.
    """
    if (dst[1:] < dst[:-1]).any():
        order = torch.argsort(dst, stable=True)
        src, dst, vec = src[order], dst[order], vec[order]
    bounds = [0]
    for count in torch.unique_consecutive(crystal, return_counts=True)[1].tolist():
        first = bounds[-1]
        bounds += [*range(first + rows, first + count, rows), first + count]
    if len(bounds) == 1:
        bounds.append(0)
    cuts = torch.searchsorted(dst, torch.tensor(bounds, device=dst.device)).tolist()
    for k in range(len(bounds) - 1):
        edges = slice(cuts[k], cuts[k + 1])
        yield Block(bounds[k + 1] - bounds[k], src[edges], dst[edges] - bounds[k], vec[edges])


def atom_blocks(batch: ProbeBatch, rows: int) -> Iterator[Block]:
    """The blocks of the atoms of a batch as receivers."""
    return blocks(batch.atom_src, batch.atom_dst, batch.atom_vec, batch.atom_crystal, rows)


def probe_blocks(batch: ProbeBatch, rows: int) -> Iterator[Block]:
    """The blocks of the probes of a batch as receivers."""
    return blocks(batch.probe_src, batch.probe_dst, batch.probe_vec, batch.probe_crystal, rows)


def embed_elements(embeddings: nn.Module, batch: ProbeBatch | DeviceBatch) -> Tensor:
    """The vector of each atom's element [n, h]."""
    if not (isinstance(batch, DeviceBatch) and isinstance(embeddings, nn.Embedding)):
        return embeddings(batch.numbers)
    return batch.elements.spread(embeddings.weight)


class AtomsThenProbes(nn.Module):
    """A network that encodes the atoms of a batch once and decodes any number of probes.

    The atom model returns the states of the atoms after each layer. The probe model's `project_senders` computes from
    them what atoms send to each probe. Called with that and a batch, it returns the densities [p], or with the
    magnetizations [p, 2].
    """

    def __init__(self, config: Any, atom_model: nn.Module, probe_model: nn.Module):
        super().__init__()
        self.config = config
        self.atom_model = atom_model
        self.probe_model: Any = probe_model

    @property
    def cutoff(self) -> float:
        """The neighbour cutoff in Å for atoms and probes."""
        return float(self.config.cutoff)

    def encode(self, batch: ProbeBatch | DeviceBatch) -> Any:
        """What the atoms send to each probe, layer by layer."""
        return self.probe_model.project_senders(self.atom_model(batch))

    def decode(self, sent: Any, batch: ProbeBatch | DeviceBatch) -> Tensor:
        """Densities in e/Å^3 at the probes of a batch [p] whose atoms are those that were encoded, see the class."""
        return self.probe_model(sent, batch)

    def forward(self, batch: ProbeBatch | DeviceBatch) -> Tensor:
        """Densities in e/Å^3 at the probes of a batch [p], or with magnetizations [p, 2]."""
        return self.decode(self.encode(batch), batch)
