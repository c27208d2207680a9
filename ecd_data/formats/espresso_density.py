"""Quantum ESPRESSO's charge-density.dat and .hdf5, with the crystal from the data-file-schema.xml in their folder."""

from __future__ import annotations

import struct
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from ecd_data.crystal import Crystal, Floats
from ecd_data.density import Density
from ecd_data.errors import FormatError
from ecd_data.formats.hdf5 import open_hdf5
from ecd_data.formats.labels import element_of_label
from ecd_data.formats.units import BOHR
from ecd_data.io.file_bytes import MAX_POINTS, Text

XML = "data-file-schema.xml"
# A grid with more points per plane wave is refused before memory is asked for it: the box around the sphere of waves
# has 4 times their number of points in a cubic cell, and more in a skew one.
POINTS_PER_WAVE = 64


def looks_like(head: bytes) -> bool:
    """Whether the first bytes of a file are of a charge-density.dat: a Fortran record of three integers."""
    return len(head) >= 20 and head[:4] == head[16:20] == b"\x0c\0\0\0"


def parse(data: Text, name: str) -> Density:
    """The density in a charge-density.dat, in e/Å^3 on the FFT grid of its run.

    The file and its XML must lie uncompressed in one folder, as pw.x leaves them.

    Raises
    ------
    FormatError : the file is damaged, or the XML is missing or belongs to another run.
    """
    path = Path(name)
    if not (path.with_name(XML).is_file() and path.is_file()):
        raise FormatError(f"{name} needs {XML} of the same run in its folder: copy the whole .save folder")
    waves = _check_records(data, name)
    crystal, shape, nelect = read_xml(path.with_name(XML))
    _check_shape(shape, waves, name)
    values, magnetization = read_charge_density(path, shape)
    return _density(crystal, values, magnetization, nelect, name)


def parse_hdf5(data: Text, name: str) -> Density:
    """The density in a charge-density.hdf5, in e/Å^3; the XML of its run must lie in the same folder.

    The datasets are MillerIndices [waves, 3] and rhotot_g [2 * waves], real and imaginary parts in e/bohr^3; rhodiff_g
    of a collinear, m_x, m_y and m_z of a non-collinear run; the attribute is gamma_only (QE's Modules/io_base.f90).

    Raises
    ------
    FormatError : the file is damaged, or the XML is missing or belongs to another run.
    """
    xml = Path(name).with_name(XML)
    if not xml.is_file():
        raise FormatError(f"{name} needs {XML} of the same run in its folder: copy the whole .save folder")
    crystal, shape, nelect = read_xml(xml)
    with open_hdf5(data, name) as file:
        miller = file.read_array("MillerIndices", "iu").astype(np.int64).reshape(-1, 3)
        _check_shape(shape, len(miller), name)
        half = "T" in str(file.read_attribute("gamma_only")).upper()
        keys = ["rhotot_g", *(key for key in ("rhodiff_g", "m_x", "m_y", "m_z") if key in file)]
        waves = [file.read_array(key, "f").reshape(-1, 2) @ np.array([1.0, 1.0j]) for key in keys]
        if any(len(wave) != len(miller) for wave in waves) or len(keys) not in (1, 2, 4):
            raise FormatError(
                f"{name} has {len(miller)} waves and {[len(w) for w in waves]} coefficients: it is damaged"
            )
        grids = [_to_grid(wave, miller, shape, half) for wave in waves]
    spin = None if len(grids) == 1 else grids[1] if len(grids) == 2 else np.stack(grids[1:])
    return _density(crystal, grids[0], spin, nelect, name)


def _check_shape(shape: tuple[int, int, int], waves: int, name: str) -> None:
    points = shape[0] * shape[1] * shape[2]
    if min(shape) < 1 or points > min(MAX_POINTS, POINTS_PER_WAVE * (waves + 1000)):
        xml = Path(name).with_name(XML)
        raise FormatError(f"{xml} states a grid {shape} that does not fit {name}: take both of one run")


def _density(crystal: Crystal, values: Floats, spin: Floats | None, nelect: float, name: str) -> Density:
    if not np.isfinite(values).all() or (spin is not None and not np.isfinite(spin).all()):
        raise FormatError(f"{name} holds NaN or infinite values: the calculation failed, run it again")
    return Density(crystal, values, spin, None, {"nelect": nelect})


