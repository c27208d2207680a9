"""Networks for `fourier_variants.py` that add to fourier_density what lifted other published models, one thing each.

They keep the electrons, the crystal's symmetry and all derivatives, and compute whole grids only.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ecd_data.crystal import Crystal, Floats
from ecd_data.errors import UsageError
from ecd_models.atoms.fitted import SuperposedAtoms
from ecd_models.batch import ProbeBatch
from ecd_models.grid_batch import GridBatch
from ecd_models.networks.charge3net.layers import gather_sum
from ecd_models.networks.fourier_density import kernel
from ecd_models.networks.fourier_density.assembly import density_on_grid, half_grid
from ecd_models.networks.fourier_density.encoder import AtomEncoder, ByDegree, perceptron
from ecd_models.networks.fourier_density.model import CHARGE, FourierDensity, FourierDensityConfig
from ecd_models.networks.fourier_density.plane_waves import Shape
from ecd_models.networks.fourier_density.radial import RadialFunctions

ROWS = 384  # of the tables of floating centres: their functions are wide
FIRST_DEGREE = slice(16, 19)  # places of l = 1 in a row of the kernel's tables


def take_electrons(coefficients: Tensor, electrons: Tensor, monopoles: Tensor) -> Tensor:
    """The coefficients [n, functions, lm] with `electrons` [n] less on each atom."""
    lost = electrons[:, None] * monopoles / (monopoles @ monopoles)
    return torch.cat([(coefficients[:, :, 0] - lost)[:, :, None], coefficients[:, :, 1:]], 2)


class KeepingEncoder(AtomEncoder):
    """The encoder, which keeps its last features and edges for further heads."""

    def forward(
        self, numbers: Tensor, src: Tensor, dst: Tensor, vec: Tensor, shift: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The features of AtomEncoder."""
        self.edges = src, dst, vec
        self.features = super().forward(numbers, src, dst, vec, shift)
        return self.features


class GridVariant(FourierDensity):
    """A network with an `added` density on whole grids, beside that of its coefficients."""

    def __init__(self, config: FourierDensityConfig | None = None) -> None:
        super().__init__(config)
        self.encoder.__class__ = KeepingEncoder  # the same weights

    def added(self, atoms: slice, crystal: Crystal, shape: Shape) -> tuple[Tensor, Tensor]:
        """What is added for atoms of the last batch [a, b, c], and the electrons that each atom gives for it [n]."""
        raise NotImplementedError

    def forward(self, batch: ProbeBatch | GridBatch) -> Tensor:
        """The densities in e/Å^3 at all grid points of crystal after crystal [p]."""
        if isinstance(batch, ProbeBatch):
            raise UsageError("a variant of fourier_density computes whole grids only: set whole_grids = true")
        coefficients = self.encode(batch.atoms, batch.functionals)
        densities, start = [], 0
        for crystal, shape in zip(batch.crystals, batch.shapes, strict=True):
            atoms = slice(start, start + len(crystal))
            added, electrons = self.added(atoms, crystal, shape)
            own = take_electrons(coefficients[atoms], electrons, self.monopoles)
            densities.append((density_on_grid(own, self.radial, crystal, shape) + added).flatten())
            start = atoms.stop
        return torch.cat(densities)

    def on_grid_with_atoms(self, crystal: Crystal, shape: Shape, atoms: SuperposedAtoms) -> Floats | None:
        """None: the compiled sums with atoms lack what is added."""
        return None

    @torch.no_grad()
    def on_grid(self, crystal: Crystal, shape: Shape) -> Floats:
        """What is added to the density of superposed atoms in e/Å^3 [a, b, c]."""
        nothing = torch.zeros(0)
        batch = GridBatch(self._atoms(crystal), (crystal,), (shape,), nothing, None, nothing)
        return self(batch).view(shape).double().numpy()


@dataclass(frozen=True)
class CentresConfig(FourierDensityConfig):
    """widths: Gaussians of each centre, with exponents from `softest` to `narrowest` in 1/Å^2; longest_edge in Å."""

    widths: int = 3
    softest: float = 0.6
    narrowest: float = 3.0
    longest_edge: float = 4.0


