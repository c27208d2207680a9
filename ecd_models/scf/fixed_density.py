"""What one step in a fixed density gives: levels and gap, Harris's energy, forces, and the gap of one exchange loop.

pw.x solves for the orbitals in the potential of the density once, and stops. Harris's functional is

    E[rho] = sum of occupied levels - integral rho V[rho] + E_H[rho] + E_xc[rho] + E_Ewald - T S

with all but the levels from the given density; its error is quadratic in that of the density. pw.x prints the same
expression with the density that it mixes for the next step, so it is given a mixing that leaves the density as it is.
"""

from __future__ import annotations

import math
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ecd_data.crystal import Floats
from ecd_data.dft.engine import Kind, NotConvergedError, Step
from ecd_data.dft.espresso_output import HARTREE, OUTPUT, XML, read_output, read_result
from ecd_data.dft.settings import Settings
from ecd_data.errors import EcdError
from ecd_models.scf.bench import Bench
from ecd_models.scf.scf_runs import Start

RYDBERG = HARTREE / 2  # eV
KEEP_DENSITY = 1e-8  # share of the new density that is mixed in: what of it reaches the energy is far below 1e-8 Ry
ANY_DENSITY = 1e6  # Ry: with this threshold pw.x takes its first step for converged and goes on to forces or exchange
SOLVER_THRESHOLD = 1e-6  # Ry: occupied levels are right to 1e-5 eV, empty ones to 1e-3 eV (pw.x solves them loosely)
UNSOLVED, REPEATED = re.compile(r"(\d+) eigenvalues not converged"), "Diagonalizing with lowered threshold"
STATES = re.compile(r"number of Kohn-Sham states *= *(\d+)")
ELECTRONS = re.compile(r"number of electrons *= *([\d.]+)")
ENERGY = re.compile(r"total energy  +=\s*(-?[\d.]+) Ry")


@dataclass(frozen=True)
class Levels:
    """Levels in a fixed density: the gap, also the direct one, in eV on the k points of the run, 0 for a metal.

    energy_eV: Harris's; None of a hybrid. wall_seconds, cpu_seconds: of pw.x alone; before_...: of what had to happen
    before, such as the prediction.
    """

    gap_eV: float
    gap_direct_eV: float
    energy_eV: float | None
    wall_seconds: float
    cpu_seconds: float
    before_wall_seconds: float
    before_cpu_seconds: float

    def seconds(self, clock: str) -> float:
        """All the time that the levels cost by a clock, "wall" or "cpu"."""
        if clock == "wall":
            return self.wall_seconds + self.before_wall_seconds
        return self.cpu_seconds + self.before_cpu_seconds


def find_levels(bench: Bench, start: Start) -> Levels:
    """The levels in the potential of a density, with Harris's energy; raises EcdError where pw.x finds none."""
    settings = replace(bench.settings, max_steps=1, mixing_beta=KEEP_DENSITY, mixing_mode="plain")
    return _read_levels(*_run_one_step(bench, start, settings, "start", "levels"), harris=True)


def find_hybrid_levels(bench: Bench, start: Start, mesh: tuple[int, ...]) -> Levels:
    """The levels of HSE06 from one exchange loop: of the density after one PBE step, with that step's orbitals.

    mesh: of k and q points. The density is not made self-consistent with the exchange, so this is the nearest to a
    hybrid gap that a density alone gives. Raises EcdError where pw.x finds none.
    """
    settings = replace(bench.settings, functional="HSE06", kmesh=mesh, qmesh=mesh, conv_thr=ANY_DENSITY)
    return _read_levels(*_run_one_step(bench, start, settings, "start", "hybrid"), harris=False)


def find_forces(bench: Bench, start: Start) -> Floats:
    """The forces [n, 3] in eV/Å after one step from a density, with pw.x's correction for its not being converged."""
    settings = replace(bench.settings, conv_thr=ANY_DENSITY)
    folder, _ = _run_one_step(bench, start, settings, "restart", "forces")
    return np.array(read_result(folder).arrays["forces_eV_A"], dtype=np.float64)


def _run_one_step(
    bench: Bench, start: Start, settings: Settings, kind: Kind, folder_name: str
) -> tuple[Path, dict[str, float]]:
    """The folder of a run of one step from a density, and the seconds of what had to happen before."""
    settings = replace(settings, first_threshold=SOLVER_THRESHOLD)
    where = bench.folder / f"{folder_name}-{bench.name_folder(start)}"
    given, before = bench.write_start(where / "given", start)
    step = Step(kind, bench.job.id, bench.job.crystal, settings, given.absolute())
    with suppress(NotConvergedError):  # that is what a single step means
        bench.run(step, where)
    printed = read_output(where)
    if "JOB DONE" not in printed or not (where / XML).is_file() or not ENERGY.search(printed):
        raise EcdError(f"{bench.job.id}: pw.x found no levels from {start.name}: see {where / OUTPUT}")
    if _lacks_occupied_levels(printed):
        raise EcdError(f"{bench.job.id}: pw.x did not solve for all levels from {start.name}: see {where / OUTPUT}")
    bench.refuse_wrong_order(where)
    return where, before


def _lacks_occupied_levels(printed: str) -> bool:
    """Whether pw.x left more levels unsolved at a k point than are empty, in its last pass over the k points."""
    unsolved = [int(count) for count in UNSOLVED.findall(printed.split(REPEATED)[-1])]
    states, electrons = (pattern.search(printed) for pattern in (STATES, ELECTRONS))
    if not unsolved or states is None or electrons is None:
        return bool(unsolved)
    return max(unsolved) > int(states[1]) - math.ceil(float(electrons[1]) / 2)


def _read_levels(folder: Path, before: dict[str, float], *, harris: bool) -> Levels:
    found: dict[str, Any] = dict(read_result(folder, bands_only=True).properties)
    energy = float(ENERGY.findall(read_output(folder))[-1]) * RYDBERG if harris else None
    gaps = found["gap_eV"], found["gap_direct_eV"]
    return Levels(*gaps, energy, found["wall_seconds"], found["cpu_seconds"], before["wall"], before["cpu"])
