"""Equivariant message passing between atoms: what the surroundings of each atom are.

An atom has features h_lm of l = 0..lmax, several channels each, all of parity (-1)^l. A layer sums over neighbours,

    A_lm = 1 / norm sum_j [ u_l(e) Y_lm(e) + v_l(e) h_j,lm ],

with weights u, v from a perceptron of the edge (distance, the two elements, the scalars of both atoms), and then takes
products of two such sums within an atom, which see angles between neighbours,

    P_lm = sum over l1, l2 of w_(l1, l2, l) (L_1 A)_l1 (x) (L_2 A)_l2,   h_lm <- h_lm + g_l (L_3 A + L_4 P)_lm

where (x) is the Clebsch-Gordan product, L are linear maps of channels, and the gates g come from the atom's scalars.
The norm of A and h in each channel is bounded.
"""

from __future__ import annotations

from typing import Any

import torch
from e3nn import o3
from torch import Tensor, nn

from ecd_models.networks.charge3net.layers import gather_sum
from ecd_models.networks.fourier_density.plane_waves import degrees, harmonics

HIDDEN = 64  # width of perceptrons
DISTANCES = 10  # functions of a distance, and as many of the distance in units of the two atoms' radii
NEIGHBORS = 20.0  # typical number in a sum
LARGEST = 10.0  # of features: products of products would grow without limit on crystals unlike those of the training


def perceptron(inputs: int, outputs: int) -> nn.Sequential:
    """Two hidden layers of SiLU."""
    hidden = nn.Linear(inputs, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, HIDDEN), nn.SiLU()
    return nn.Sequential(*hidden, nn.Linear(HIDDEN, outputs))


def coupling(lmax: int) -> tuple[Tensor, Tensor]:
    """Clebsch-Gordan products of even l1 + l2 + l, l1 <= l2, as a matrix [(lmax + 1)^4, columns], and each column's
    path: the columns of a path are the 2l + 1 components of its product. The second is [columns, 2]: path, component.
    """
    size, columns, places, path = (lmax + 1) ** 2, [], [], 0
    for l1 in range(lmax + 1):
        for l2 in range(l1, lmax + 1):
            for l in range(l2 - l1, min(l1 + l2, lmax) + 1, 2):
                block = torch.zeros(size, size, 2 * l + 1, dtype=torch.float64)
                block[l1**2 : (l1 + 1) ** 2, l2**2 : (l2 + 1) ** 2] = o3.wigner_3j(l1, l2, l, dtype=torch.float64)
                columns.append(block.reshape(-1, 2 * l + 1) * (2 * l + 1) ** 0.5)
                places += [(path, l**2 + m) for m in range(2 * l + 1)]
                path += 1
    return torch.cat(columns, 1), torch.tensor(places)


def bound(x: Tensor) -> Tensor:
    """Features whose norm in each channel is below LARGEST, nearly the same where it is small [n, lm, channels]."""
    return x * torch.rsqrt(1 + x.square().sum(1, keepdim=True) / LARGEST**2)


class ByDegree(nn.Module):
    """A linear map of channels for each l [n, (lmax + 1)^2, channels]."""

    def __init__(self, lmax: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(lmax + 1, inputs, outputs) / inputs**0.5)
        self.lmax = lmax

    def forward(self, x: Tensor) -> Tensor:
        """The mapped features."""
        pieces = [x[:, l * l : (l + 1) ** 2] @ self.weight[l] for l in range(self.lmax + 1)]
        return torch.cat(pieces, dim=1)


class Product(nn.Module):
    """Products of two sums within an atom [n, (lmax + 1)^2, channels]."""

    matrix: Tensor
    pairs: Tensor
    path: Tensor
    component: Tensor

    def __init__(self, lmax: int, channels: int) -> None:
        super().__init__()
        matrix, places = coupling(lmax)
        nonzero = matrix.abs().sum(1) > 0
        self.register_buffer("matrix", matrix[nonzero].float(), persistent=False)
        self.register_buffer("pairs", nonzero.nonzero()[:, 0], persistent=False)
        self.register_buffer("path", places[:, 0].contiguous(), persistent=False)
        self.register_buffer("component", places[:, 1].contiguous(), persistent=False)
        self.left, self.right = ByDegree(lmax, channels, channels), ByDegree(lmax, channels, channels)
        paths = int(places[:, 0].max()) + 1
        into = torch.bincount(degree_of_path(places, lmax), minlength=lmax + 1)
        scale = into[degree_of_path(places, lmax)].double() ** -0.5
        self.weight = nn.Parameter(torch.randn(paths, channels) * scale[:, None].float())
        self.size = (lmax + 1) ** 2

    def forward(self, x: Tensor) -> Tensor:
        """The products."""
        left, right = self.left(x).transpose(1, 2), self.right(x).transpose(1, 2)  # [n, channels, lm]
        outer = (left[..., :, None] * right[..., None, :]).flatten(2)[..., self.pairs]
        products = (outer @ self.matrix).transpose(1, 2) * self.weight[self.path]
        return products.new_zeros(len(x), self.size, x.shape[2]).index_add(1, self.component, products)


