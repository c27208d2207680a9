"""The crystal of a density: its lattice, atomic numbers and fractional coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import gcd
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure

Floats = NDArray[np.float64]

SYMBOLS = (
    "X H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y "
    "Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os "
    "Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh "
    "Fl Mc Lv Ts Og"
).split()
ATOMIC_NUMBERS = {symbol: number for number, symbol in enumerate(SYMBOLS)}


def read_only_array(array: ArrayLike, dtype: type, shape: tuple[int, ...] | None = None) -> NDArray:
    """A read-only array [shape] of `dtype` in C order; the input is copied unless it is read-only already.

    Raises ValueError for an array of another shape; one that is flat takes the shape if it has as many numbers.
    """
    result: NDArray = np.ascontiguousarray(array, dtype=dtype)
    if shape is not None and result.shape != shape:
        if result.ndim != 1 or result.size != np.prod(shape):  # a transposed array has as many numbers, too
            raise ValueError(f"there is an array of shape {list(result.shape)} where {list(shape)} is due")
        result = result.reshape(shape)
    if result.flags.writeable:
        result = result.copy() if result is array or result.base is not None else result
        result.flags.writeable = False
    return result


def _all_finite(array: Floats) -> bool:
    return np.count_nonzero(np.isfinite(array)) == array.size  # takes half the time of .all() for a few atoms


@dataclass(frozen=True, eq=False)
class Crystal:
    """Atoms in a periodic cell. The arrays are read-only.

    Parameters
    ----------
    lattice [3, 3] : the lattice vectors as rows, in Å.
    numbers [n] : the atomic numbers, 0 where a file names no element.
    frac_coords [n, 3] : the fractional coordinates.
    pbc : whether the cell is periodic along a, b and c.

    Raises
    ------
    ValueError : an array has another shape, a number is not finite, the lattice spans no volume, or there is no element
        of an atomic number.
    """

    lattice: Floats
    numbers: NDArray[np.int64]
    frac_coords: Floats
    pbc: tuple[bool, bool, bool] = (True, True, True)

    def __post_init__(self) -> None:
        if (np.asarray(self.numbers) % 1 != 0).any():  # NaN too; a cast to integers would cut 14.5 to 14
            raise ValueError("atomic numbers must be whole numbers")
        object.__setattr__(self, "lattice", read_only_array(self.lattice, np.float64, (3, 3)))
        object.__setattr__(self, "numbers", read_only_array(self.numbers, np.int64).reshape(-1))
        object.__setattr__(self, "frac_coords", read_only_array(self.frac_coords, np.float64, (len(self.numbers), 3)))
        object.__setattr__(self, "pbc", tuple(bool(p) for p in self.pbc))
        if not (_all_finite(self.lattice) and _all_finite(self.frac_coords)):
            raise ValueError("the crystal has a lattice vector or coordinate that is not finite")
        if self.volume < 1e-6:
            raise ValueError("the lattice vectors span no volume")
        if np.count_nonzero(self.numbers.view(np.uint64) >= len(SYMBOLS)):  # as uint64 a negative number is large
            raise ValueError(f"atomic numbers must lie in 0..{len(SYMBOLS) - 1}")

    def __len__(self) -> int:
        return len(self.numbers)

    def __repr__(self) -> str:
        return f"Crystal({self.formula}, {len(self)} atoms, {self.volume:.2f} Å^3)"

    @cached_property
    def volume(self) -> float:
        """The volume of the cell in Å^3."""
        return float(abs(np.linalg.det(self.lattice)))

    @cached_property
    def reciprocal(self) -> Floats:
        """The reciprocal lattice vectors as rows, with the factor 2 pi, in 1/Å [3, 3]; read-only."""
        vectors = np.asarray(2 * np.pi * np.linalg.inv(self.lattice).T, dtype=np.float64)
        vectors.flags.writeable = False
        return vectors

    @property
    def symbols(self) -> list[str]:
        """The element symbols of the atoms [n], "X" for an unknown element."""
        return [SYMBOLS[z] for z in self.numbers]

    @property
    def elements(self) -> list[str]:
        """The distinct element symbols in alphabetical order."""
        return sorted(set(self.symbols))

    @property
    def formula(self) -> str:
        """The formula of the cell with its elements in alphabetical order, as in "Mg4O4"."""
        return self._formula(1)

    @property
    def reduced_formula(self) -> str:
        """The formula divided by the greatest common divisor of its counts, as in "MgO"."""
        symbols = self.symbols
        return self._formula(gcd(*(symbols.count(s) for s in self.elements)) or 1)

    def _formula(self, divisor: int) -> str:
        symbols = self.symbols
        counts = {s: symbols.count(s) // divisor for s in self.elements}
        return "".join(f"{s}{n if n > 1 else ''}" for s, n in counts.items())

    @property
    def cart_coords(self) -> Floats:
        """The Cartesian positions of the atoms in Å [n, 3]."""
        return self.frac_coords @ self.lattice

    def wrap_atoms(self) -> Crystal:
        """The same crystal with fractional coordinates in [0, 1)."""
        frac = self.frac_coords - np.floor(self.frac_coords)
        frac[frac >= 1.0] = 0.0  # rounding turns -1e-17 into exactly 1.0
        return Crystal(self.lattice, self.numbers, frac, self.pbc)

    def to_record(self) -> dict[str, Any]:
        """The lattice, atomic numbers and fractional coordinates as lists, ready for JSON."""
        return {
            "lattice": self.lattice.tolist(),
            "numbers": self.numbers.tolist(),
            "frac_coords": self.frac_coords.tolist(),
        }

    @classmethod
    def from_ase(cls, atoms: Atoms) -> Crystal:
        """The crystal of an ASE `Atoms`."""
        pbc = tuple(bool(p) for p in atoms.pbc)
        return cls(atoms.cell.array, atoms.numbers, atoms.get_scaled_positions(wrap=False), pbc)  # type: ignore[arg-type]

    @classmethod
    def from_pymatgen(cls, structure: Structure) -> Crystal:
        """The crystal of a pymatgen `Structure`; dummy species become unknown elements.

        Raises
        ------
        ValueError : a site has partial occupancies.
        """
        from pymatgen.core import DummySpecies

        if not structure.is_ordered:
            raise ValueError(f"{structure.formula} has partial occupancies: give an ordered structure")
        numbers = [0 if isinstance(site.specie, DummySpecies) else site.specie.Z for site in structure]
        return cls(structure.lattice.matrix, np.array(numbers), structure.frac_coords, structure.lattice.pbc)

    def to_ase(self) -> Atoms:
        """The same crystal as an ASE `Atoms`.

        Raises
        ------
        MissingDependencyError : ase is not installed.
        """
        try:
            from ase import Atoms
        except ImportError as error:
            from ecd_data.errors import missing_extra

            raise missing_extra(error) or error from None

        return Atoms(numbers=self.numbers, cell=self.lattice, scaled_positions=self.frac_coords, pbc=self.pbc)

    def to_pymatgen(self) -> Structure:
        """The same crystal as a pymatgen `Structure`; unknown elements become the dummy species "X"."""
        from pymatgen.core import DummySpecies, Lattice, Structure

        species = [DummySpecies("X") if s == "X" else s for s in self.symbols]
        return Structure(Lattice(self.lattice, pbc=self.pbc), species, self.frac_coords)
