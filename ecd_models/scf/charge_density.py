"""Quantum ESPRESSO's charge-density.dat of a density, with the plane waves in the order that pw.x expects.

pw.x reads the coefficients and ignores the Miller indices in the file, so it silently takes another order for another
density. The order is therefore read from a file that pw.x wrote for the same cell and cutoff.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.io import FortranFile

from ecd_data.crystal import Floats
from ecd_data.errors import FormatError, UsageError
from ecd_data.formats.units import BOHR


@dataclass(frozen=True)
class Waves:
    """The plane waves of a charge-density.dat.

    gamma_only : whether it has only one of G and -G.
    reciprocal : the reciprocal vectors in 1/bohr, flat [9].
    miller : Miller indices [n, 3].
    components : 1 for the density alone, 2 with the magnetization.
    """

    gamma_only: bool
    reciprocal: Floats
    miller: NDArray[np.int32]
    components: int

    @classmethod
    def read(cls, path: Path) -> Waves:
        """The plane waves of a file that pw.x wrote; raises FormatError for other files."""
        try:
            with FortranFile(path, "r") as file:
                gamma_only, count, components = (int(n) for n in file.read_ints("i4"))
                reciprocal = file.read_reals("f8")
                miller = file.read_ints("i4").reshape(count, 3)
        except (OSError, ValueError, TypeError) as error:
            raise FormatError(f"{path} is not a charge-density.dat of pw.x ({error}): run pw.x again") from error
        return cls(bool(gamma_only), reciprocal, miller, components)

    @property
    def smallest_shape(self) -> tuple[int, int, int]:
        """The smallest grid that holds all plane waves."""
        a, b, c = (2 * int(n) + 1 for n in np.abs(self.miller).max(axis=0))
        return a, b, c

    def coefficients(self, values: Floats, name: str = "the density") -> NDArray[np.complex128]:
        """The coefficients [n] in e/bohr^3 of a grid in e/Å^3; raises UsageError if the grid is too coarse."""
        if (np.array(values.shape) < self.smallest_shape).any():
            found, needed = ("x".join(map(str, shape)) for shape in (values.shape, self.smallest_shape))
            raise UsageError(f"{name} has a grid of {found} points where the cutoff needs {needed}: give a finer grid")
        transformed = np.fft.fftn(values, norm="forward") * BOHR**3
        waves: NDArray[np.complex128] = transformed[tuple(self.miller.T)]  # negative indices count from the end
        return waves

    def write(self, path: Path, values: Floats, magnetization: Floats | None, name: str = "the density") -> None:
        """Write the charge-density.dat of a grid [a, b, c] in e/Å^3, and of its magnetization if the run has spin."""
        grids = [values] if self.components == 1 else [values, magnetization]
        with FortranFile(path, "w") as file:
            file.write_record(np.array([self.gamma_only, len(self.miller), self.components], dtype=np.int32))
            file.write_record(self.reciprocal)
            file.write_record(self.miller)
            for grid in grids:
                if grid is None:
                    raise UsageError(f"{name} has no magnetization and the run has spin: give both")
                file.write_record(self.coefficients(grid, name))

    def write_hdf5(self, path: Path, values: Floats, magnetization: Floats | None, name: str = "the density") -> None:
        """Write the same coefficients as a charge-density.hdf5, which a pw.x that was built with HDF5 reads.

        The layout is that of write_rhog in QE's Modules/io_base.f90.
        """
        import h5py

        grids = {"rhotot_g": values} if self.components == 1 else {"rhotot_g": values, "rhodiff_g": magnetization}
        with h5py.File(path, "w") as file:
            file.attrs["gamma_only"] = np.bytes_(".TRUE." if self.gamma_only else ".FALSE.")
            file.attrs["ngm_g"], file.attrs["nspin"] = np.int32(len(self.miller)), np.int32(self.components)
            indices = file.create_dataset("MillerIndices", data=self.miller.astype(np.int32))
            for number, vector in enumerate(self.reciprocal.reshape(3, 3), 1):
                indices.attrs[f"bg{number}"] = vector
            for key, grid in grids.items():
                if grid is None:
                    raise UsageError(f"{name} has no magnetization and the run has spin: give both")
                file.create_dataset(key, data=self.coefficients(grid, name).view(np.float64))
