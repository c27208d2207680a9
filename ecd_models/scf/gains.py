"""What a starting density saves over superposed atoms, in each crystal and on average: steps and time.

achieved ratio = mean over crystals of steps(start) / steps(superposed atoms)
optimal ratio = mean over crystals of 1 / steps(superposed atoms)
share of the oracle's gain = (sum of what a start saves) / (sum of what the converged density saves)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ecd_data.crystal import Floats
from ecd_data.errors import UsageError
from ecd_data.release.formula import reduce_formula
from ecd_models.metrics import interval_percentiles
from ecd_models.scf.bench import ATOMS, ENGINE, ORACLE, ScfRun
from ecd_models.scf.outcars import Ratio

RESAMPLES = 10_000  # of the bootstrap
MAX_ENERGY_ERROR = 1e-4  # eV per atom: runs that reach one state agree to 1e-6 at conv_thr 1e-8 Ry
CLOCKS = ("wall", "cpu")


@dataclass(frozen=True)
class CrystalRuns:
    """The runs of one crystal by the name of their start; failed: the reason for each start that could not be made."""

    id: str
    formula: str
    natoms: int
    runs: dict[str, ScfRun]
    failed: dict[str, str] = field(default_factory=dict)

    def measure_ratio(self, name: str) -> float | None:
        """The steps of a run over those from superposed atoms; None where one of the two did not converge."""
        steps, default = self.runs[name].steps, self.runs[ATOMS].steps
        return None if steps is None or default is None else steps / default

    def measure_time_saved(self, name: str, clock: str) -> float:
        """The share of the default run's time that a run saves, negative where it took longer."""
        return 1 - self.runs[name].seconds(clock) / self.runs[ATOMS].seconds(clock)

    def reached_other_state(self, name: str) -> bool:
        """Whether a run ended at another energy than the default one: in another magnetic or metallic solution."""
        energies = [self.runs[run].energy_eV for run in (ATOMS, name)]
        if None in energies:
            return False
        return abs(energies[0] - energies[1]) > MAX_ENERGY_ERROR * self.natoms  # type: ignore[operator]


@dataclass(frozen=True)
class Interval:
    """A mean over crystals and its 95 % interval, bootstrapped by compound; the bounds of a single one are None."""

    mean: float
    low: float | None
    high: float | None

    def __str__(self) -> str:
        return f"{self.mean:.3f}" + ("" if self.low is None else f" [{self.low:.3f}, {self.high:.3f}]")


