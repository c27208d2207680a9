"""The settings of a calculation, and the jobs: crystals with cutoffs and meshes from a record or by default."""

from __future__ import annotations

import difflib
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from ecd_data.crystal import Crystal
from ecd_data.dft.crystal_records import read_record
from ecd_data.dft.open_shells import list_magnetic_elements
from ecd_data.dft.vasp_inputs import DENSE, MEDIUM, mesh
from ecd_data.errors import EcdError, UsageError

FUNCTIONALS = {"pbe": "PBE", "hse": "HSE06"}
START_MAGNETIZATION = 0.4  # of the valence electrons of each atom, where spin is on
# Facts of a record that are stored with its density
RECORD_SETTINGS = (
    "ecutwfc_Ry",
    "kmesh",
    "qmesh_hse",
    "metal",
    "smearing",
    "start_magnetisation",
    "magnetic_elements",
    "symmetry",
)
RECORD_FACTS = ("prototype", "parent", "seed", "source", "relaxation")
DEFAULT_ECUTWFC = 100.0  # Ry; for elements that are not in the table
# Cutoff in Ry by element. PseudoDojo's "normal" hint of its standard set, or more where the sample's crystals want it
ECUTWFC = {
    "H": 74, "Li": 74, "Be": 88, "B": 76, "C": 82, "N": 84, "O": 84, "F": 84, "Na": 88, "Mg": 84, "Al": 40,
    "Si": 40, "P": 44, "S": 52, "Cl": 58, "K": 74, "Ca": 68, "Sc": 84, "Ti": 84, "V": 84, "Fe": 90, "Co": 96,
    "Ni": 98, "Cu": 92, "Zn": 84, "Ga": 80, "Ge": 78, "As": 84, "Se": 86, "Br": 76, "Rb": 58, "Sr": 84, "Zr": 66,
    "Nb": 82, "Mo": 80, "Pd": 82, "Ag": 82, "Cd": 102, "In": 70, "Sn": 72, "Sb": 80, "Te": 102, "I": 82,
    "Cs": 58, "Ba": 52, "La": 110, "Hf": 84, "Ta": 84, "W": 74, "Au": 76, "Pb": 56,
    "He": 90, "Ne": 68, "Ar": 66, "Cr": 94, "Mn": 96, "Kr": 52, "Y": 72, "Tc": 84, "Ru": 84, "Rh": 88, "Xe": 68,
    "Lu": 100, "Re": 72, "Os": 74, "Ir": 68, "Pt": 84, "Hg": 66, "Tl": 62, "Bi": 66, "Po": 64, "Rn": 72,
}  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """The settings that determine a density, besides the crystal and the pseudopotentials; they are stored with it.

    Attributes
    ----------
    functional : "PBE" or "HSE06".
    ecutwfc, degauss, conv_thr : cutoff of the plane waves, width of the smearing and convergence threshold, in Ry.
    kmesh, qmesh : Gamma-centred meshes of k points, and of q points for the exchange of HSE06.
    smearing : cold smearing, for metals; else fixed occupations.
    start_magnetization : fraction of the valence electrons of each atom, one for all or one for each; 0 for no spin.
    symmetry : use the symmetries of the crystal.
    max_steps, mixing_beta, mixing_mode : of the self-consistent calculation, as in pw.x.
    hubbard_u : pairs of element and U in eV.
    coarse_kmesh : the mesh to try if nothing else makes the calculation converge.
    forces : compute forces and stress too.
    first_threshold : of a run from a density: how well its first step solves for orbitals, in Ry; None for pw.x's own
        1e-5, and for 1e-8 of levels in a fixed density.
    """

    functional: str
    ecutwfc: float
    kmesh: tuple[int, ...]
    qmesh: tuple[int, ...] | None = None
    smearing: bool = False
    start_magnetization: float | tuple[float, ...] = 0.0
    symmetry: bool = True
    degauss: float = 0.01
    conv_thr: float = 1e-9
    max_steps: int = 120
    mixing_beta: float = 0.7
    mixing_mode: str = "plain"
    hubbard_u: tuple[tuple[str, float], ...] = ()
    coarse_kmesh: tuple[int, ...] | None = None
    forces: bool = False
    first_threshold: float | None = None

    @property
    def label(self) -> str:
        """The functional, with "+U" after it if a U acts."""
        return self.functional + ("+U" if self.hubbard_u else "")

    def start_magnetizations(self, atoms: int) -> tuple[float, ...]:
        """The start_magnetization of each of so many atoms."""
        start = self.start_magnetization
        return start if isinstance(start, tuple) else (start,) * atoms

    def as_meta(self) -> dict[str, Any]:
        """The settings as a dictionary for JSON, with units in the names."""
        return {
            "ecutwfc_Ry": self.ecutwfc,
            "ecutrho_Ry": 4 * self.ecutwfc,
            "ecutfock_Ry": self.ecutwfc if self.qmesh else None,
            "kmesh": list(self.kmesh),
            "qmesh": list(self.qmesh) if self.qmesh else None,
            "smearing": "cold" if self.smearing else None,
            "degauss_Ry": self.degauss if self.smearing else None,
            "start_magnetization": list(start) if isinstance(start := self.start_magnetization, tuple) else start,
            "symmetry": self.symmetry,
            "conv_thr_Ry": self.conv_thr,
            "mixing_beta": self.mixing_beta,
            "mixing_mode": self.mixing_mode,
            "hubbard_u_eV": dict(self.hubbard_u),
        }


