"""A start of a self-consistency, and what a run from it took: steps of each loop, seconds, energy, origins."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ecd_data.density import Density

ITERATION, EXCHANGE_LOOP = re.compile(r"iteration #"), "EXX: now go back to refine exchange calculation"


@dataclass(frozen=True)
class Start:
    """A density to start from, and where its parts come from; seconds: what it took to make it (wall and CPU).

    seen: of a model, what of the crystal trained it: "crystal", "composition" or "unseen"; None where it does not say.
    """

    name: str
    rho: Density
    channels: Mapping[str, str | None]
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    seen: str | None = None


@dataclass(frozen=True)
class ScfRun:
    """A self-consistency from one start.

    steps: of all loops together, None where it did not converge; loops: steps of each exchange loop of a hybrid;
    wall_seconds, cpu_seconds: of pw.x alone; before_wall_seconds, before_cpu_seconds: of what had to happen before
    (the prediction, and the run of pw.x that gives its order of waves); eps_mae: of the start from the converged
    density, a fraction; electrons_off: how far the electrons were from the right number before scaling, a fraction;
    seen: as of the Start.
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

    def seconds(self, clock: str) -> float:
        """All the time that this start costs by a clock, "wall" or "cpu"."""
        if clock == "wall":
            return self.wall_seconds + self.before_wall_seconds
        return self.cpu_seconds + self.before_cpu_seconds


def count_loop_steps(text: str) -> tuple[int, ...]:
    """The electronic steps in what pw.x printed: one number, of a hybrid PBE's and then one for each exchange loop."""
    return tuple(len(ITERATION.findall(part)) for part in text.split(EXCHANGE_LOOP))


def time_call(make: Callable[[], Density]) -> tuple[Density, dict[str, Any]]:
    """A density and the seconds that it took to make it."""
    wall, cpu = time.perf_counter(), time.process_time()
    rho = make()
    return rho, {"wall_seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