@dataclass(frozen=True)
class Gain:
    """What a start saves on the crystals `ids`, whose runs from it converged.

    name : of the start.
    ids : the crystals.
    achieved, achieved_interval : steps(start) / steps(superposed atoms).
    optimal : 1 / steps(superposed atoms).
    time_saved : mean share of a crystal's time.
    total_time_saved : share of the time of all crystals.
    slowed : share of the crystals that took longer or did not converge.
    oracle_share, oracle_steps, oracle_iterations : share of the time, the steps and the iterations of the eigenvalue
        solver that the converged density saves.
    other_state : the crystals that ended at another energy.
    missing : the crystals without a start, or whose run did not converge.
    """

    name: str
    ids: tuple[str, ...]
    achieved: Ratio
    optimal: Ratio
    achieved_interval: Interval
    time_saved: Interval
    total_time_saved: float
    slowed: float
    oracle_share: Interval | None
    oracle_steps: Interval | None
    oracle_iterations: Interval | None
    other_state: tuple[str, ...]
    missing: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The fields for JSON."""
        return asdict(self)


def refuse_other_clock(clock: str) -> None:
    """Raises UsageError if runs cannot be compared by a clock of this name."""
    if clock not in CLOCKS:
        raise UsageError(f"the clock is wall or cpu, not {clock!r}")


def measure_gain(name: str, crystals: Sequence[CrystalRuns], clock: str = "wall", seed: int = 0) -> Gain:
    """What the start `name` saves by a clock, "wall" or "cpu"; raises UsageError if it converged for no crystal."""
    refuse_other_clock(clock)
    tried = [c for c in crystals if c.runs.get(name) is not None]
    converged = [c for c in tried if c.runs[name].steps is not None]
    if not converged:
        raise UsageError(f"{name} converged for no crystal: there is nothing to compare")
    steps, default = (np.array([c.runs[run].steps for c in converged], dtype=np.float64) for run in (name, ATOMS))
    seconds, before = (np.array([c.runs[run].seconds(clock) for c in converged]) for run in (name, ATOMS))
    slower = sum(seconds > before) + len(tried) - len(converged)
    draw = _Bootstrap(converged, seed)
    return Gain(
        name,
        tuple(c.id for c in converged),
        Ratio.of(steps / default),
        Ratio.of(1 / default),
        draw.mean(steps / default),
        draw.mean(1 - seconds / before),
        float(1 - seconds.sum() / before.sum()),
        float(slower / len(tried)),
        *_oracle_shares(converged, before - seconds, default - steps, clock, draw),
        _share_iterations(converged, name, draw),
        tuple(c.id for c in converged if c.reached_other_state(name)),
        tuple(c.id for c in crystals if c not in converged),
    )


def _oracle_shares(
    crystals: Sequence[CrystalRuns], time: Floats, steps: Floats, clock: str, draw: _Bootstrap
) -> tuple[Interval | None, Interval | None]:
    """The shares of the time and of the steps that the converged density saves; its time is that of pw.x alone."""
    if any(ORACLE not in c.runs or c.runs[ORACLE].steps is None for c in crystals):
        return None, None
    oracles = [c.runs[ORACLE] for c in crystals]
    oracle_time = np.array([o.wall_seconds if clock == "wall" else o.cpu_seconds for o in oracles])
    default_time = np.array([c.runs[ATOMS].seconds(clock) for c in crystals])
    default_steps = np.array([c.runs[ATOMS].steps for c in crystals], dtype=np.float64)
    oracle_steps = np.array([o.steps for o in oracles], dtype=np.float64)
    return draw.quotient(time, default_time - oracle_time), draw.quotient(steps, default_steps - oracle_steps)


def _share_iterations(crystals: Sequence[CrystalRuns], name: str, draw: _Bootstrap) -> Interval | None:
    """The share of the solver's iterations that the converged density saves; None where a run has no count of them."""
    counts = [[c.runs[run].iterations if run in c.runs else None for run in (ATOMS, ORACLE, name)] for c in crystals]
    if any(None in row for row in counts):
        return None
    atoms, oracle, found = np.array(counts, dtype=np.float64).T
    return draw.quotient(atoms - found, atoms - oracle)


class _Bootstrap:
    """Bootstrap intervals, all from the same random draws of compounds, each with all its crystals."""

    def __init__(self, crystals: Sequence[CrystalRuns], seed: int) -> None:
        _, compounds = np.unique([reduce_formula(c.formula) for c in crystals], return_inverse=True)
        count = int(compounds.max()) + 1
        drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
        self._weights: Floats = drawn[:, compounds].astype(np.float64)  # [resamples, crystals]
        self._single = count < 2
        self._percentiles = interval_percentiles(count)

    def mean(self, values: Floats) -> Interval:
        return self._interval(float(values.mean()), (self._weights @ values) / self._weights.sum(axis=1))

    def quotient(self, above: Floats, below: Floats) -> Interval | None:
        """The interval of the quotient of two sums; None if the lower sum is not positive."""
        if below.sum() <= 0:
            return None
        over, under = self._weights @ above, self._weights @ below
        return self._interval(float(above.sum() / below.sum()), over[under > 0] / under[under > 0])

    def _interval(self, mean: float, drawn: Floats) -> Interval:
        if self._single:
            return Interval(mean, None, None)
        low, high = np.percentile(drawn, self._percentiles)
        return Interval(mean, float(low), float(high))


def list_starts(crystals: Sequence[CrystalRuns]) -> list[str]:
    """The names of all starts except superposed atoms: pw.x's own restart and the converged density first."""
    found = dict.fromkeys(name for c in crystals for name in c.runs)
    return list(dict.fromkeys(name for name in (ENGINE, ORACLE, *found) if name in found and name != ATOMS))


def measure_gains(crystals: Sequence[CrystalRuns], clock: str = "wall") -> Iterator[Gain]:
    """The Gain of each start that converged for at least one crystal."""
    for name in list_starts(crystals):
        if any(name in c.runs and c.runs[name].steps is not None for c in crystals):
            yield measure_gain(name, crystals, clock)
