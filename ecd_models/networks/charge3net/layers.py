"""Building blocks of ChargE3Net: radial basis, couplings of spherical harmonics, atom convolution, gate.

Features are dictionaries from an irrep ("1o": l = 1, odd) to a tensor [n, 2l+1, mul], so that a linear map is one
matrix product. Weights are drawn from N(0, 1) and scaled where they are used, as in e3nn.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import torch
from e3nn import o3
from torch import Tensor, nn

Features = dict[str, Tensor]

# Factors that keep the second moment of a N(0, 1) input, to the digits of e3nn's fixed-seed estimate.
SILU_SCALE = 1.6791767923989418
TANH_SCALE = 1.5937334472592695
SIGMOID_SCALE = 1.8467055342154763
HIDDEN = 100  # width of the radial perceptrons
FARTHEST = 80.0  # exponents beyond give denormal numbers, which take many times as long
PIECE = 2048  # edges whose messages a processor makes at a time: more would leave its cache


def weight(*shape: int) -> nn.Parameter:
    """A parameter drawn from N(0, 1) [shape]."""
    return nn.Parameter(torch.randn(*shape))


def scaled_silu(x: Tensor) -> Tensor:
    """SiLU with unit second moment [any shape]."""
    return nn.functional.silu(x) * SILU_SCALE


def gather_sum(messages: Tensor, receivers: Tensor, count: int) -> Tensor:
    """Sum of the messages [e, ...] that each of `count` receivers gets; 0 where it gets none [count, ...]."""
    rows = messages.flatten(1)  # torch sums whole rows much faster than blocks
    if rows.dtype in (torch.float16, torch.bfloat16):  # under autocast products are short, sums are not
        rows = rows.float()
    return rows.new_zeros(count, rows.shape[1]).index_add(0, receivers, rows).view(count, *messages.shape[1:])


def harmonics(vec: Tensor, lmax: int) -> Tensor:
    """Spherical harmonics l = 0..lmax of the directions, |Y_l|^2 = 2l+1, Y_l>0 = 0 at zero length [e, (lmax+1)^2]."""
    return o3.spherical_harmonics(list(range(lmax + 1)), vec, normalize=True, normalization="component")


class RadialBasis(nn.Module):
    """Gaussians on [0, cutoff], standardised over that range; there is no envelope at the cutoff."""

    mean: Tensor
    inv_std: Tensor

    def __init__(self, number: int, cutoff: float):
        super().__init__()
        self.number, self.cutoff = number, cutoff
        values = self._gaussians(torch.linspace(0, cutoff, 4001, dtype=torch.float64)[1:])
        self.register_buffer("mean", values.mean(0).float())
        self.register_buffer("inv_std", (1 / values.std(0)).float())

    def _gaussians(self, r: Tensor) -> Tensor:
        centers = torch.linspace(0, self.cutoff, self.number, dtype=r.dtype, device=r.device)
        width = self.cutoff / (self.number - 1)
        exponents = ((r[:, None] - centers) / width).square().clamp(max=FARTHEST)
        return torch.exp(-exponents) / 1.12

    def forward(self, r: Tensor) -> Tensor:
        """Basis functions at the distances r [e] in Å [e, number]."""
        return (self._gaussians(r) - self.mean) * self.inv_std


class RadialWeights(nn.Module):
    """A perceptron with one hidden layer and no bias from the radial basis to the weights of messages.

    Sums over neighbours are divided by the root of their typical number; that factor is part of the weights here.
    """

    def __init__(self, num_basis: int, width: int, num_neighbors: float):
        super().__init__()
        self.layer0 = weight(num_basis, HIDDEN)
        self.layer1 = weight(HIDDEN, width)
        self._scale0 = 1 / math.sqrt(num_basis)
        self._scale1 = SILU_SCALE / math.sqrt(HIDDEN * num_neighbors)

    def forward(self, basis: Tensor) -> Tensor:
        """The weights at each edge [e, width]."""
        hidden = nn.functional.silu(basis @ (self.layer0 * self._scale0))
        return hidden @ (self.layer1 * self._scale1)


class Path(NamedTuple):
    """All couplings of one sender irrep with the harmonics of every allowed l2 to one receiver irrep."""

    sender: str
    receiver: str
    mul: int
    l2s: tuple[int, ...]


def coupled_l2(sender: o3.Irrep, receiver: o3.Irrep, lmax: int) -> tuple[int, ...]:
    """The l2 <= lmax whose harmonics, of parity (-1)^l2, couple sender to receiver."""
    triangle = range(abs(sender.l - receiver.l), min(sender.l + receiver.l, lmax) + 1)
    return tuple(l2 for l2 in triangle if sender.p * (-1) ** l2 == receiver.p)


def paths_between(senders: o3.Irreps, receivers: o3.Irreps, lmax: int) -> list[Path]:
    """The paths of a convolution, receiver by receiver."""
    all_pairs = [Path(str(s), str(r), mul, coupled_l2(s, r, lmax)) for _, r in receivers for mul, s in senders]
    return [path for path in all_pairs if path.l2s]


@cache
def coupling_matrix(l1: int, l3: int, l2s: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Maps harmonics to the matrices that carry a sender's 2l1+1 components to 2l3+1 [harmonics, l2, 2l3+1, 2l1+1]."""
    matrix = torch.zeros((max(l2s) + 1) ** 2, len(l2s), 2 * l3 + 1, 2 * l1 + 1, dtype=torch.float64)
    for k, l2 in enumerate(l2s):
        w3j = o3.wigner_3j(l1, l2, l3, dtype=torch.float64) * math.sqrt(2 * l3 + 1)
        matrix[l2**2 : (l2 + 1) ** 2, k] = w3j.permute(1, 2, 0)
    return matrix.to(dtype=dtype, device=device)


