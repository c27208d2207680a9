"""FourierDensity: a network on the atoms gives coefficients, the density of which is closed form in Fourier space.

    c[a, n, lm] = s L_nl (g_l h_a,lm) + [l = 0] (perceptron of the atom's scalars)

with features h and gates g of `encoder` and a typical size s. Of l = 0, what remains is neutral: sum_n c[a, n, 00]
m_n is 0 for the integrals m_n of the functions. Charge goes from atom to atom, q_a = sum_b f(a, b) - f(b, a), carried
by the functions in the direction of m. So a density has the electrons of the superposed atoms that it is added to,
whatever the weights, and crystals far apart know nothing of each other. The last maps start at zero: training starts
from the superposed atoms. `element_tables` adds what each element has of its own, `atom_limits` holds coefficients and
charges below what the free atoms have. With two outputs, `magnetization` gives a second set of coefficients from the
same features.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from ecd_data.crystal import Crystal, Floats
from ecd_data.errors import UsageError
from ecd_models.atoms.coarse_grids import sum_on_grid
from ecd_models.atoms.fitted import MAX_ELEMENT, SuperposedAtoms
from ecd_models.batch import ProbeBatch, make_item
from ecd_models.graph import Neighbors
from ecd_models.grid_batch import GridBatch
from ecd_models.networks.blocks import require_outputs
from ecd_models.networks.charge3net.layers import gather_sum
from ecd_models.networks.elements import DESCRIPTORS, column, embedding, require_properties, require_species
from ecd_models.networks.fourier_density.assembly import density_on_grid
from ecd_models.networks.fourier_density.atom_limits import hold_charges, hold_coefficients, measure_atoms
from ecd_models.networks.fourier_density.element_tables import ElementTables
from ecd_models.networks.fourier_density.encoder import AtomEncoder, ByDegree, perceptron
from ecd_models.networks.fourier_density.magnetization import MagnetizationHead
from ecd_models.networks.fourier_density.plane_waves import Shape, degrees, harmonics
from ecd_models.networks.fourier_density.radial import RadialFunctions
from ecd_models.networks.fourier_density.with_atoms import (
    can_sum,
    density_on_device,
    density_with_atoms,
    has_tables,
    sums_agree,
)

# What an output of 1 stands for, by l: rms of the coefficients of bonding in fits of the sample's densities.
SIZES = (0.005, 0.0005, 0.0007, 0.0016, 0.002)
CHARGE = 0.05  # electrons that an output of 1 moves along an edge
UNKNOWN_RADIUS = 1.3  # Å


@dataclass(frozen=True)
class FourierDensityConfig:
    """Sizes of the model.

    functions: radial functions of each l, sums of Gaussians with exponents from `widest` to `sharpest` in 1/Å^2; lmax:
    highest angular momentum; channels of each l and layers of the network; neighbors: how far in Å an atom looks in a
    layer; species: how elements are told apart, "descriptors" or "one-hot"; functionals: names of the functionals whose
    densities one network gives, such as ("PBE", "HSE06"), the first of them by default; none for a network of one;
    members: networks trained from different seeds whose mean the coefficients are (`join_seeds`); outputs: 1 for the
    density, 2 for the magnetization as well; element_tables: learn a one-centre density and a radial correction of each
    element as well.
    """

    functions: int = 10
    widest: float = 0.3
    sharpest: float = 20.0
    lmax: int = 4
    channels: int = 16
    layers: int = 2
    neighbors: float = 4.5
    species: str = DESCRIPTORS
    functionals: tuple[str, ...] = ()
    members: int = 1
    outputs: int = 1
    element_tables: bool = False

    def __post_init__(self) -> None:
        require_species(self.species)
        require_outputs(self.outputs)
        object.__setattr__(self, "functionals", tuple(self.functionals))  # JSON and TOML have lists
        if len(set(self.functionals)) != len(self.functionals) or not all(isinstance(f, str) for f in self.functionals):
            raise UsageError(f"{self} needs different names of functionals, such as ('PBE', 'HSE06')")
        sizes = {name: getattr(self, name) for name in ("functions", "layers", "channels", "members")}
        if wrong := [f"{name} = {size}" for name, size in sizes.items() if size < 1]:
            raise UsageError(f"{' and '.join(wrong)} must be at least 1")
        if not 1 <= self.lmax <= 8:
            raise UsageError(f"lmax = {self.lmax} must be from 1 to 8")
        if not (0 < self.widest <= self.sharpest and self.neighbors > 0):
            raise UsageError(f"{self} needs positive lengths and exponents, widest not above sharpest")


def radial_functions(config: FourierDensityConfig) -> RadialFunctions:
    """The radial functions of a configuration."""
    return RadialFunctions(np.geomspace(config.widest, config.sharpest, config.functions), config.lmax)


class FourierDensity(nn.Module):
    """The density of a crystal, or what is added to superposed atoms, from coefficients of functions on the atoms."""

    Config = FourierDensityConfig
    configurations: ClassVar[dict[str, FourierDensityConfig]] = {"fourier_density": FourierDensityConfig()}
    degrees: Tensor
    monopoles: Tensor
    sizes: Tensor
    norms: Tensor
    electrons: Tensor
    whole_grids = True  # a step of training can take all points of a crystal

    def __init__(self, config: FourierDensityConfig | None = None) -> None:
        super().__init__()
        self.config = config or FourierDensityConfig()
        lmax, channels, functions = self.config.lmax, self.config.channels, self.config.functions
        self.radial = radial_functions(self.config)
        self.cutoff = max(self.radial.reach, self.config.neighbors)
        radii = torch.from_numpy(np.nan_to_num(column("covalent_radius"), nan=UNKNOWN_RADIUS))
        species = embedding(self.config.species, channels)
        self.encoder = AtomEncoder(lmax, channels, self.config.layers, self.config.neighbors, species, radii)
        self.gate = perceptron(2 * channels, (lmax + 1) * channels)
        self.head = ByDegree(lmax, channels, functions)
        self.scalar = perceptron(2 * channels, functions)
        self.charge = perceptron(self.encoder.edge_inputs + 2 * channels, 1)
        for last in (self.head, self.scalar[-1], self.charge[-1]):
            for weight in last.parameters():
                nn.init.zeros_(weight)
        self.functional = self.config.functionals[0] if self.config.functionals else ""  # whose densities it gives
        self.shifts: nn.Parameter | None = None  # of the elements' vectors, for each functional
        if self.config.functionals:
            self.shifts = nn.Parameter(torch.zeros(len(self.config.functionals), channels))
        self.moments: Floats | None = None  # initial moments of the atoms of the crystals that it is asked for
        self.magnetization: MagnetizationHead | None = None
        if self.config.outputs == 2:
            self.magnetization = MagnetizationHead(lmax, channels, functions, self.encoder.edge_inputs)
        self.tables: ElementTables | None = None
        if self.config.element_tables:
            self.tables = ElementTables(functions, lmax, SIZES[0])
        one = replace(self.config, members=1)
        self.others = nn.ModuleList(FourierDensity(one) for _ in range(self.config.members - 1))
        sizes = torch.tensor([SIZES[min(l, len(SIZES) - 1)] for l in degrees(lmax)])
        self.register_buffer("sizes", sizes, persistent=False)
        self._sums_agree: bool | None = None
        self.register_buffer("degrees", torch.from_numpy(degrees(lmax)), persistent=False)
        self.register_buffer("monopoles", torch.from_numpy(self.radial.monopoles).float(), persistent=False)
        for limit in ("norms", "electrons"):  # of the free atoms
            self.register_buffer(limit, torch.full((MAX_ELEMENT + 1,), torch.inf), persistent=False)

    def limit_to(self, atoms: SuperposedAtoms) -> None:
        """Hold what each atom adds, gives and takes below what the free atom of its element has."""
        for network in (self, *cast("Iterable[FourierDensity]", self.others)):
            for limit, values in zip((network.norms, network.electrons), measure_atoms(atoms.free), strict=True):
                limit.copy_(torch.from_numpy(np.nan_to_num(values, nan=np.inf)))

    def encode(self, batch: ProbeBatch, functionals: tuple[str, ...] = ()) -> Tensor:
        """The coefficients of the functions of each atom, mean of the members [n, functions, (lmax + 1)^2].

        With the magnetization it has two sets of them [n, 2, functions, (lmax + 1)^2].

        functionals: of each crystal of the batch; without them that of the network.
        """
        functionals = functionals or (self.functional,) * batch.n_crystals
        return self.encode_members(batch, functionals).mean(0) if self.others else self._encode(batch, functionals)

    def encode_members(self, batch: ProbeBatch, functionals: tuple[str, ...]) -> Tensor:
        """The coefficients of each member [members, n, functions, (lmax + 1)^2]."""
        members = [self, *cast("Iterable[FourierDensity]", self.others)]
        return torch.stack([member._encode(batch, functionals) for member in members])

    def _encode(self, batch: ProbeBatch, functionals: tuple[str, ...]) -> Tensor:
        """The coefficients of this network alone, one set or two."""
        near = batch.atom_vec.norm(dim=1) < self.config.neighbors
        src, dst, vec = batch.atom_src[near], batch.atom_dst[near], batch.atom_vec[near]
        h, species, described, end = self.encoder(batch.numbers, src, dst, vec, self._shift(batch, functionals))
        scalars = torch.cat([species, h[:, 0]], 1)
        gates = self.gate(scalars).view(len(h), self.config.lmax + 1, -1)[:, self.degrees]
        coefficients = self.head(h * gates) * self.sizes[:, None]
        direction = self.monopoles / (self.monopoles @ self.monopoles)
        first = coefficients[:, 0] + SIZES[0] * self.scalar(scalars)
        first = first - (first @ self.monopoles)[:, None] * direction
        neutral = torch.cat([first[:, None], coefficients[:, 1:]], 1).transpose(1, 2)
        if self.tables is not None:
            neutral = self.tables(neutral, batch.numbers, self.monopoles)
        norms = self.norms[batch.numbers]
        density = hold_coefficients(neutral, norms)
        moved = self.charge(torch.cat([described, h[dst, 0], h[src, 0]], 1))[:, 0] * end * CHARGE
        charges = self._sum_charges(moved, src, dst, batch.numbers)
        density = torch.cat([density[:, :, :1] + charges * direction[:, None], density[:, :, 1:]], 2)
        if self.magnetization is None:
            return density
        signs = self.magnetization.signs(batch.numbers, batch.moments)
        spin = self.magnetization(signs, h, species, (src, dst, vec, described, end)).transpose(1, 2)
        return torch.stack([density, hold_coefficients(spin, norms)], 1)

    def _sum_charges(self, moved: Tensor, src: Tensor, dst: Tensor, numbers: Tensor) -> Tensor:
        """The electrons that each atom has more than the superposed one, from those that move along edges [n, 1, 1]."""
        moved = hold_charges(moved, src, dst, self.electrons[numbers])
        charges = gather_sum(moved[:, None], dst, len(numbers)) - gather_sum(moved[:, None], src, len(numbers))
        return charges[:, :, None]

    def _shift(self, batch: ProbeBatch, functionals: tuple[str, ...]) -> Tensor | None:
        """What the functional of its crystal adds to the vector of each atom [n, channels]."""
        if self.shifts is None:
            return None
        names = self.config.functionals
        for name in functionals:
            if name not in names:
                raise UsageError(f"a density of {name or 'an unknown functional'} is not one of {', '.join(names)}")
        index = [names.index(name) for name in functionals]
        return self.shifts[torch.tensor(index, device=self.shifts.device)[batch.atom_crystal]]

    def decode(self, coefficients: Tensor, batch: ProbeBatch) -> Tensor:
        """The densities at the probes [p] in e/Å^3, or with the magnetizations [p, 2], summed over images of atoms."""
        r = batch.probe_vec.norm(dim=1)
        powers = r.double()[:, None] ** torch.arange(self.config.lmax + 1, device=r.device)
        functions = (self.radial.values(r) * powers[:, :, None]).to(coefficients.dtype)[:, self.degrees]
        terms = functions * harmonics(batch.probe_vec, self.config.lmax)[:, :, None]
        if coefficients.ndim == 3:
            values = torch.einsum("ecf,efc->e", terms, coefficients[batch.probe_src])
            return gather_sum(values[:, None], batch.probe_dst, batch.n_probes)[:, 0]
        values = torch.einsum("ecf,eofc->eo", terms, coefficients[batch.probe_src])
        return gather_sum(values, batch.probe_dst, batch.n_probes)

    def forward(self, batch: ProbeBatch | GridBatch) -> Tensor:
        """The densities in e/Å^3 at the probes of a batch, or at all grid points of crystal after crystal [p].

        With the magnetizations [p, 2].
        """
        if isinstance(batch, ProbeBatch):
            return self.decode(self.encode(batch), batch)
        coefficients = self.encode(batch.atoms, batch.functionals).split([len(crystal) for crystal in batch.crystals])
        each = zip(coefficients, batch.crystals, batch.shapes, strict=True)
        return torch.cat([self._at_all_points(c, crystal, shape) for c, crystal, shape in each])

    def _at_all_points(self, coefficients: Tensor, crystal: Crystal, shape: Shape) -> Tensor:
        """The density of coefficients at all grid points [p], of two sets of them [p, 2]."""
        if coefficients.ndim == 3:
            return density_on_grid(coefficients, self.radial, crystal, shape).flatten()
        grids = [density_on_grid(part, self.radial, crystal, shape).flatten() for part in coefficients.unbind(1)]
        return torch.stack(grids, 1)

    @torch.no_grad()
    def coefficients(self, crystal: Crystal) -> Tensor:
        """The coefficients of the density of each atom of a crystal [n, functions, (lmax + 1)^2]."""
        return self._both_coefficients(crystal)[0]

    def _both_coefficients(self, crystal: Crystal) -> tuple[Tensor, Tensor | None]:
        """The coefficients of the density and of the magnetization, None without it."""
        coefficients = self.encode(self._atoms(crystal))
        if coefficients.ndim == 3:
            return coefficients, None
        return coefficients[:, 0].contiguous(), coefficients[:, 1].contiguous()

    def _atoms(self, crystal: Crystal) -> ProbeBatch:
        """The atoms and edges of a crystal where the weights are."""
        require_properties(crystal.numbers)
        weight = next(self.parameters())
        neighbors = Neighbors(crystal, self.config.neighbors)
        item = make_item(neighbors, crystal.numbers, np.zeros((0, 3)), dtype=weight.dtype, moments=self.moments)
        return item.to(device=weight.device)

    def superpose(self, atoms: SuperposedAtoms, crystal: Crystal, shape: Shape) -> Floats:
        """The density of superposed atoms alone in e/Å^3, by compiled sums if there are any [a, b, c]."""
        if not can_sum(self.radial, atoms):
            return atoms(crystal, shape).values
        nothing = torch.zeros(len(crystal), self.config.functions, (self.config.lmax + 1) ** 2)
        return sum_on_grid(crystal, shape, partial(density_with_atoms, nothing, self.radial, atoms, crystal))

    @torch.no_grad()
    def on_grid_with_atoms(self, crystal: Crystal, shape: Shape, atoms: SuperposedAtoms) -> Floats | None:
        """The density of superposed atoms and network in e/Å^3 by fast sums [a, b, c]; None if there are none.

        With the magnetization [2, a, b, c]. Those of a processor are compiled: they are compared with the plain ones at
        the first use, and not used where they differ.
        """
        weight = next(self.parameters())
        if weight.device.type == "cuda" and weight.dtype == torch.float32 and has_tables(self.radial, atoms):
            coefficients, spin = self._both_coefficients(crystal)
            make = partial(density_on_device, coefficients, self.radial, atoms, crystal)
            return self._with_magnetization(sum_on_grid(crystal, shape, make), spin, crystal)
        if weight.device.type != "cpu" or weight.dtype != torch.float32 or not can_sum(self.radial, atoms):
            return None
        coefficients, spin = self._both_coefficients(crystal)
        if self._sums_agree is None:
            self._sums_agree = sums_agree(coefficients, self.radial, atoms, crystal)
        if not self._sums_agree:
            return None
        make = partial(density_with_atoms, coefficients, self.radial, atoms, crystal)
        return self._with_magnetization(sum_on_grid(crystal, shape, make), spin, crystal)

    @torch.no_grad()
    def on_grid(self, crystal: Crystal, shape: Shape) -> Floats:
        """What is added to the density of superposed atoms in e/Å^3, by one inverse FFT [a, b, c].

        With the magnetization, which has no superposed atoms, [2, a, b, c].
        """
        coefficients, spin = self._both_coefficients(crystal)
        return self._with_magnetization(self._sum(coefficients, crystal, shape), spin, crystal)

    def _sum(self, coefficients: Tensor, crystal: Crystal, shape: Shape) -> Floats:
        """The density of coefficients on a grid by plain sums [a, b, c]."""
        make = partial(density_on_grid, coefficients, self.radial, crystal)
        return sum_on_grid(crystal, shape, lambda grid: make(grid).double().cpu().numpy())

    def _with_magnetization(self, density: Floats, spin: Tensor | None, crystal: Crystal) -> Floats:
        """A density [a, b, c], with the magnetization of its coefficients if there are any [2, a, b, c]."""
        if spin is None:
            return density
        if not spin.any():  # compiled sums give numbers that are nearly 0
            return np.stack([density, np.zeros_like(density)])
        return np.stack([density, self._sum(spin, crystal, density.shape)])
