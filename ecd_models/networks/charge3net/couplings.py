"""The couplings of the irreps of senders, harmonics and receivers: paths, their matrices, the order of messages."""

from __future__ import annotations

import math
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from e3nn import o3
from torch import Tensor, nn

from ecd_models.kernels.groups import Groups


class Path(NamedTuple):
    """All couplings of one sender irrep with the harmonics of every allowed l2 to one receiver irrep."""

    sender: str
    receiver: str
    mul: int
    l2s: tuple[int, ...]


def find_coupled_l2(sender: o3.Irrep, receiver: o3.Irrep, lmax: int) -> tuple[int, ...]:
    """The l2 <= lmax whose harmonics, of parity (-1)^l2, couple sender to receiver."""
    triangle = range(abs(sender.l - receiver.l), min(sender.l + receiver.l, lmax) + 1)
    return tuple(l2 for l2 in triangle if sender.p * (-1) ** l2 == receiver.p)


def list_paths(senders: o3.Irreps, receivers: o3.Irreps, lmax: int) -> list[Path]:
    """The paths of a convolution, receiver by receiver."""
    all_pairs = [Path(str(s), str(r), mul, find_coupled_l2(s, r, lmax)) for _, r in receivers for mul, s in senders]
    return [path for path in all_pairs if path.l2s]


@cache
def coupling_matrix(l1: int, l3: int, l2s: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Maps harmonics to the matrices that carry a sender's 2l1+1 components to 2l3+1 [harmonics, l2, 2l3+1, 2l1+1]."""
    matrix = torch.zeros((max(l2s) + 1) ** 2, len(l2s), 2 * l3 + 1, 2 * l1 + 1, dtype=torch.float64)
    for k, l2 in enumerate(l2s):
        w3j = o3.wigner_3j(l1, l2, l3, dtype=torch.float64) * math.sqrt(2 * l3 + 1)
        matrix[l2**2 : (l2 + 1) ** 2, k] = w3j.permute(1, 2, 0)
    return matrix.to(dtype=dtype, device=device)


class Couplings:
    """Per edge, the matrices that carry a sender's components to a receiver's, computed once for all layers."""

    def __init__(self, y: Tensor):
        self._y = y
        self._matrices: dict[tuple[int, int, tuple[int, ...]], Tensor] = {}

    def __call__(self, l1: int, l3: int, l2s: tuple[int, ...]) -> Tensor:
        """The maps from 2l1+1 to 2l3+1 components through each of the l2 [e, len(l2s) * (2l3+1), 2l1+1]."""
        key = (l1, l3, l2s)
        if key not in self._matrices:
            matrix = coupling_matrix(l1, l3, l2s, self._y.dtype, self._y.device)
            product = self._y[:, : len(matrix)] @ matrix.flatten(1)
            self._matrices[key] = product.view(len(product), len(l2s) * (2 * l3 + 1), 2 * l1 + 1)
        return self._matrices[key]

    def join_targets(self, l1: int, targets: tuple[tuple[int, tuple[int, ...]], ...]) -> Tensor:
        """The maps from 2l1+1 components to those of all targets, each an l3 with its l2, one after the other
        [e, sum of len(l2s) * (2l3+1), 2l1+1].
        """
        matrix = coupling_matrices(l1, targets, self._y.dtype, self._y.device)
        return (self._y @ matrix.flatten(1)).unflatten(1, matrix.shape[1:])


@cache
def coupling_matrices(
    l1: int, targets: tuple[tuple[int, tuple[int, ...]], ...], dtype: torch.dtype, device: torch.device
) -> Tensor:
    """The `coupling_matrix` of each target after the other, for all harmonics [harmonics, rows, 2l1+1]."""
    count = max((max(l2s) + 1) ** 2 for _, l2s in targets)
    parts = [coupling_matrix(l1, l3, l2s, dtype, torch.device("cpu")).flatten(1, 2) for l3, l2s in targets]
    return torch.cat([nn.functional.pad(p, (0, 0, 0, 0, 0, count - len(p))) for p in parts], dim=1).to(device)


class _Reorder(torch.autograd.Function):
    """Puts columns into another order."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, order: Tensor, back: Tensor) -> Tensor:
        ctx.back = back
        return values.index_select(1, order)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0].index_select(1, ctx.back), None, None


class _SenderPaths(NamedTuple):
    """All paths from one irrep: their targets, each an l3 with its l2, and the number of parts of their messages."""

    sender: str
    targets: tuple[tuple[int, tuple[int, ...]], ...]
    parts: int


class MessageOrder(nn.Module):
    """The order of the parts of messages when all paths from a sender's irrep are computed together.

    The parts of a message are ordered by sender, path, l2, component of the receiver, and channel.
    """

    _index: Tensor
    _starts: Tensor
    _rows: Tensor
    _order: Tensor
    _back: Tensor

    def __init__(self, paths: list[Path], senders: list[str], receivers: list[str]):
        super().__init__()
        widths = [path.mul * len(path.l2s) for path in paths]
        starts = torch.tensor([0, *widths]).cumsum(0).tolist()
        self.sender_paths: list[_SenderPaths] = []
        columns, components, targets_of_parts = [], [], []
        for sender in senders:
            chosen = [(path, start) for path, start in zip(paths, starts, strict=False) if path.sender == sender]
            targets = tuple((int(path.receiver[:-1]), path.l2s) for path, _ in chosen)
            if targets:
                parts = sum(path.mul * len(path.l2s) * (2 * int(path.receiver[:-1]) + 1) for path, _ in chosen)
                self.sender_paths.append(_SenderPaths(sender, targets, parts))
            for path, start in chosen:
                shape = len(path.l2s), 2 * int(path.receiver[:-1]) + 1, path.mul
                channels = torch.arange(shape[0] * shape[2]).view(shape[0], 1, shape[2])
                columns.append((start + channels).expand(shape).flatten())
                components.append(torch.arange(shape[1]).view(1, -1, 1).expand(shape).flatten())
                targets_of_parts.append(torch.full_like(columns[-1], receivers.index(path.receiver)))
        expanded = Groups.of(torch.cat(columns), starts[-1])
        order = np.lexsort([torch.cat(keys).numpy() for keys in (columns, components, targets_of_parts)])
        buffers = (
            expanded.index,
            expanded.starts,
            expanded.order,
            torch.from_numpy(order),
            torch.from_numpy(order).argsort(),
        )
        for name, value in zip(("_index", "_starts", "_rows", "_order", "_back"), buffers, strict=True):
            self.register_buffer(name, value, persistent=False)

    def weights(self, last: Tensor) -> tuple[Tensor, ...]:
        """The last linear map of radial weights [HIDDEN, width] for every part of messages, by sender
        [HIDDEN, parts].
        """
        rows = Groups(self._index, self._starts, self._rows).spread(last.T.contiguous())
        return tuple(part.T for part in rows.split([sent.parts for sent in self.sender_paths]))

    def sort_by_receiver(self, sums: list[Tensor]) -> Tensor:
        """Summed messages [n, parts] by receiver, component, path, l2, channel [n, all parts]."""
        return _Reorder.apply(torch.cat(sums, dim=1), self._order, self._back)
