"""A density to start a self-consistent calculation from, and the steps, seconds and energy of the run from it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from ecd_data.density import Density

T = TypeVar("T")
SOLVER = re.compile(r"avg # of iterations = *([\d.]+)")
ERROR = re.compile(r"estimated scf accuracy +< +([\d.E+-]+) Ry")
MIN_STEPS = 3  # of a run whose error falls at a rate that can be averaged

ITERATION, EXCHANGE_LOOP = re.compile(r"iteration #"), "EXX: now go back to refine exchange calculation"


@dataclass(frozen=True)
class Start:
    """A density to start from.

    name : of the start in tables.
    rho : the density.
    channels : the origin of its "density" and "magnetization", such as "predicted", and of the "occupations" of U.
    wall_seconds, cpu_seconds : the time that its computation took.
    seen : what of the crystal a model was trained on: "crystal", "composition" or "unseen"; None if not recorded.
    doubts : reasons not to start from this density, see `list_doubts`.
    """

    name: str
    rho: Density
    channels: Mapping[str, str | None]
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    seen: str | None = None
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class ScfRun:
    """A self-consistent calculation from one start.

    name : of the start.
    steps : of all loops together, None if the run did not converge.
    loops : steps of each exchange loop of a hybrid functional.
    wall_seconds, cpu_seconds : of pw.x alone.
    before_wall_seconds, before_cpu_seconds : of the prediction, of finding pw.x's order of waves, and of the run that
        gives magnetizations of atoms.
    energy_eV : the total energy.
    eps_mae : error of the start relative to the converged density, a fraction.
    electrons_off : error of the number of electrons before scaling, a fraction.
    channels, seen, doubts : as in Start.
    first_threshold : of the orbitals in the first step in Ry, None for pw.x's own.
    iterations : of the eigenvalue solver, averaged over k points, of all steps together: the same on every machine.
    errors_Ry : pw.x's estimate of the error of the self-consistency after each step, quadratic in that of the density.
    """

    name: str
    steps: int | None
    loops: tuple[int, ...]
    wall_seconds: float
    cpu_seconds: float
    before_wall_seconds: float
    before_cpu_seconds: float
    energy_eV: float | None
    eps_mae: float | None
    electrons_off: float
    channels: dict[str, str | None] = field(default_factory=dict)
    seen: str | None = None
    doubts: tuple[str, ...] = ()
    first_threshold: float | None = None
    iterations: float | None = None
    errors_Ry: tuple[float, ...] = ()

    @property
    def has_rate(self) -> bool:
        """Whether there are enough steps to say how fast the error falls: with few, the first ones rule it."""
        return len(self.errors_Ry) > MIN_STEPS

    def seconds(self, clock: str) -> float:
        """All the time that a run with this start costs in s, by a clock "wall" or "cpu"."""
        if clock == "wall":
            return self.wall_seconds + self.before_wall_seconds
        return self.cpu_seconds + self.before_cpu_seconds


def count_loop_steps(text: str) -> tuple[int, ...]:
    """The electronic steps in an output of pw.x: one number; for a hybrid PBE's and one for each exchange loop."""
    return tuple(len(ITERATION.findall(part)) for part in text.split(EXCHANGE_LOOP))


def count_solver_iterations(text: str) -> float:
    """The iterations of the eigenvalue solver in an output of pw.x, averaged over k points, of all steps together."""
    return round(sum(float(count) for count in SOLVER.findall(text)), 1)


def read_errors(text: str) -> tuple[float, ...]:
    """The estimated errors of the self-consistency in Ry after each step, in an output of pw.x."""
    return tuple(float(value) for value in ERROR.findall(text))


def time_call(make: Callable[[], T]) -> tuple[T, dict[str, float]]:
    """What `make` returns, such as a density, and the wall and CPU seconds that it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    made = make()
    return made, {"wall_seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