@dataclass(frozen=True)
class Job:
    """One density to compute: the id in the store, the crystal, its settings, and facts to store with the result.

    qmesh_hse: the mesh that its record gives for HSE06; the record of a relaxed crystal keeps it.
    """

    id: str
    crystal: Crystal
    settings: Settings
    provenance: Mapping[str, Any] = field(default_factory=dict)
    qmesh_hse: tuple[int, ...] | None = None


def make_jobs(crystals: Any, functional: str, kspacing: float = DENSE) -> list[Job]:
    """The jobs for some crystals.

    Parameters
    ----------
    crystals : a mapping from id to record or Crystal; or paths: JSON files of records, structures, folders of
        structures. A record has lattice, numbers and frac_coords, and may have ecutwfc_Ry, kmesh, qmesh_hse, metal,
        smearing (by default of metals), start_magnetisation, magnetic_elements, symmetry, prototype, parent, seed,
        source and relaxation; `default_settings` gives the others.
    functional : "pbe" or "hse".
    kspacing : spacing of the k mesh in 2 pi / Å, for crystals without a mesh of their own.

    Raises
    ------
    UsageError : the functional or an id is impossible, a file cannot be read, two structures have one id, or a crystal
        cannot be computed, such as one with partial occupancies or atoms on top of each other.
    """
    jobs, failed = make_usable_jobs(crystals, functional, kspacing)
    if failed:
        raise UsageError(next(iter(failed.values())))
    return jobs


def make_usable_jobs(crystals: Any, functional: str, kspacing: float = DENSE) -> tuple[list[Job], dict[str, str]]:
    """The jobs of `make_jobs`, and the reasons by id or file for the crystals that cannot be computed."""
    from ecd_data.store.packing import refuse_id

    if functional not in FUNCTIONALS:
        raise UsageError(f"there is no functional {functional!r}: give pbe or hse")
    if not 0 < kspacing < 1:
        raise UsageError(f"kspacing lies between 0 and 1 (in 2 pi / Å), such as 0.02, not {kspacing}")
    if isinstance(crystals, str | Path):
        crystals = [crystals]
    named, failed = (crystals, {}) if isinstance(crystals, Mapping) else _read_files(crystals)
    jobs = []
    for name, item in named.items():
        refuse_id(str(name))  # the id becomes the name of a folder
        try:
            jobs.append(_make_job(str(name), item, functional, kspacing))
        except EcdError as error:
            failed[str(name)] = str(error)
    return jobs, failed


def _make_job(name: str, item: Crystal | Mapping[str, Any], functional: str, kspacing: float) -> Job:
    from ecd_data.formats.structure import MIN_DISTANCE, closest_pair

    if isinstance(item, Crystal):
        job = Job(name, item, default_settings(item, functional, kspacing))
    else:
        try:
            crystal = read_record(item)
            settings = _record_settings(crystal, item, functional, kspacing)
            qmesh = _read_mesh(item["qmesh_hse"], "qmesh_hse") if item.get("qmesh_hse") is not None else None
        except (EcdError, ValueError) as error:
            raise UsageError(f"{name}: {error}") from None
        job = Job(name, crystal, settings, {k: item[k] for k in RECORD_FACTS if k in item}, qmesh)
    if not len(job.crystal):
        raise UsageError(f"{name} has no atoms")
    pair = closest_pair(job.crystal)
    if pair is not None and pair[2] < MIN_DISTANCE:
        i, j, distance = pair
        atoms = f"{job.crystal.symbols[i]}{i + 1} and {job.crystal.symbols[j]}{j + 1}"
        raise UsageError(f"{name}: {atoms} lie on top of each other ({distance:.2f} Å): repair the structure")
    return job


