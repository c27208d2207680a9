"""What energies and forces a given density gives without a self-consistency: `ecd scf energies`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ecd_data.crystal import Floats
from ecd_data.density_error import eps_mae
from ecd_data.dft.espresso_output import read_result
from ecd_data.dft.pseudopotentials import load_pseudopotentials
from ecd_data.dft.settings import Job
from ecd_data.errors import EcdError, UsageError
from ecd_models.scf.bench import ATOMS, ORACLE, Bench
from ecd_models.scf.crystal_loop import Report, ShowProgress, load_espresso, run_crystals
from ecd_models.scf.fixed_density import find_forces, find_levels
from ecd_models.scf.scf_runs import Start
from ecd_models.scf.starts import MakeStart

CLOSED_SHELL = 8  # valence electrons: pseudopotentials with more hold a closed shell below, or d electrons
NO_FORCE = 1e-3  # eV/Å: converged forces below are zero by symmetry


@dataclass(frozen=True)
class EnergyError:
    """What the density of a start is off by: eps_mae, Harris's energy less the converged one in eV an atom, forces.

    force_error_eV_A: the largest component of the difference of the forces after one step from the converged ones,
    None where these are zero; force_eV_A: the largest component of the converged ones.
    """

    eps_mae: float
    energy_eV_atom: float
    force_error_eV_A: float | None
    cpu_seconds: float


@dataclass(frozen=True)
class CrystalEnergies:
    """The errors of each start for a crystal; metal: no gap with PBE; semicore: elements with a closed shell below."""

    id: str
    formula: str
    natoms: int
    metal: bool
    semicore: tuple[str, ...]
    force_eV_A: float
    errors: dict[str, EnergyError] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """The group of crystals that this one is averaged with."""
        if not self.metal:
            return "with a gap"
        return "metals with semicore states" if self.semicore else "metals without semicore states"

    def to_dict(self) -> dict[str, Any]:
        """The same for JSON."""
        return asdict(self)


def run_energies(
    jobs: Sequence[Job],
    starts: Mapping[str, MakeStart],
    *,
    pwx: str | Path | None = None,
    pseudo: str | Path | None = None,
    work: Path | None = None,
    show: ShowProgress | None = None,
) -> Report[CrystalEnergies]:
    """Errors of energy and forces of each job from superposed atoms, its converged density and each start's density.

    Parameters
    ----------
    starts : mapping
        By name what makes a density for a crystal's bench, such as `model_start` or `file_start`.
    work : Path, optional
        Keep the engine's files here; finished runs of the same input are read and not repeated.

    Raises
    ------
    UsageError : where a start has the name of another.
    MissingDependencyError : without pw.x.
    """
    if taken := sorted({ATOMS, ORACLE} & set(starts)):
        raise UsageError(f"{taken[0]!r} is run anyway: give the start another name")
    engine = load_espresso(pwx, pseudo)
    return run_crystals(engine, jobs, lambda bench: _measure_crystal(bench, starts), work=work, show=show)


def _measure_crystal(bench: Bench, starts: Mapping[str, MakeStart]) -> CrystalEnergies:
    crystal, energy = bench.job.crystal, bench.run_from_atoms().energy_eV
    assert energy is not None
    oracle = Start(ORACLE, bench.converged_density(), {"magnetization": None, "occupations": "converged"})
    forces = find_forces(bench, oracle)
    gap = read_result(bench.folder / ATOMS, bands_only=True).properties["gap_eV"]
    found = CrystalEnergies(
        bench.job.id,
        crystal.formula,
        len(crystal),
        gap == 0,
        find_semicore(bench),
        float(np.abs(forces).max()),
    )
    atoms = Start("superposed atoms", bench.superposed_atoms, {"magnetization": None})
    for name, make in {ATOMS: lambda _: atoms, ORACLE: lambda _: oracle, **starts}.items():
        try:
            found.errors[name] = _measure_start(bench, make(bench), energy, forces)
        except EcdError as error:
            found.failed[name] = str(error)
    return found


def _measure_start(bench: Bench, start: Start, energy: float, forces: Floats) -> EnergyError:
    converged = bench.converged_density()
    levels = find_levels(bench, start)
    assert levels.energy_eV is not None
    off = None
    if np.abs(forces).max() > NO_FORCE and start.name != ORACLE:
        off = float(np.abs(find_forces(bench, start) - forces).max())
    rho = start.rho if start.rho.shape == converged.shape else start.rho.resample(converged.shape)
    scaled = rho.values * (converged.nelect / rho.nelect)
    difference = (levels.energy_eV - energy) / len(bench.job.crystal)
    error = eps_mae(scaled, converged.values)
    return EnergyError(error, difference, off, levels.seconds("cpu"))


def find_semicore(bench: Bench) -> tuple[str, ...]:
    """The elements of a crystal whose pseudopotentials have more than 8 electrons."""
    pseudo = load_pseudopotentials(bench.engine.pseudo, bench.job.crystal.elements)
    return tuple(symbol for symbol, found in pseudo.items() if found.valence > CLOSED_SHELL)
