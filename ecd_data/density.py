"""An electron density on the periodic grid of its crystal: the object that all other modules exchange."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecd_data.arguments import fractional_points, grid_shape
from ecd_data.crystal import Crystal, Floats, read_only_array
from ecd_data.errors import UsageError

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.io.vasp import Chgcar


INITIAL_MOMENTS = "initial_moments"  # key in the meta of a density: Bohr magnetons that its atoms started from [n]


@dataclass(frozen=True, eq=False)
class Density:
    """An electron density in e/Å^3 on the grid points (i/a, j/b, k/c) of its crystal's cell.

    The arrays are read-only: `dataclasses.replace` makes a changed Density.

    Parameters
    ----------
    crystal : the crystal.
    values [a, b, c] : the density in e/Å^3.
    magnetization [a, b, c] : n_up - n_down in e/Å^3; [3, a, b, c] when non-collinear; None without spin.
    augmentation : the text of the PAW occupancies that a CHGCAR prints after each grid, or None.
    meta : the settings of the calculation and where the density comes from.

    Raises
    ------
    ValueError : the values are not a grid, or the magnetization is on another grid.
    """

    crystal: Crystal
    values: Floats
    magnetization: Floats | None = None
    augmentation: tuple[str, ...] | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        values = read_only_array(self.values, np.float64)
        if values.ndim != 3 or 0 in values.shape:
            raise ValueError(f"density values must be a grid [a, b, c], got shape {values.shape}")
        object.__setattr__(self, "values", values)
        if self.magnetization is not None:
            magnetization = read_only_array(self.magnetization, np.float64)
            if magnetization.shape not in (values.shape, (3, *values.shape)):
                raise ValueError(f"magnetization {magnetization.shape} is not on the density's grid {values.shape}")
            object.__setattr__(self, "magnetization", magnetization)
        object.__setattr__(self, "meta", MappingProxyType(dict(self.meta)))

    def __reduce__(self) -> tuple[Any, ...]:
        return Density, (self.crystal, self.values, self.magnetization, self.augmentation, dict(self.meta))

    def __repr__(self) -> str:
        spin = "" if self.magnetization is None else ", spin"
        grid = "x".join(map(str, self.shape))
        return f"Density({self.crystal.formula}, {grid}, {self.nelect:.4f} electrons{spin})"

    # NumPy scalars and arrays leave operators to this class, so that np.float64(2) * rho does not lose the crystal
    __array_ufunc__ = None

    def __add__(self, other: Any) -> Density:
        """The sum of two densities of one crystal on one grid; UsageError or DifferentCrystalsError for others."""
        return self._combine(other, 1)

    def __radd__(self, other: Any) -> Density:
        """The density itself where 0 is added, as sum() does at its start; UsageError for anything else."""
        return self if isinstance(other, int) and other == 0 else self._combine(other, 1)

    def __sub__(self, other: Any) -> Density:
        """The difference of two densities of one crystal on one grid: its meta["kind"] is "difference"."""
        return self._combine(other, -1)

    def __rsub__(self, other: Any) -> Density:
        """UsageError: only a Density subtracts a Density."""
        return self._combine(other, -1)

    def __mul__(self, factor: Any) -> Density:
        """The density times a number."""
        from ecd_data.arithmetic import multiply

        return replace(self, **multiply(self, factor))

    __rmul__ = __mul__

    def __truediv__(self, divisor: Any) -> Density:
        """The density divided by a number that is not zero."""
        from ecd_data.arithmetic import multiply, read_factor

        number = read_factor(divisor)
        if number == 0:
            raise UsageError("a density cannot be divided by zero")
        return replace(self, **multiply(self, 1 / number))

    def __neg__(self) -> Density:
        """The density times -1."""
        return self * -1.0

    def _combine(self, other: Any, sign: int) -> Density:
        from ecd_data.arithmetic import combine

        if not isinstance(other, Density):
            raise UsageError(f"a Density is added to or subtracted from a Density, not {type(other).__name__}")
        return replace(self, **combine(self, other, sign))

    def supercell(self, counts: tuple[int, int, int]) -> Density:
        """The density of `counts` cells along a, b and c, with the same grid spacing and exactly repeated values.

        The augmentation occupancies and the settings of the calculation are dropped, since they belong to one cell.
        """
        from ecd_data.arithmetic import repeat

        return replace(self, **repeat(self, counts))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.values, dtype=dtype, copy=copy)  # the torch and jax formats of `datasets` call this

    @property
    def shape(self) -> tuple[int, int, int]:
        """The numbers of grid points along a, b and c."""
        return self.values.shape

    @property
    def lattice(self) -> Floats:
        """The lattice vectors as rows in Å [3, 3]."""
        return self.crystal.lattice

    @property
    def numbers(self) -> NDArray[np.int64]:
        """The atomic numbers [n]."""
        return self.crystal.numbers

    @property
    def frac_coords(self) -> Floats:
        """The fractional coordinates of the atoms [n, 3]."""
        return self.crystal.frac_coords

    @property
    def nelect(self) -> float:
        """The number of electrons: the integral of the density over the cell."""
        return float(self.values.mean() * self.crystal.volume)

    @property
    def moment(self) -> float | list[float] | None:
        """The total magnetic moment in Bohr magnetons: three components when non-collinear, None without spin."""
        if self.magnetization is None:
            return None
        total = self.magnetization.mean(axis=(-3, -2, -1)) * self.crystal.volume
        return float(total) if total.ndim == 0 else total.tolist()

    def at(self, frac_points: ArrayLike) -> Floats:
        """The density in e/Å^3 [n] at fractional positions [n, 3], by Fourier interpolation of the grid."""
        from ecd_data.fourier import evaluate  # imported here, since SciPy takes longer to load than a crystal to read

        return evaluate(self.values, fractional_points(frac_points))

    def resample(self, shape: tuple[int, int, int]) -> Density:
        """The same density on a grid [a, b, c] of other size, by Fourier interpolation; the electron count stays.

        The augmentation occupancies are dropped, since they belong to the CHGCAR of the original grid, whose shape
        meta["resampled"] keeps.
        """
        from ecd_data.fourier import resample

        shape, spin = grid_shape(shape), self.magnetization
        if spin is not None:
            spin = resample(spin, shape) if spin.ndim == 3 else np.stack([resample(m, shape) for m in spin])
        meta = self.meta if shape == self.shape else {"resampled": list(self.shape), **self.meta}
        return replace(self, values=resample(self.values, shape), magnetization=spin, augmentation=None, meta=meta)

    def to_ase(self) -> Atoms:
        """The crystal as an ASE `Atoms`."""
        return self.crystal.to_ase()

    def to_pymatgen(self) -> Chgcar:
        """The density as a pymatgen `Chgcar`, which holds density * volume and the augmentation occupancies by atom.

        A `Chgcar` cannot hold the moments of the atoms that VASP prints after the occupancies.
        """
        from ecd_data.formats.pymatgen import to_chgcar

        return to_chgcar(self)

    @classmethod
    def from_pymatgen(cls, chgcar: Chgcar) -> Density:
        """The density of a pymatgen `Chgcar`, which holds density * volume, with its augmentation occupancies.

        Raises
        ------
        UsageError : the object holds another quantity (`Elfcar`, `Locpot`) or unit (`VolumetricData.from_cube`).
        FormatError : the occupancies do not fit the atoms.
        """
        from ecd_data.formats.pymatgen import read_chgcar_fields

        return cls(**read_chgcar_fields(chgcar))