class SenderBlocks:
    """Edges ordered by sender and cut into blocks of `size` edges of one sender, the last one filled up with nothing.

    Within a block the contraction with the sender's features is one matrix product, which is several times faster
    than one small product an edge. e = size * number of blocks; the edges that only fill up have y = 0.
    sender [blocks]; receiver [e]; y: harmonics [e, (lmax+1)^2]; basis: radial basis [e, number].
    """

    def __init__(self, size: int, sender: Tensor, receiver: Tensor, y: Tensor, basis: Tensor):
        self.size, self.sender, self.receiver, self.y, self.basis = size, sender, receiver, y, basis

    @classmethod
    def of(cls, src: Tensor, dst: Tensor, vec: Tensor, atoms: int, basis: RadialBasis, lmax: int) -> SenderBlocks:
        """The edges from `atoms` senders; a block has about an eighth of what a sender sends, 4 to 128 edges."""
        size = 1 << min(max(len(src) // (8 * max(atoms, 1)), 4).bit_length() - 1, 7)
        order = torch.argsort(src, stable=True)
        senders, degrees = torch.unique_consecutive(src[order], return_counts=True)
        blocks = (degrees + size - 1) // size
        starts = (blocks.cumsum(0) - blocks) * size - (degrees.cumsum(0) - degrees)
        rows = torch.arange(len(src), device=src.device) + starts.repeat_interleave(degrees)
        sender = senders.repeat_interleave(blocks)
        count, vec = size * len(sender), vec[order]
        receiver = dst.new_zeros(count).index_copy(0, rows, dst[order])
        y = vec.new_zeros(count, (lmax + 1) ** 2).index_copy(0, rows, harmonics(vec, lmax))
        r = vec.new_zeros(count).index_copy(0, rows, vec.norm(dim=1))
        return cls(size, sender, receiver, y, basis(r))

    def pieces(self) -> Iterator[SenderBlocks]:
        """The same blocks, some after the other, so that what is made of them stays in a processor's cache."""
        step = max(1, PIECE // self.size) if self.y.device.type == "cpu" else max(1, len(self.sender))
        for k in range(0, len(self.sender), step):
            e = slice(k * self.size, (k + step) * self.size)
            yield SenderBlocks(self.size, self.sender[k : k + step], self.receiver[e], self.y[e], self.basis[e])

    def contract(self, matrices: Tensor, sent: Tensor) -> Tensor:
        """Per edge its matrix [e, rows, m] times the features of its block's sender [blocks, m, mul] [e, rows, mul]."""
        edges, rows, m = matrices.shape
        product = torch.bmm(matrices.reshape(len(sent), self.size * rows, m), sent)
        return product.view(edges, rows, sent.shape[2])


class Couplings:
    """Per edge, the matrices that carry a sender's components to a receiver's, computed once for all layers."""

    def __init__(self, edges: SenderBlocks):
        self._y = edges.y
        self._known: dict[tuple[int, int, tuple[int, ...]], Tensor] = {}

    def __call__(self, l1: int, l3: int, l2s: tuple[int, ...]) -> Tensor:
        """From 2l1+1 to 2l3+1 components through each of the l2 [e, len(l2s) * (2l3+1), 2l1+1]."""
        key = (l1, l3, l2s)
        if key not in self._known:
            matrix = coupling_matrix(l1, l3, l2s, self._y.dtype, self._y.device)
            product = self._y[:, : len(matrix)] @ matrix.flatten(1)
            self._known[key] = product.view(len(product), len(l2s) * (2 * l3 + 1), 2 * l1 + 1)
        return self._known[key]


class AtomConvolution(nn.Module):
    """Messages between atoms: linear, coupling with harmonics times radial weights, sum, linear, rotation with self.

    irreps_in: the features of the atoms; irreps_out: the gate's input. The outputs of `radial` and the rows of `lin2`
    (within its irrep) are ordered by path, l2, channel.
    """

    def __init__(self, irreps_in: o3.Irreps, irreps_out: o3.Irreps, lmax: int, num_basis: int, num_neighbors: float):
        super().__init__()
        self.irreps_in, self.irreps_out = irreps_in, irreps_out
        self.paths = paths_between(irreps_in, irreps_out, lmax)
        muls_in = {str(ir): mul for mul, ir in irreps_in}
        fans = {str(r): sum(p.mul * len(p.l2s) for p in self.paths if p.receiver == str(r)) for _, r in irreps_out}
        self.lin1 = nn.ParameterDict({ir: weight(mul, mul) for ir, mul in muls_in.items()})
        self.radial = RadialWeights(num_basis, sum(fans.values()), num_neighbors)
        self.lin2 = nn.ParameterDict({str(ir): weight(fans[str(ir)], mul) for mul, ir in irreps_out})
        self.lin3 = weight(fans["0e"])
        kept = [(mul, str(ir)) for mul, ir in irreps_out if str(ir) in muls_in]
        self.sc = nn.ParameterDict({ir: weight(muls_in[ir], mul) for mul, ir in kept})

    def forward(self, x: Features, edges: SenderBlocks, couplings: Couplings) -> Features:
        """The gate's input from the atoms' features."""
        sums = self._received(x, edges, couplings)
        angle = 0.1 * (sums["0e"] @ self.lin3)[..., None] / math.sqrt(len(self.lin3))
        cos, sin = torch.cos(angle), torch.sin(angle)
        out = {}
        for ir, lin2 in self.lin2.items():
            out[ir] = sums[ir] @ lin2 / math.sqrt(len(lin2))
            if ir in self.sc:  # what has no counterpart in x is not rotated
                out[ir] = cos * (x[ir] @ self.sc[ir] / math.sqrt(len(self.sc[ir]))) + sin * out[ir]
        return out

    def _received(self, x: Features, edges: SenderBlocks, couplings: Couplings) -> Features:
        """Per receiver irrep the summed messages [n, 2l+1, path * l2 * channel]."""
        count = len(x["0e"])
        sent = {ir: (x[ir] @ w / math.sqrt(len(w)))[edges.sender] for ir, w in self.lin1.items()}
        radial = self.radial(edges.basis)
        parts: dict[str, list[Tensor]] = {ir: [] for ir in self.lin2}
        widths = [path.mul * len(path.l2s) for path in self.paths]
        for path, w in zip(self.paths, radial.split(widths, dim=1), strict=True):
            l1, l3 = int(path.sender[:-1]), int(path.receiver[:-1])
            message = edges.contract(couplings(l1, l3, path.l2s), sent[path.sender])
            shape = len(path.l2s), 2 * l3 + 1, path.mul
            message = message.view(-1, *shape) * w.view(-1, shape[0], 1, path.mul)
            total = gather_sum(message, edges.receiver, count)
            parts[path.receiver].append(total.transpose(1, 2).flatten(2))
        return {ir: torch.cat(blocks, dim=2) for ir, blocks in parts.items()}


class Gate(nn.Module):
    """Scalars through SiLU (0o: tanh); every other channel times the sigmoid of a scalar of its own."""

    def __init__(self, irreps_out: o3.Irreps):
        super().__init__()
        self.scalars = {str(ir): mul for mul, ir in irreps_out if ir.l == 0}
        self.gated = {str(ir): mul for mul, ir in irreps_out if ir.l > 0}
        gates = sum(self.gated.values())
        self.irreps_in = o3.Irreps([(mul + gates * (str(ir) == "0e"), ir) for mul, ir in irreps_out])

    def forward(self, x: Features) -> Features:
        """The features of the next layer."""
        even, *gates = x["0e"].split([self.scalars["0e"], *self.gated.values()], dim=2)
        out = {"0e": scaled_silu(even)}
        if "0o" in self.scalars:
            out["0o"] = torch.tanh(x["0o"]) * TANH_SCALE
        for ir, gate in zip(self.gated, gates, strict=True):
            out[ir] = torch.sigmoid(gate) * SIGMOID_SCALE * x[ir]
        return out