def _record_settings(crystal: Crystal, record: Mapping[str, Any], functional: str, kspacing: float) -> Settings:
    _refuse_misspelt_settings(record)
    base = default_settings(crystal, functional, kspacing)
    hybrid = base.qmesh is not None
    qmesh = _read_mesh(record.get("qmesh_hse", base.qmesh), "qmesh_hse") if hybrid else None
    return Settings(
        functional=base.functional,
        ecutwfc=_read_cutoff(record.get("ecutwfc_Ry", base.ecutwfc)),
        kmesh=qmesh or _read_mesh(record.get("kmesh", base.kmesh), "kmesh"),
        qmesh=qmesh,
        smearing=_read_switch(record, "smearing", _read_switch(record, "metal", base.smearing)),
        start_magnetization=_choose_record_starts(crystal, record, base),
        symmetry=_read_switch(record, "symmetry", True),
        conv_thr=base.conv_thr,
        coarse_kmesh=None if "kmesh" in record else base.coarse_kmesh,
    )


def _refuse_misspelt_settings(record: Mapping[str, Any]) -> None:
    """Raise UsageError for a key that is no setting and nearly the name of one; other keys are facts of the user's."""
    for key in record.keys() - set(RECORD_SETTINGS) - set(RECORD_FACTS):
        for meant in difflib.get_close_matches(key, RECORD_SETTINGS, n=1, cutoff=0.8):
            raise UsageError(f"a crystal record has {key!r}: did you mean {meant!r}?")


def _read_mesh(mesh: Any, name: str) -> tuple[int, ...]:
    """Three numbers of points; raises UsageError for anything else."""
    counts = list(mesh) if isinstance(mesh, list | tuple | np.ndarray) else []
    if len(counts) != 3 or not all(_is_number(n) and int(n) == n and n >= 1 for n in counts):
        raise UsageError(f"{name} must be three whole numbers of points, not {mesh}")
    return tuple(int(n) for n in counts)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _read_cutoff(value: Any) -> float:
    if not _is_number(value) or value <= 0:
        raise UsageError(f"ecutwfc_Ry must be a positive number of Ry, not {value!r}")
    return float(value)


def _read_switch(record: Mapping[str, Any], name: str, default: bool) -> bool:
    """True or false; raises UsageError for anything else, such as "no", which Python would take for true."""
    value = record.get(name, default)
    if value not in (True, False):
        raise UsageError(f"{name} must be true or false, not {value!r}")
    return bool(value)


def _choose_record_starts(crystal: Crystal, record: Mapping[str, Any], base: Settings) -> float | tuple[float, ...]:
    """The start_magnetization of a record: one number is that of its magnetic elements, or of all if it has none."""
    value = record.get("start_magnetisation")
    if value is None:
        return base.start_magnetization
    if isinstance(value, list | tuple):
        return read_start_magnetization(value, len(crystal))
    if not _is_number(value):
        raise UsageError(f"start_magnetisation must be a number, or one for each atom, not {value!r}")
    return _start_with_elements(crystal, float(value), record.get("magnetic_elements"))


def _start_with_elements(
    crystal: Crystal, start: float, elements: Iterable[str] | None = None
) -> float | tuple[float, ...]:
    """The start_magnetization of the atoms of these elements, by default of `list_magnetic_elements`; 0 of the others.

    All atoms start with it where none of these elements is present.
    """
    magnetic = list_magnetic_elements(Counter(crystal.symbols)) if elements is None else list(elements)
    starts = [start * (symbol in magnetic) for symbol in crystal.symbols]
    return read_start_magnetization(starts if any(starts) else start, len(crystal))


def read_start_magnetization(value: Any, atoms: int) -> float | tuple[float, ...]:
    """The start_magnetization of a record, one number or one for each atom, which is one number if all are the same.

    Raises ValueError if there is another number of numbers.
    """
    if not isinstance(value, list | tuple):
        return float(value)
    if len(value) != atoms:
        raise ValueError(f"start_magnetisation has {len(value)} numbers for {atoms} atoms")
    if not all(map(_is_number, value)):
        raise ValueError(f"start_magnetisation must be a number for each atom, not {value!r}")
    values = tuple(float(one) for one in value)
    return values[0] if len(set(values)) == 1 else values


