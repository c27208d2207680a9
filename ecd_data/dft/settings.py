"""What to compute: crystals with their cutoffs and meshes, given in a record or chosen by default."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ecd_data.crystal import Crystal
from ecd_data.errors import UsageError

FUNCTIONALS = {"pbe": "PBE", "hse": "HSE06"}
K_SPACING = 0.04  # 1/Å without 2 pi, as in the ECD data
START_MAGNETIZATION = 0.4
MAGNETIC = {"Cr", "Mn", "Fe", "Co", "Ni"}
DEFAULT_ECUTWFC = 100.0
# Ry; converged for PseudoDojo 0.5 standard in the crystals of the sample and more like them
ECUTWFC = {
    "H": 74, "Li": 74, "Be": 88, "B": 76, "C": 82, "N": 84, "O": 84, "F": 84, "Na": 88, "Mg": 84, "Al": 40,
    "Si": 40, "P": 44, "S": 52, "Cl": 58, "K": 74, "Ca": 68, "Sc": 84, "Ti": 84, "V": 84, "Fe": 90, "Co": 96,
    "Ni": 98, "Cu": 92, "Zn": 84, "Ga": 80, "Ge": 78, "As": 84, "Se": 86, "Br": 76, "Rb": 58, "Sr": 84, "Zr": 66,
    "Nb": 82, "Mo": 80, "Pd": 82, "Ag": 82, "Cd": 102, "In": 70, "Sn": 72, "Sb": 80, "Te": 102, "I": 82,
    "Cs": 58, "Ba": 52, "La": 110, "Hf": 84, "Ta": 84, "W": 74, "Au": 76, "Pb": 56,
}  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """What a density depends on besides the crystal and the pseudopotentials; everything is stored with it.

    functional: "PBE" or "HSE06"; ecutwfc, degauss and conv_thr in Ry; kmesh and qmesh Gamma-centred;
    start_magnetization as a fraction of the valence electrons of each atom, 0 for no spin; smearing: cold smearing
    for metals, fixed occupations otherwise; symmetry: use the symmetries of the crystal.
    """

    functional: str
    ecutwfc: float
    kmesh: tuple[int, ...]
    qmesh: tuple[int, ...] | None = None
    smearing: bool = False
    start_magnetization: float = 0.0
    symmetry: bool = True
    degauss: float = 0.01
    conv_thr: float = 1e-9
    max_steps: int = 120

    def as_meta(self) -> dict[str, Any]:
        """The settings as JSON-able values, named with their units."""
        return {
            "ecutwfc_Ry": self.ecutwfc,
            "ecutrho_Ry": 4 * self.ecutwfc,
            "ecutfock_Ry": self.ecutwfc if self.qmesh else None,
            "kmesh": list(self.kmesh),
            "qmesh": list(self.qmesh) if self.qmesh else None,
            "smearing": "cold" if self.smearing else None,
            "degauss_Ry": self.degauss if self.smearing else None,
            "start_magnetization": self.start_magnetization,
            "symmetry": self.symmetry,
            "conv_thr_Ry": self.conv_thr,
        }


@dataclass(frozen=True)
class Job:
    """One density to compute: the id in the store, the crystal, its settings, and facts to keep with the result."""

    id: str
    crystal: Crystal
    settings: Settings
    provenance: Mapping[str, Any] = field(default_factory=dict)


def make_jobs(crystals: Any, functional: str) -> list[Job]:
    """The jobs of a mapping from id to record or Crystal, of a JSON file of records, or of structure files.

    A record has lattice, numbers and frac_coords and may have ecutwfc_Ry, kmesh, qmesh_hse, metal,
    start_magnetisation, symmetry, prototype and parent; what it lacks is chosen as `default_settings` does.
    Raises UsageError for an unknown functional, an unreadable file, an impossible id, or two structures of one id.
    """
    from ecd_data.store.packing import VALID_ID

    if functional not in FUNCTIONALS:
        raise UsageError(f"the functional {functional!r} is not known here: give pbe or hse")
    if isinstance(crystals, str | Path):
        crystals = [crystals]
    named = crystals if isinstance(crystals, Mapping) else _read_files(crystals)
    for name in named:
        if not VALID_ID.fullmatch(str(name)):  # it becomes a folder
            raise UsageError(f"{name!r} cannot be an id: it needs at least one character and no slash or line break")
    return [_job(str(name), item, functional) for name, item in named.items()]


def _job(name: str, item: Crystal | Mapping[str, Any], functional: str) -> Job:
    if isinstance(item, Crystal):
        return Job(name, item, default_settings(item, functional))
    try:
        crystal = Crystal(item["lattice"], item["numbers"], item["frac_coords"])
        settings = _record_settings(crystal, item, functional)
    except (KeyError, ValueError, TypeError) as error:
        raise UsageError(f"{name} is not a crystal record ({error!r}): give lattice, numbers, frac_coords") from None
    return Job(name, crystal, settings, {k: item[k] for k in ("prototype", "parent", "seed") if k in item})


def _record_settings(crystal: Crystal, record: Mapping[str, Any], functional: str) -> Settings:
    base = default_settings(crystal, functional)
    hybrid = base.qmesh is not None
    qmesh = tuple(record.get("qmesh_hse", base.qmesh)) if hybrid else None
    return Settings(
        functional=base.functional,
        ecutwfc=float(record.get("ecutwfc_Ry", base.ecutwfc)),
        kmesh=qmesh or tuple(record.get("kmesh", base.kmesh)),
        qmesh=qmesh,
        smearing=bool(record.get("metal", base.smearing)),
        start_magnetization=float(record.get("start_magnetisation", base.start_magnetization)),
        symmetry=bool(record.get("symmetry", True)),
        conv_thr=base.conv_thr,
    )


def default_settings(crystal: Crystal, functional: str) -> Settings:
    """Settings for a crystal about which nothing else is known; it is smeared, as it may be a metal.

    The k mesh of PBE has a spacing of 2 pi 0.04 / Å; HSE06 uses one mesh for k and q, max(3, round(2 |b|)) points.
    """
    symbols = crystal.elements
    reciprocal = np.linalg.norm(np.linalg.inv(crystal.lattice).T, axis=1)
    kmesh = tuple(max(1, int(np.ceil(b / K_SPACING - 1e-6))) for b in reciprocal)
    qmesh = tuple(max(3, round(4 * np.pi * b)) for b in reciprocal) if functional == "hse" else None
    return Settings(
        functional=FUNCTIONALS[functional],
        ecutwfc=float(max(ECUTWFC.get(s, DEFAULT_ECUTWFC) for s in symbols)),
        kmesh=qmesh or kmesh,
        qmesh=qmesh,
        smearing=True,
        start_magnetization=START_MAGNETIZATION if MAGNETIC & set(symbols) else 0.0,
        # a hybrid converges within every exchange loop: at 1e-7 silicon is within eps_mae 2e-6 of its density at 1e-9
        conv_thr=1e-7 if qmesh else 1e-9,
    )


def _read_files(paths: Iterable[str | Path]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for path in map(Path, paths):
        found = _read_json(path) if path.suffix == ".json" else {_name(path): _read_structure(path)}
        twice = named.keys() & found.keys()
        if twice:
            raise UsageError(f"two structures are called {min(twice)}: rename one of the files")
        named |= found
    return named


def _name(path: Path) -> str:
    bare = path.name in ("POSCAR", "CONTCAR")
    return path.absolute().parent.name if bare else path.stem


def _read_json(path: Path) -> dict[str, Any]:
    try:
        records = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read as JSON ({error})") from None
    if not isinstance(records, dict):
        raise UsageError(f"{path} is not an object of crystal records by id")
    return records


def _read_structure(path: Path) -> Crystal:
    from pymatgen.core import Structure

    if not path.is_file():
        raise UsageError(f"{path} does not exist: give a CIF, a POSCAR or a JSON file of records")
    try:
        return Crystal.from_pymatgen(Structure.from_file(path))
    except Exception as error:  # every parser has its own
        raise UsageError(f"{path} cannot be read as a structure ({error}): give a CIF or POSCAR") from None
