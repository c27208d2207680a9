"""The network's own `decode`, on graphs that are built on the device, for every network and device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ecd_models.batch import ProbeBatch
from ecd_models.device.near import Near, edge_mask, find_true


class PlainDecoder:
    """Outputs from the network's `decode`; `encoded` is the batch that was encoded, without probes."""

    needs_edges = True
    brick = 32
    bytes_each = 3000, 0, 2500  # approximate memory of a point, of a pair of a point and an atom, and of an edge

    def __init__(self, network: Any, features: Any, encoded: ProbeBatch):
        self._network, self._features, self._encoded = network, features, encoded

    def __call__(self, near: Near, pairs: int, edges: int) -> Tensor:
        """The outputs at the points of some bricks, with this number of edges [points] or [points, outputs]."""
        return self._network.decode(self._features, build_batch(near, self._encoded, edges))


def build_batch(near: Near, encoded: ProbeBatch, edges: int) -> ProbeBatch:
    """The points of some bricks as probes; their edges are ordered by probe, then by atom.

    edges: the number of edges.
    """
    index = find_true(edge_mask(near).flatten(), edges)
    entry, point = index // near.size, index % near.size
    probe = near.brick[entry].long() * near.size + point
    order = torch.argsort(probe, stable=True)
    entry, point, probe = entry[order], point[order], probe[order]
    vec = near.points.transpose(1, 2).reshape(-1, 3)[probe] - near.images[entry]
    return ProbeBatch(
        numbers=encoded.numbers,
        atom_src=encoded.atom_src,
        atom_dst=encoded.atom_dst,
        atom_vec=encoded.atom_vec,
        probe_src=near.atoms[entry].long(),
        probe_dst=probe,
        probe_vec=vec.to(encoded.atom_vec.dtype),
        atom_crystal=encoded.atom_crystal,
        probe_crystal=torch.zeros(near.rows, dtype=torch.int64, device=probe.device),
    )
