"""The one noun: an electron density on a periodic grid, with its crystal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecd_data.arguments import fractional_points, grid_shape
from ecd_data.crystal import Crystal, Floats, frozen

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.io.vasp import Chgcar


@dataclass(frozen=True, eq=False)
class Density:
    """An electron density in e/Å^3 on the grid points (i/a, j/b, k/c) of its crystal's cell.

    values [a, b, c]; magnetization: n_up - n_down [a, b, c], [3, a, b, c] when non-collinear, or None;
    augmentation: the PAW occupancies of a CHGCAR as printed after each block, or None; meta: settings and provenance.
    Arrays are read-only; changes make a new Density (`dataclasses.replace`).
    """

    crystal: Crystal
    values: Floats
    magnetization: Floats | None = None
    augmentation: tuple[str, ...] | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        values = frozen(self.values, np.float64)
        if values.ndim != 3 or 0 in values.shape:
            raise ValueError(f"density values must be a grid [a, b, c], got shape {values.shape}")
        object.__setattr__(self, "values", values)
        if self.magnetization is not None:
            magnetization = frozen(self.magnetization, np.float64)
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

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.values, dtype=dtype, copy=copy)  # torch and jax formats of `datasets` ask for it

    @property
    def shape(self) -> tuple[int, int, int]:
        """Grid points along a, b, c."""
        return self.values.shape

    @property
    def lattice(self) -> Floats:
        """Lattice vectors as rows in Å [3, 3]."""
        return self.crystal.lattice

    @property
    def numbers(self) -> NDArray[np.int64]:
        """Atomic numbers [n]."""
        return self.crystal.numbers

    @property
    def frac_coords(self) -> Floats:
        """Fractional coordinates of the atoms [n, 3]."""
        return self.crystal.frac_coords

    @property
    def nelect(self) -> float:
        """Number of electrons: the integral of the grid."""
        return float(self.values.mean() * self.crystal.volume)

    @property
    def moment(self) -> float | list[float] | None:
        """Total magnetic moment in Bohr magnetons, three components when non-collinear, None without spin."""
        if self.magnetization is None:
            return None
        total = self.magnetization.mean(axis=(-3, -2, -1)) * self.crystal.volume
        return float(total) if total.ndim == 0 else total.tolist()

    def at(self, frac_points: ArrayLike) -> Floats:
        """Density in e/Å^3 at fractional positions [n, 3], by the exact trigonometric interpolant of the grid [n]."""
        from ecd_data.fourier import evaluate  # SciPy loads more slowly than a crystal is read

        return evaluate(self.values, fractional_points(frac_points))

    def resample(self, shape: tuple[int, int, int]) -> Density:
        """The density on another grid by Fourier interpolation; the electron count is unchanged.

        Augmentation occupancies are dropped, since they belong to the original grid's CHGCAR.
        """
        from ecd_data.fourier import resample

        shape, spin = grid_shape(shape), self.magnetization
        if spin is not None:
            spin = resample(spin, shape) if spin.ndim == 3 else np.stack([resample(m, shape) for m in spin])
        return replace(self, values=resample(self.values, shape), magnetization=spin, augmentation=None)

    def to_ase(self) -> Atoms:
        """An ASE `Atoms` of the crystal."""
        return self.crystal.to_ase()

    def to_pymatgen(self) -> Chgcar:
        """A pymatgen `Chgcar`: rho * V, total and difference, augmentation occupancies as arrays by atom.

        It has no room for the moments of the atoms, which VASP prints behind the occupancies.
        """
        from ecd_data.formats.pymatgen import to_chgcar

        return to_chgcar(self)

    @classmethod
    def from_pymatgen(cls, chgcar: Chgcar) -> Density:
        """The density of a pymatgen `VolumetricData` such as `Chgcar`, with its augmentation occupancies.

        Raises UsageError where it is another quantity (`Elfcar`, `Locpot`), FormatError where the occupancies are not
        those of its atoms.
        """
        from ecd_data.formats.pymatgen import fields_of_chgcar

        return cls(**fields_of_chgcar(chgcar))
