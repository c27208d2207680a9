"""A fitted pair model as superposed atoms, to which a network learns the difference."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ecd_data.crystal import Crystal
from ecd_data.density import Density
from ecd_models.atoms.fitted import SuperposedAtoms
from ecd_models.networks.pair_density.model import PairDensity


@dataclass(frozen=True, eq=False)
class BondedAtoms(SuperposedAtoms):
    """Free atoms with the density that a fitted pair model adds to them."""

    pairs: PairDensity = field(kw_only=True)

    def __call__(self, crystal: Crystal, shape: tuple[int, int, int]) -> Density:
        """The density of the pair model on a grid; raises UsageError for an element without a free atom."""
        rho = self.free(crystal, shape)
        return replace(rho, values=rho.values + self.pairs.on_grid(crystal, shape))

    @property
    def free(self) -> SuperposedAtoms:
        """The free atoms alone."""
        return SuperposedAtoms(self.coefficients, self.exponents)

    @property
    def key(self) -> bytes:
        """The bytes of all numbers that determine the densities."""
        weights = (self.pairs.pair, self.pairs.spherical)
        anchors = ",".join(self.pairs.config.anchors).encode()
        return self.free.key + anchors + b"".join(weight.detach().numpy().tobytes() for weight in weights)
