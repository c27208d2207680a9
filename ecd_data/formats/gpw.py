"""GPAW's .gpw: the smooth pseudo density of a restart file, read through ase without GPAW."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from ecd_data.crystal import Crystal, Floats
from ecd_data.density import Density
from ecd_data.errors import FormatError, MissingDependencyError
from ecd_data.io.file_bytes import Text

MAGIC = b"- of Ulm"
DAMAGE_ERRORS = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    RuntimeError,
)


def looks_like(head: bytes) -> bool:
    """Whether the first bytes of a file are of an ulm container, of which .gpw is one kind."""
    return head.startswith(MAGIC)


def parse(data: Text, name: str) -> Density:
    """The pseudo density in a .gpw, in e/Å^3; meta["kind"] is "pseudo".

    It lacks the compensation charges of the atoms and does not integrate to the electrons of the crystal; what
    `calc.get_pseudo_density()` of GPAW 26 gives, written as a cube, does. Along axes without periodicity GPAW leaves
    out the boundary points, where the density is 0; they are added.

    Raises
    ------
    FormatError : the file is damaged or holds no density.
    MissingDependencyError : ase is not installed.
    """
    try:
        from ase.io.ulm import Reader
    except ImportError as error:
        raise MissingDependencyError(f"{name} is a file of GPAW: pip install 'ecd-data[ase]' to read it") from error
    try:
        reader = Reader(io.BytesIO(data[:]))
        if "atoms" not in reader or "density" not in reader:
            raise FormatError(f"{name} holds no density: give the .gpw that calc.write('x.gpw') makes")
        crystal = _read_crystal(reader.atoms)
        spins = np.asarray(reader.density.density, dtype=np.float64)
        meta = {"kind": "pseudo", "provenance": {"engine": "GPAW"}, **_read_functional(reader)}
    except FormatError:
        raise
    except DAMAGE_ERRORS as error:
        reason = " ".join(str(error).split())[:120]
        raise FormatError(f"{name} is a damaged or cut .gpw ({reason}): copy it again") from error
    if spins.ndim != 4 or len(spins) not in (1, 2, 4) or 0 in spins.shape or not np.isfinite(spins).all():
        raise FormatError(f"{name} has a density of shape {spins.shape} or one that is not finite: it is damaged")
    grids = [_add_boundary(grid, crystal.pbc) for grid in spins]
    if len(grids) == 1:
        return Density(crystal, grids[0], meta=meta)
    if len(grids) == 2:
        return Density(crystal, grids[0] + grids[1], grids[0] - grids[1], meta=meta)
    return Density(crystal, grids[0], np.stack(grids[1:]), meta=meta)


def _read_crystal(atoms: Any) -> Crystal:
    cell = np.asarray(atoms.cell, dtype=np.float64).reshape(3, 3)
    positions = np.asarray(atoms.positions, dtype=np.float64).reshape(-1, 3)
    a, b, c = (bool(p) for p in (atoms.pbc if "pbc" in atoms else [True] * 3))
    return Crystal(cell, np.asarray(atoms.numbers), positions @ np.linalg.inv(cell), (a, b, c))


def _read_functional(reader: Any) -> dict[str, Any]:
    """The functional under GPAW's name for it, which a file holds as a word or in a record."""
    parameters: Any = reader.get("parameters") if "parameters" in reader else {}
    xc: Any = parameters.get("xc") if hasattr(parameters, "get") else None
    xc = xc.get("name") if hasattr(xc, "get") else xc
    return {"functional": xc} if isinstance(xc, str) else {}


def _add_boundary(grid: Floats, pbc: tuple[bool, bool, bool]) -> Floats:
    return np.pad(grid, [(0 if periodic else 1, 0) for periodic in pbc])