def read_charge_density(path: Path, shape: tuple[int, ...]) -> tuple[Floats, Floats | None]:
    """The density and the magnetization (None without spin) in a charge-density.dat, both [a, b, c] in e/Å^3.

    The file holds Fourier coefficients with their Miller indices, half of them where it says gamma_only.

    Parameters
    ----------
    path : the file.
    shape : the FFT grid of the run.

    Raises
    ------
    FormatError : the file is cut, non-collinear, or its coefficients do not fit the grid.
    """
    from scipy.io import FortranFile

    try:
        with FortranFile(path, "r") as file:
            gamma_only, count, spins = (int(n) for n in file.read_ints("i4"))
            file.read_reals("f8")  # reciprocal vectors
            miller = file.read_ints("i4").reshape(count, 3)
            coefficients = [file.read_record("c16") for _ in range(spins)]
        grids = [_to_grid(c, miller, shape, bool(gamma_only)) for c in coefficients]
    except (OSError, ValueError, TypeError, IndexError) as error:
        raise FormatError(f"{path} is not a complete charge-density.dat of Quantum ESPRESSO ({error})") from None
    if spins not in (1, 2):
        raise FormatError(f"{path} is of a non-collinear run ({spins} components), which is not read here")
    return grids[0], grids[1] if spins == 2 else None


def _to_grid(coefficients: NDArray, miller: NDArray, shape: tuple[int, ...], half: bool) -> Floats:
    if (2 * np.abs(miller).max(axis=0) >= np.array(shape)).any():
        raise ValueError(f"its Miller indices do not fit a grid {shape}")
    grid = np.zeros(shape, dtype=np.complex128)
    if half:
        grid[tuple(-miller.T)] = coefficients.conj()
    grid[tuple(miller.T)] = coefficients
    return np.ascontiguousarray(np.fft.ifftn(grid, norm="forward").real) / BOHR**3


def _check_records(data: Text, name: str) -> int:
    """The number of plane waves; FormatError where the length of a record is not what the header says."""
    try:
        gamma_only, waves, spins = struct.unpack_from("<3i", data, 4)
        position = 0
        sizes: list[int] = []
        while position < len(data):
            (size,) = struct.unpack_from("<i", data, position)
            (again,) = struct.unpack_from("<i", data, position + 4 + size) if size >= 0 else (-1,)
            if size != again:
                raise ValueError(f"record {len(sizes) + 1} is damaged")
            sizes.append(size)
            position += size + 8
        if gamma_only not in (0, 1) or sizes != [12, 72, 12 * waves, *[16 * waves] * spins]:
            raise ValueError("its records are not those of its header")
    except (struct.error, ValueError) as error:
        raise FormatError(f"{name} is a cut or damaged charge-density.dat ({error}): copy it again") from error
    return int(waves)


def read_xml(path: Path) -> tuple[Crystal, tuple[int, int, int], float]:
    """The crystal, the FFT grid [3] and the number of electrons in the data-file-schema.xml of a run.

    Raises
    ------
    FormatError : the file is missing or is not the XML of a finished run.
    """
    try:
        output = ElementTree.parse(path).getroot().find("output")
        structure = output.find("atomic_structure")  # type: ignore[union-attr]
        cell = [structure.find(f"cell/{a}").text.split() for a in ("a1", "a2", "a3")]  # type: ignore[union-attr]
        lattice = np.array(cell, dtype=np.float64) * BOHR
        atoms = structure.findall("atomic_positions/atom")  # type: ignore[union-attr]
        positions = np.array([a.text.split() for a in atoms], dtype=np.float64) * BOHR  # type: ignore[union-attr]
        numbers = [element_of_label(a.attrib["name"]) for a in atoms]
        grid = output.find("basis_set/fft_grid").attrib  # type: ignore[union-attr]
        shape = (int(grid["nr1"]), int(grid["nr2"]), int(grid["nr3"]))
        nelect = float(output.find("band_structure/nelec").text)  # type: ignore[union-attr,arg-type]
        crystal = Crystal(lattice, np.array(numbers), positions @ np.asarray(np.linalg.inv(lattice), np.float64))
    except (ElementTree.ParseError, OSError, AttributeError, KeyError, ValueError) as error:
        raise FormatError(f"{path} is not the XML of a finished pw.x run ({error}): copy it again") from error
    return crystal, shape, nelect
