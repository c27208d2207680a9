"""An ASE calculator that gives the predicted density under GPAW's name: `get_pseudo_density`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ecd_data.arguments import grid_shape, real_number
from ecd_data.crystal import Floats
from ecd_data.density import Density
from ecd_data.errors import MissingDependencyError, UsageError
from ecd_models.model import DensityModel
from ecd_models.prediction.density_files import GridRule
from ecd_models.prediction.predict import as_crystal, predict

try:
    from ase.calculators.calculator import Calculator, all_changes
except ImportError as error:
    raise MissingDependencyError("the calculator needs ase: pip install 'ecd-data[ase]' installs it") from error

if TYPE_CHECKING:
    from ase import Atoms


class DensityCalculator(Calculator):
    """An ASE calculator whose `get_pseudo_density` returns the density that a model predicts for the atoms.

    It has no energy and no forces: ASE raises PropertyNotImplementedError for these. The density is predicted once and
    again after the positions, the cell or the elements have changed. It holds the electrons that the model learned,
    such as those of a pseudopotential or of VASP's CHGCAR; it is no all-electron density.

    Parameters
    ----------
    model : from `load_model`.
    shape : the grid [a, b, c]; or
    encut : a cutoff in eV whose grid VASP would take.
    atoms : whose density is asked for; their `calc` becomes this calculator.

    Raises
    ------
    UsageError : there is not exactly one of shape and encut, or the model is none.
    """

    implemented_properties = ["density"]  # noqa: RUF012 - ASE's own name and type

    def __init__(
        self,
        model: DensityModel,
        *,
        shape: tuple[int, int, int] | None = None,
        encut: float | None = None,
        atoms: Atoms | None = None,
        **options: Any,
    ) -> None:
        if not isinstance(model, DensityModel):
            raise UsageError(f"the calculator needs a model, as load_model(name) gives it, not {type(model).__name__}")
        if (shape is None) == (encut is None):
            raise UsageError("give the grid by one of shape=(a, b, c) and encut=EV")
        shape = None if shape is None else grid_shape(shape)
        encut = None if encut is None else real_number(encut, "encut", "520")
        super().__init__(atoms=atoms, **options)
        self.model, self.grid_rule = model, GridRule(shape=shape, encut=encut)
        self.followed = atoms  # the caller's own atoms, so that a density is never that of earlier positions

    def calculate(
        self, atoms: Atoms | None = None, properties: Any = ("density",), system_changes: Any = all_changes
    ) -> None:
        """Predict the density of the atoms; ASE calls this."""
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        shape = self.grid_rule(as_crystal(self.atoms))
        self.results["density"] = predict(self.model, self.atoms, shape=shape)  # with the moments of the atoms

    def get_density(self, atoms: Atoms | None = None) -> Density:
        """The predicted Density in e/Å^3 of `atoms`, by default of those of the last call, where they are now."""
        if atoms is not None:
            self.followed = atoms
        if self.followed is None:
            raise UsageError("the calculator has no atoms yet: give atoms=, or call get_density(atoms)")
        density: Density = self.get_property("density", self.followed)
        return density

    def get_pseudo_density(self, spin: int | None = None, pad: bool = True) -> Floats:
        """The predicted density in electrons per Å^3 as an array [a, b, c], as GPAW's method of this name gives it.

        Parameters
        ----------
        spin : None for the total density, 0 for spin up, 1 for spin down. A model without spin gives half of the total
            for both, as GPAW does for a calculation without spin.
        pad : False leaves out the first plane along each axis without periodicity, as GPAW does.

        Raises
        ------
        UsageError : the spin is another, or the calculator has no atoms.
        """
        if spin not in (None, 0, 1) or isinstance(spin, bool):
            raise UsageError(f"spin is None for the total density, 0 for up or 1 for down, not {spin!r}")
        rho = self.get_density()
        values = rho.values if spin is None else 0.5 * (rho.values + (1 - 2 * spin) * _magnetization(rho))
        first = [0 if pad or periodic else 1 for periodic in rho.crystal.pbc]
        return values[first[0] :, first[1] :, first[2] :].copy()

    def get_number_of_grid_points(self) -> tuple[int, int, int]:
        """The numbers of grid points along a, b and c."""
        return self.get_density().shape

    def get_number_of_spins(self) -> int:
        """1 for a model of the density alone, 2 for one that predicts the magnetization as well."""
        return 2 if self.model.spin else 1

    def get_spin_polarized(self) -> bool:
        """Whether the model predicts the magnetization."""
        return bool(self.model.spin)


def _magnetization(rho: Density) -> Floats | float:
    return 0.0 if rho.magnetization is None else rho.magnetization