def default_settings(crystal: Crystal, functional: str, kspacing: float = DENSE) -> Settings:
    """The Settings for a crystal without any of its own; it gets smearing, since it may be a metal.

    Spin is on for the crystals of `list_magnetic_elements`, whose atoms of these elements start with a moment.

    The k mesh of PBE has a spacing of 2 pi 0.02 / Å as in the paper, and 0.04 if that does not converge. HSE06 has one
    mesh for k and q, max(3, round(2 |b|)) points along each axis, |b| being the length of the reciprocal vector in 1/Å.
    """
    start = START_MAGNETIZATION if list_magnetic_elements(Counter(crystal.symbols)) else 0.0
    kmesh, medium = mesh(crystal, kspacing), mesh(crystal, MEDIUM)
    reciprocal = np.linalg.norm(np.linalg.inv(crystal.lattice).T, axis=1)
    qmesh = tuple(max(3, round(4 * np.pi * b)) for b in reciprocal) if functional == "hse" else None
    return Settings(
        functional=FUNCTIONALS[functional],
        ecutwfc=float(max(ECUTWFC.get(s, DEFAULT_ECUTWFC) for s in crystal.elements)),
        kmesh=qmesh or kmesh,
        qmesh=qmesh,
        smearing=True,
        start_magnetization=_start_with_elements(crystal, start),
        # a hybrid converges within every exchange loop: at 1e-7 silicon is within eps_mae 2e-6 of its density at 1e-9
        conv_thr=1e-7 if qmesh else 1e-9,
        coarse_kmesh=medium if qmesh is None and kspacing < MEDIUM and medium != kmesh else None,
    )


def apply_choices(
    job: Job,
    *,
    spin: bool | None = None,
    smearing: bool | None = None,
    hubbard_u: Mapping[str, float] | None = None,
    forces: bool = False,
) -> Job:
    """The job with the settings that the user chose for all crystals; None keeps its own. HSE06 never gets a U."""
    settings = replace(job.settings, forces=forces)
    if spin is not None:
        start = settings.start_magnetization or START_MAGNETIZATION
        settings = replace(settings, start_magnetization=start if spin else 0.0, smearing=spin or settings.smearing)
    if smearing is not None:
        if settings.start_magnetization and not smearing:
            raise UsageError(
                f"{job.id} is spin-polarised and its moment is not known before the run: take smearing, or no spin"
            )
        settings = replace(settings, smearing=smearing)
    if hubbard_u and settings.qmesh is None:
        here = tuple((s, float(hubbard_u[s])) for s in job.crystal.elements if hubbard_u.get(s))
        settings = replace(settings, hubbard_u=here)
    return replace(job, settings=settings)


def _read_files(paths: Iterable[str | Path]) -> tuple[dict[str, Any], dict[str, str]]:
    """Records and crystals by id, and the reasons by file for those that cannot be used."""
    from ecd_data.formats.structure_files import read_structures

    records: dict[str, Any] = {}
    files: list[Path] = []
    for path in map(Path, paths):
        found = _read_records(path) if path.suffix == ".json" and not path.is_dir() else None
        if found is None:
            files.append(path)
            continue
        _refuse_twice(records.keys() & found.keys())
        records |= found
    taken = read_structures(files) if files else None
    if taken is None:
        return records, {}
    _refuse_twice(records.keys() & taken.crystals.keys())
    return records | taken.crystals, {str(file): reason for file, reason in taken.failed.items()}


def _refuse_twice(names: set[str]) -> None:
    if names:
        raise UsageError(f"two structures are called {min(names)}: rename one of them")


def _read_records(path: Path) -> dict[str, Any] | None:
    """The records of a JSON file; None if it holds a structure of pymatgen."""
    try:
        records = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read as JSON ({error}): give a file of crystal records by id") from None
    if not isinstance(records, dict):
        raise UsageError(f"{path} is not an object of crystal records by id: write records as in docs/dft.md")
    if "@class" in records:
        return None
    if {"lattice", "numbers"} <= records.keys():
        raise UsageError(f"{path} is a crystal record without its id: write {{ID: RECORD}}, as in docs/dft.md")
    return records
