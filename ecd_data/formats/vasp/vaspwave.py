"""VASP's vaspwave.h5, which holds the density, magnetization and augmentation of a CHGCAR as HDF5.

The layout is that of pymatgen's Vaspwave: /charge/grid, /charge/charge [components, c, b, a] of rho * V,
/charge/aug_occupancies_sNN and /structure/positions; or the structure is in the vaspout.h5 of the same folder.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecd_data.crystal import Crystal
from ecd_data.density import Density
from ecd_data.errors import FormatError
from ecd_data.formats.hdf5 import Hdf5, open_hdf5
from ecd_data.formats.labels import element_of_label
from ecd_data.formats.vasp.header import scale_factor
from ecd_data.formats.vasp.occupancies import format_atom
from ecd_data.io.compression import read_bytes
from ecd_data.io.file_bytes import Text, count_grid_points

STRUCTURES = ("structure/positions", "locpot/position", "results/positions", "input/poscar")
CHARGE = "charge/charge"
VASPOUT = "vaspout.h5"


def parse(data: Text, name: str) -> Density:
    """The density in a vaspwave.h5, in e/Å^3.

    Raises
    ------
    FormatError : the file is damaged or holds no charge, or neither it nor a vaspout.h5 next to it holds the structure.
    """
    with open_hdf5(data, name) as file:
        if CHARGE not in file:
            raise FormatError(f"{name} holds no charge density: run VASP with LCHARG = .TRUE. and LH5 = .TRUE.")
        crystal = _read_structure(file) or _read_vaspout_structure(name)
        grid = tuple(int(n) for n in file.read_array("charge/grid", "iu").ravel())
        blocks = file.read_array(CHARGE, "f")
        if len(grid) != 3 or blocks.ndim != 4 or blocks.shape[1:] != grid[::-1] or len(blocks) not in (1, 2, 4):
            raise FormatError(f"{name} has a charge of shape {blocks.shape} on a grid {grid}: it is damaged")
        count_grid_points(grid, 2 * len(data), name)
        augmentation = _read_augmentation(file, len(blocks), len(crystal))
    if not np.isfinite(blocks).all():
        raise FormatError(f"{name} holds NaN or infinite values: the calculation failed, run it again")
    grids = [block.T / crystal.volume for block in blocks]
    spin = None if len(grids) == 1 else grids[1] if len(grids) == 2 else np.stack(grids[1:])
    return Density(crystal, grids[0], spin, augmentation)


def _read_structure(file: Hdf5) -> Crystal | None:
    for group in STRUCTURES:
        if f"{group}/lattice_vectors" not in file:
            continue
        lattice = file.read_array(f"{group}/lattice_vectors").reshape(3, 3)
        if f"{group}/scale" in file:
            lattice = lattice * scale_factor(file.read_array(f"{group}/scale").ravel().tolist(), lattice)
        elements = [_parse_element(word) for word in file.read_array(f"{group}/ion_types", "SO").ravel()]
        counts = file.read_array(f"{group}/number_ion_types", "iu").ravel()
        positions = file.read_array(f"{group}/position_ions")
        if len(elements) != len(counts) or (counts < 0).any() or counts.sum() != len(positions):
            raise FormatError(f"{file.name} has {len(positions)} positions for {counts.sum()} ions: it is damaged")
        direct = f"{group}/direct_coordinates"
        if direct in file and int(file.read_scalar(direct, "iub")) != 1:
            positions = positions @ np.linalg.inv(lattice)
        return Crystal(lattice, np.repeat(elements, counts), positions)
    return None


def _read_vaspout_structure(name: str) -> Crystal:
    vaspout = Path(name).with_name(VASPOUT)
    if vaspout.is_file():
        with open_hdf5(read_bytes(vaspout), str(vaspout)) as file:
            crystal = _read_structure(file)
        if crystal is not None:
            return crystal
    raise FormatError(f"{name} holds no structure: put the {VASPOUT} of the same run beside it")


def _parse_element(word: bytes | str) -> int:
    return element_of_label(word.decode() if isinstance(word, bytes) else str(word))


def _read_augmentation(file: Hdf5, blocks: int, natoms: int) -> tuple[str, ...] | None:
    """The text of the occupancies after each grid of a CHGCAR; None where there are none."""
    tails = []
    for block in range(1, blocks + 1):
        lengths_path, values_path = (f"charge/aug_occupancies_{kind}s{block:02d}" for kind in ("ions_", ""))
        if lengths_path not in file or values_path not in file:
            return None
        lengths: NDArray[np.int64] = file.read_array(lengths_path, "fiu").astype(np.int64).ravel()
        values = file.read_array(values_path, "f")
        if values.ndim != 2 or not natoms == len(lengths) == len(values) or (lengths > values.shape[1]).any():
            raise FormatError(f"{file.name} has augmentation occupancies that do not fit its atoms: it is damaged")
        rows = zip(range(1, natoms + 1), lengths, values, strict=True)
        tails.append("".join(format_atom(atom, row[:length]) for atom, length, row in rows if length > 0))
    return tuple(tails) if any(tails) else None