def degree_of_path(places: Tensor, lmax: int) -> Tensor:
    """l of each path of `coupling`."""
    l = torch.from_numpy(degrees(lmax))[places[:, 1]]
    paths = int(places[:, 0].max()) + 1
    return torch.zeros(paths, dtype=torch.int64).scatter(0, places[:, 0], l)


class Distances(nn.Module):
    """Functions of the lengths of edges: Gaussians in Å and in units of the two atoms' radii."""

    radii: Tensor

    def __init__(self, cutoff: float, radii: Tensor) -> None:
        super().__init__()
        self.cutoff = cutoff
        self.register_buffer("radii", radii.float(), persistent=False)

    def forward(self, r: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """The functions for distances r [e] in Å between two elements [e, 2 DISTANCES]."""
        scaled = r / (self.radii[first] + self.radii[second])
        steps = torch.arange(DISTANCES, dtype=r.dtype, device=r.device) / (DISTANCES - 1)
        own = torch.exp(-(((r[:, None] - 1.0 - (self.cutoff - 1.0) * steps) / 0.6) ** 2))
        relative = torch.exp(-(((scaled[:, None] - 0.7 - 1.8 * steps) / 0.25) ** 2))
        return torch.cat([own, relative], 1)

    def end(self, r: Tensor) -> Tensor:
        """What weights are multiplied by: 1 at 0, 0 with two derivatives at the cutoff [e]."""
        return torch.clamp(1 - (r / self.cutoff) ** 2, min=0) ** 3


class Layer(nn.Module):
    """One round of messages and products."""

    of_component: Tensor

    def __init__(self, lmax: int, channels: int, edge_inputs: int, first: bool) -> None:
        super().__init__()
        self.lmax, self.channels, self.first = lmax, channels, first
        outputs = (lmax + 1) * channels
        scalars = 0 if first else 2 * channels
        self.edge = perceptron(edge_inputs + scalars, outputs if first else 2 * outputs)
        self.product = Product(lmax, channels)
        self.linear, self.mixed = ByDegree(lmax, channels, channels), ByDegree(lmax, channels, channels)
        self.gate = perceptron(2 * channels, outputs)
        self.register_buffer("of_component", torch.from_numpy(degrees(lmax)), persistent=False)

    def forward(self, h: Tensor, species: Tensor, edges: tuple[Tensor, ...]) -> Tensor:
        """The features after the layer [n, (lmax + 1)^2, channels]."""
        src, dst, described, angular, end = edges
        inputs = described if self.first else torch.cat([described, h[dst, 0], h[src, 0]], 1)
        kinds = 1 if self.first else 2  # not left to `view`: an atom without neighbours has no edges
        weights = (self.edge(inputs) * end[:, None]).view(len(src), kinds, self.lmax + 1, self.channels)
        weights = weights[:, :, self.of_component]
        messages = weights[:, 0] * angular[:, :, None]
        if not self.first:
            messages = messages + weights[:, 1] * h[src]
        sums = bound(gather_sum(messages, dst, len(h)) / NEIGHBORS**0.5)
        new = self.linear(sums) + self.mixed(self.product(sums))
        gates = self.gate(torch.cat([species, new[:, 0]], 1)).view(len(h), self.lmax + 1, self.channels)
        return bound(h + new * LARGEST * torch.tanh(gates / LARGEST)[:, self.of_component])


class AtomEncoder(nn.Module):
    """Features of atoms and of edges from elements and positions."""

    def __init__(self, lmax: int, channels: int, layers: int, cutoff: float, species: nn.Module, radii: Tensor) -> None:
        super().__init__()
        self.lmax, self.channels, self.cutoff = lmax, channels, cutoff
        self.species: Any = species
        self.distances = Distances(cutoff, radii)
        self.edge_inputs = 2 * DISTANCES + 2 * channels
        self.layers = nn.ModuleList(Layer(lmax, channels, self.edge_inputs, first=not k) for k in range(layers))

    def forward(
        self, numbers: Tensor, src: Tensor, dst: Tensor, vec: Tensor, shift: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Features [n, (lmax + 1)^2, channels], vectors of the elements [n, channels], and of each edge its
        descriptors [e, inputs] and how near it is to its end [e].

        shift: what is added to the vectors of the elements [n, channels].
        """
        species = self.species(numbers)
        if shift is not None:
            species = species + shift
        r = vec.norm(dim=1)
        end = self.distances.end(r)
        described = torch.cat([self.distances(r, numbers[dst], numbers[src]), species[dst], species[src]], 1)
        angular = harmonics(vec, self.lmax) * (4 * torch.pi) ** 0.5
        h = torch.zeros(len(numbers), (self.lmax + 1) ** 2, self.channels, dtype=vec.dtype, device=vec.device)
        h = torch.cat([species[:, None], h[:, 1:]], 1)
        for layer in self.layers:
            h = layer(h, species, (src, dst, described, angular, end))
        return h, species, described, end