class FloatingCentres(GridVariant):
    """Adds Gaussians with signed weights on each edge, at a place between its ends that the network chooses.

    The ends give the electrons of a centre, the nearer one more of them. Centres on edges, not shifts of atoms: at a
    site of high symmetry no direction is singled out, so that an equivariant shift is zero.
    """

    Config = CentresConfig
    configurations: ClassVar[dict[str, FourierDensityConfig]] = {"floating_centres": CentresConfig()}
    config: CentresConfig
    basis: Tensor

    def __init__(self, config: CentresConfig | None = None) -> None:
        super().__init__(config or CentresConfig())
        sizes = self.config
        self.centre = perceptron(self.encoder.edge_inputs + 2 * sizes.channels, 1 + sizes.widths)
        for weight in self.centre[-1].parameters():
            nn.init.zeros_(weight)
        self.longest = float(np.sqrt(4 * 12.0 * sizes.narrowest))
        exponents = torch.from_numpy(np.geomspace(sizes.softest, sizes.narrowest, sizes.widths))
        q = torch.linspace(0, self.longest, ROWS)[:, None]
        self.register_buffer("basis", torch.exp(-(q**2) / (4 * exponents)).float(), persistent=False)

    def added(self, atoms: slice, crystal: Crystal, shape: Shape) -> tuple[Tensor, Tensor]:
        """The Gaussians on the edges that end at atoms of a crystal, and the electrons that its atoms give."""
        h, _, described, _ = self.encoder.features
        src, dst, vec = self.encoder.edges
        length = vec.norm(dim=1)
        chosen = (length < self.config.longest_edge) & (dst >= atoms.start) & (dst < atoms.stop)
        src, dst, vec, length = src[chosen], dst[chosen], vec[chosen], length[chosen]
        output = self.centre(torch.cat([described[chosen], h[dst, 0], h[src, 0]], 1))
        end = (1 - (length / self.config.longest_edge) ** 2) ** 3
        part, weights = torch.sigmoid(output[:, :1]), CHARGE * output[:, 1:] * end[:, None]
        held, first = weights.sum(1, keepdim=True), atoms.start
        electrons = gather_sum(held * (1 - part), dst - first, len(crystal))
        electrons = electrons + gather_sum(held * part, src - first, len(crystal))
        cartesian = torch.from_numpy(np.array(crystal.frac_coords) @ crystal.lattice).to(vec.dtype)
        positions = cartesian[dst - first] - part * vec  # vec leads from src to dst
        table = self.basis @ weights.T / crystal.volume
        half = SumCentres.apply(table, positions, np.array(crystal.lattice), shape, self.longest)
        return torch.fft.irfftn(half, s=shape, norm="forward"), electrons[:, 0]


class SumCentres(torch.autograd.Function):
    """The plane waves of spherical functions with tables [rows, n] at positions [n, 3] in Å, with both derivatives."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, positions: Tensor, lattice: Floats, shape: Shape, longest: float) -> Tensor:
        frac = positions.detach().double().numpy() @ np.linalg.inv(lattice)
        waves = kernel.waves_of(SimpleNamespace(frac_coords=frac, lattice=lattice), shape, longest)  # type: ignore[arg-type]
        rows, out = len(table), half_grid(shape)
        spherical = np.zeros((*table.shape, kernel.SLOTS), np.float32)
        spherical[:, :, 0] = table.detach().numpy()
        kernel.sum_waves(waves, shape, spherical, (rows - 1) / longest, out.reshape(-1, 2))
        ctx.waves, ctx.shape, ctx.longest, ctx.table = waves, shape, longest, table.detach()
        return torch.view_as_complex(torch.from_numpy(out))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """A derivative in a position is that of a function of l = 1 with the table |G| times that of l = 0."""
        given = torch.view_as_real(gradients[0].contiguous()).numpy().reshape(-1, 2)
        rows = len(ctx.table)
        pulled = torch.from_numpy(kernel.pull_waves(ctx.waves, ctx.shape, given, (rows - 1) / ctx.longest, rows))
        slope = torch.linspace(0, ctx.longest, rows)[:, None] * ctx.table / 3**0.5  # harmonics have norm 2l + 1
        return pulled[:, :, 0], (slope[:, :, None] * pulled[:, :, FIRST_DEGREE]).sum(0), None, None, None


@dataclass(frozen=True)
class ProductsConfig(FourierDensityConfig):
    """terms: products in the sum; of each factor the number of radial functions and the highest l."""

    terms: int = 2
    factor_functions: int = 4
    factor_lmax: int = 2


class Products(GridVariant):
    """Adds sum over k of L_k(r) R_k(r), two expansions around atoms with half the cutoff: two-centre terms.

    All atoms give the same share of its electrons: two crystals far apart know of each other.
    """

    Config = ProductsConfig
    configurations: ClassVar[dict[str, FourierDensityConfig]] = {"products": ProductsConfig()}
    config: ProductsConfig

    def __init__(self, config: ProductsConfig | None = None) -> None:
        super().__init__(config or ProductsConfig())
        sizes = self.config
        self.wide = RadialFunctions(
            np.geomspace(sizes.widest, sizes.sharpest / 4, sizes.factor_functions), sizes.factor_lmax
        )
        self.factor_gate = perceptron(2 * sizes.channels, (sizes.factor_lmax + 1) * sizes.channels)
        outputs = sizes.terms * sizes.factor_functions
        self.left, self.right = (ByDegree(sizes.factor_lmax, sizes.channels, outputs) for _ in range(2))
        nn.init.zeros_(self.right.weight)

    def added(self, atoms: slice, crystal: Crystal, shape: Shape) -> tuple[Tensor, Tensor]:
        """The sum of products, and the electrons that each atom gives for it."""
        h, species = (part[atoms] for part in self.encoder.features[:2])
        lmax, terms = self.config.factor_lmax, self.config.terms
        count = (lmax + 1) ** 2
        gates = self.factor_gate(torch.cat([species, h[:, 0]], 1)).view(len(h), lmax + 1, -1)
        low = h[:, :count] * gates[:, self.degrees[:count]]
        factors = [
            density_on_grid(0.3 * of_term.transpose(1, 2).contiguous(), self.wide, crystal, shape)
            for head in (self.left, self.right)
            for of_term in head(low).chunk(terms, 2)
        ]
        total = torch.stack([a * b for a, b in zip(factors[:terms], factors[terms:], strict=True)]).sum(0)
        return total, (total.mean() * crystal.volume / len(crystal)).expand(len(crystal))


NETWORKS = {name: cls for cls in (FloatingCentres, Products) for name in cls.configurations}
