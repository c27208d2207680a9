"""Receivers of messages cut into blocks, so that what a network keeps for each edge stays small."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor


class Block(NamedTuple):
    """Some receivers of one crystal and their edges: e edges to `receivers` points.

    src [e]: sending atom; dst [e]: receiver, counted from the block's first; vec [e, 3] in Å.
    """

    receivers: int
    src: Tensor
    dst: Tensor
    vec: Tensor


def blocks(src: Tensor, dst: Tensor, vec: Tensor, crystal: Tensor, rows: int) -> Iterator[Block]:
    """All receivers in their order, at most `rows` in a block; crystal [receivers]: where each belongs.

    There is at least one block. Edges may come in any order; those ordered by receiver need no sorting.
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
