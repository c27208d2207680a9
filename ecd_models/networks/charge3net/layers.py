"""Building blocks of ChargE3Net: radial basis, edges, atom convolution, gate.

Features are dictionaries from an irrep ("1o": l = 1, odd) to a tensor [n, 2l+1, mul], so that a linear map is one
matrix product. Weights are drawn from N(0, 1) and scaled where they are used, as in e3nn.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from e3nn import o3
from torch import Tensor, nn

from ecd_models.device_batch import ReceivedEdges, SentBlocks
from ecd_models.kernels.groups import uses_triton
from ecd_models.networks.charge3net.couplings import Couplings, MessageOrder, list_paths
from ecd_models.networks.charge3net.linear_maps import PLAIN, LinearMaps, fan_in

Features = dict[str, Tensor]

# Factors that keep the second moment of a N(0, 1) input, to the digits of e3nn's fixed-seed estimate.
SILU_SCALE = 1.6791767923989418
TANH_SCALE = 1.5937334472592695
SIGMOID_SCALE = 1.8467055342154763
HIDDEN = 100  # width of the radial perceptrons
MAX_EXPONENT = 80.0  # larger ones give denormal numbers, with which processors are many times slower
PIECE = 2048  # edges whose messages a processor computes at a time: more would leave its cache


def weight(*shape: int) -> nn.Parameter:
    """A parameter drawn from N(0, 1) [shape]."""
    return nn.Parameter(torch.randn(*shape))


def scaled_silu(x: Tensor) -> Tensor:
    """SiLU with unit second moment [any shape]."""
    return nn.functional.silu(x) * SILU_SCALE


def gather_sum(messages: Tensor, receivers: Tensor, count: int) -> Tensor:
    """The sum of the messages [e, ...] of each of `count` receivers, 0 without messages [count, ...]."""
    rows = messages.flatten(1)  # torch adds flat rows much faster than blocks
    if rows.dtype in (torch.float16, torch.bfloat16):  # under autocast products have short types, and sums must not
        rows = rows.float()
    return rows.new_zeros(count, rows.shape[1]).index_add(0, receivers, rows).view(count, *messages.shape[1:])


def harmonics(vec: Tensor, lmax: int) -> Tensor:
    """Spherical harmonics l = 0..lmax of the directions, |Y_l|^2 = 2l+1, Y_l>0 = 0 at zero length [e, (lmax+1)^2]."""
    degrees = list(range(lmax + 1))
    if uses_triton(vec) and not vec.requires_grad:
        from ecd_models.kernels.device_harmonics import LMAX, device_harmonics

        if lmax <= LMAX:
            return device_harmonics(vec, lmax)
    if not vec.is_cuda:
        return o3.spherical_harmonics(degrees, vec, normalize=True, normalization="component")
    with torch.jit.optimized_execution(False):  # otherwise kernels are compiled in the middle of a training
        return o3.spherical_harmonics(degrees, vec, normalize=True, normalization="component")


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
        exponents = ((r[:, None] - centers) / width).square().clamp(max=MAX_EXPONENT)
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

    def forward(self, basis: Tensor, maps: LinearMaps = PLAIN) -> Tensor:
        """The weights at each edge [e, width]."""
        return self.hidden(basis, maps) @ self.last(maps)

    def hidden(self, basis: Tensor, maps: LinearMaps = PLAIN) -> Tensor:
        """The hidden layer at each edge [e, HIDDEN]."""
        return nn.functional.silu(basis @ maps.weight(self.layer0, self._scale0))

    def last(self, maps: LinearMaps = PLAIN) -> Tensor:
        """The last linear map, scaled [HIDDEN, width]."""
        return maps.weight(self.layer1, self._scale1)

    def factors(self) -> dict[nn.Parameter, float]:
        """The factor of each weight."""
        return {self.layer0: self._scale0, self.layer1: self._scale1}


class SenderBlocks:
    """Edges ordered by sender, in blocks of `size` edges of one sender, of which the last one is padded.

    Within a block the contraction with the sender's features is one matrix product, which is several times faster than
    one small product for each edge. e = size * number of blocks. Padding has y = 0; in the blocks of a DeviceBatch it
    goes to dummy probes instead.

    sender : the sender of each block [blocks].
    receiver : the receiver of each edge [e].
    y : harmonics [e, (lmax+1)^2].
    basis : radial basis [e, number].
    """

    def __init__(self, size: int, sender: Tensor, receiver: Tensor, y: Tensor, basis: Tensor):
        self.size, self.sender, self.receiver, self.y, self.basis = size, sender, receiver, y, basis

    @classmethod
    def of(cls, src: Tensor, dst: Tensor, vec: Tensor, atoms: int, basis: RadialBasis, lmax: int) -> SenderBlocks:
        """The edges from `atoms` senders; a block has about an eighth of the edges of a sender, 4 to 128."""
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

    @classmethod
    def of_device_batch(cls, blocks: SentBlocks, basis: RadialBasis, lmax: int) -> SenderBlocks:
        """The blocks of a DeviceBatch."""
        senders, receivers = blocks.senders, blocks.receivers
        edges = cls(
            blocks.size, senders.index, receivers.index, harmonics(blocks.vec, lmax), basis(blocks.vec.norm(dim=1))
        )
        edges.take_senders = senders.spread  # type: ignore[method-assign]
        return edges

    def take_senders(self, values: Tensor) -> Tensor:
        """The row of each block's sender [blocks, ...]."""
        return values[self.sender]

    def split(self) -> Iterator[SenderBlocks]:
        """The blocks in parts whose messages fit the cache of a processor; all in one part on other devices."""
        step = max(1, PIECE // self.size) if self.y.device.type == "cpu" else max(1, len(self.sender))
        for k in range(0, len(self.sender), step):
            e = slice(k * self.size, (k + step) * self.size)
            yield SenderBlocks(self.size, self.sender[k : k + step], self.receiver[e], self.y[e], self.basis[e])

    def contract(self, matrices: Tensor, sent: Tensor) -> Tensor:
        """Per edge its matrix [e, rows, m] times the features of its block's sender [blocks, m, mul] [e, rows, mul]."""
        edges, rows, m = matrices.shape
        product = torch.bmm(matrices.reshape(len(sent), self.size * rows, m), sent)
        return product.view(edges, rows, sent.shape[2])


class AtomEdges:
    """Edges between atoms ordered by receiver; y and basis are those of `SenderBlocks`."""

    def __init__(self, edges: ReceivedEdges, basis: RadialBasis, lmax: int):
        self.senders, self.receivers = edges.senders, edges.receivers
        self.y, self.basis = harmonics(edges.vec, lmax), basis(edges.vec.norm(dim=1))


class AtomConvolution(nn.Module):
    """Messages between atoms: linear, coupling with harmonics times radial weights, sum, linear, rotation with self.

    irreps_in: the features of the atoms; irreps_out: the gate's input. The outputs of `radial` and the rows of `lin2`
    (within its irrep) are ordered by path, l2, channel.
    """

    def __init__(self, irreps_in: o3.Irreps, irreps_out: o3.Irreps, lmax: int, num_basis: int, num_neighbors: float):
        super().__init__()
        self.irreps_in, self.irreps_out = irreps_in, irreps_out
        self.paths = list_paths(irreps_in, irreps_out, lmax)
        muls_in = {str(ir): mul for mul, ir in irreps_in}
        fans = {str(r): sum(p.mul * len(p.l2s) for p in self.paths if p.receiver == str(r)) for _, r in irreps_out}
        self.lin1 = nn.ParameterDict({ir: weight(mul, mul) for ir, mul in muls_in.items()})
        self.radial = RadialWeights(num_basis, sum(fans.values()), num_neighbors)
        self.lin2 = nn.ParameterDict({str(ir): weight(fans[str(ir)], mul) for mul, ir in irreps_out})
        self.lin3 = weight(fans["0e"])
        kept = [(mul, str(ir)) for mul, ir in irreps_out if str(ir) in muls_in]
        self.sc = nn.ParameterDict({ir: weight(muls_in[ir], mul) for mul, ir in kept})
        self.order = MessageOrder(self.paths, list(self.lin1), list(self.lin2))

    def factors(self) -> dict[nn.Parameter, float]:
        """The factor of each weight."""
        weights = [*self.lin1.values(), *self.lin2.values(), *self.sc.values(), self.lin3]
        return {w: fan_in(w) for w in weights} | self.radial.factors()

    def forward(
        self, x: Features, edges: SenderBlocks | AtomEdges, couplings: Couplings, maps: LinearMaps = PLAIN
    ) -> Features:
        """The gate's input from the atoms' features."""
        if isinstance(edges, AtomEdges):
            sums = self._sum_messages_at_once(x, edges, couplings, maps)
        else:
            sums = self._sum_messages(x, edges, couplings)
        angle = 0.1 * maps(sums["0e"], self.lin3, len(self.lin3))[..., None]
        cos, sin = torch.cos(angle), torch.sin(angle)
        out = {}
        for ir, lin2 in self.lin2.items():
            out[ir] = maps(sums[ir], lin2, len(lin2))
            if ir in self.sc:  # an irrep without counterpart in x is not rotated
                out[ir] = cos * maps(x[ir], self.sc[ir], len(self.sc[ir])) + sin * out[ir]
        return out

    def _sum_messages(self, x: Features, edges: SenderBlocks, couplings: Couplings) -> Features:
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

    def _sum_messages_at_once(self, x: Features, edges: AtomEdges, couplings: Couplings, maps: LinearMaps) -> Features:
        """The same with all paths from a sender's irrep in one product, which suits a GPU."""
        hidden, sums = self.radial.hidden(edges.basis, maps), []
        for paths, weights in zip(self.order.sender_paths, self.order.weights(self.radial.last(maps)), strict=True):
            ir = paths.sender
            sent = edges.senders.spread(maps(x[ir], self.lin1[ir], len(self.lin1[ir])))
            messages = torch.bmm(couplings.join_targets(int(ir[:-1]), paths.targets), sent).flatten(1)
            sums.append(edges.receivers.sum_products(messages, hidden @ weights))
        widths = [(2 * int(ir[:-1]) + 1) * len(w) for ir, w in self.lin2.items()]
        parts = self.order.sort_by_receiver(sums).split(widths, dim=1)
        return {ir: part.unflatten(1, (-1, len(w))) for part, (ir, w) in zip(parts, self.lin2.items(), strict=True)}


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
