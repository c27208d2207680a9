"""A periodic grid to the bytes of a stream whose decoded values keep a bound, as few bytes as can be found."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft

from ecd_data.codec import entropy
from ecd_data.codec.atoms import FormFactors, Species, fitted, species_of, structure_factors
from ecd_data.codec.operations import Ints, Operations, Shape
from ecd_data.codec.payload import FourierPayload
from ecd_data.codec.quantisation import Trial, rounded_parts
from ecd_data.codec.stars import Stars
from ecd_data.codec.stream import (
    MAX_AXIS,
    MAX_KNOTS,
    MAX_SPECIES,
    Contents,
    pack,
    pack_xz,
    representable,
    stored_species,
)
from ecd_data.codec.wave_lengths import Metric, integer_metric, squared_norm
from ecd_data.codec.waves import Complexes
from ecd_data.crystal import Crystal, Floats
from ecd_data.errors import EcdError

SYMMETRIC = 0.7  # an operation may change the values by this part of the tolerance
FIRST_KNOTS = (18, 28)  # where the search starts
TRIALS, PATIENCE = 10, 3  # the rounding of form factors makes the error jump: later trials gain little
ENOUGH = 0.985  # of the tolerance: the next trial would save less than it costs
SPLINE_SHARE = 0.05  # of the squared error that the rounding of form factors may take
SINGLE_FROM = 3e-6  # tolerance over the root mean square from which float32 transforms are fine enough
TAIL = 0.4  # of the squared error that plane waves beyond the last star may take
SHELLS = 1024


class BoundError(EcdError):
    """The Fourier form cannot keep the asked error bound."""


def encode(values: NDArray[np.floating], lattice: ArrayLike, tolerance: float, crystal: Crystal | None = None) -> bytes:
    """A stream whose decoded grid differs from `values` [a, b, c] by at most `tolerance` in mean|difference|.

    With the crystal, its symmetry and atoms make the stream shorter. The bound is checked on the decoded stream. Raises
    BoundError where it cannot be kept (not finite, or finer than float32).
    """
    grid = np.ascontiguousarray(values, dtype=np.float64)
    if not np.isfinite(grid).all():
        raise BoundError("the grid holds values that are not finite")
    if not tolerance > 0:
        raise BoundError(f"a mean error of {tolerance:.3g} e/Å^3 is finer than float32")
    if max(grid.shape) > MAX_AXIS:
        raise BoundError(f"an axis of the grid {grid.shape} has more than {MAX_AXIS} points")
    task = _Task(grid, np.asarray(lattice, dtype=np.float64), float(tolerance), crystal)
    if task.constant:
        stream = pack(Contents(task.shape, task.mean), task.metric)
        if task.error(stream) <= tolerance:
            return stream
    for operations in task.symmetries():
        found = _Search(task, operations).shortest()
        if found is not None:
            return found
    raise BoundError(f"a mean error of {tolerance:.3g} e/Å^3 is out of reach of the Fourier form in float32")


@dataclass(frozen=True, eq=False)
class _Task:
    """What is to be encoded."""

    grid: Floats
    lattice: Floats
    tolerance: float
    crystal: Crystal | None

    @cached_property
    def shape(self) -> Shape:
        return self.grid.shape

    @cached_property
    def mean(self) -> float:
        return float(self.grid.mean())

    @cached_property
    def metric(self) -> Metric:
        return integer_metric(self.lattice)

    @cached_property
    def ripple(self) -> Floats:
        """What is left without the mean."""
        return self.grid - self.mean

    @cached_property
    def constant(self) -> bool:
        return bool(np.abs(self.ripple).mean() <= self.tolerance)

    @cached_property
    def half(self) -> Complexes:
        """The `rfftn` of the ripple."""
        return fft.rfftn(self.ripple, norm="forward")

    @cached_property
    def energy(self) -> float:
        """Mean square of the ripple."""
        return float(np.square(self.ripple).mean())

    def symmetries(self) -> Iterator[Operations]:
        """Groups of operations to try, the largest first."""
        identity = Operations.identity(self.shape)
        if self.crystal is not None and len(self.crystal):
            operations = Operations.of_crystal(self.crystal, self.shape)
            for share in (SYMMETRIC, SYMMETRIC / 5):
                kept = operations.kept_by(self.grid, share * self.tolerance)
                if len(kept) > 1:
                    yield kept
                operations = kept
        yield identity

    def error(self, stream: bytes) -> float:
        """The mean|difference| of the decoded stream."""
        return float(np.abs(FourierPayload(stream, self.lattice).decode() - self.grid).mean())

    def largest_norm(self, square: float) -> int:
        """|k|^2 beyond which the plane waves together have a mean square of at most `square`."""
        most, shell = _shells(self.shape, self.metric)
        energy = self.half.real**2 + self.half.imag**2
        energy[:, :, 1 : (self.shape[2] + 1) // 2] *= 2  # for the conjugates, too
        beyond = np.cumsum(np.bincount(shell.ravel(), energy.ravel(), SHELLS)[::-1])[::-1]
        first = int(np.searchsorted(-beyond, -square))
        return (first * (most + 1)) // SHELLS + 1 if first < SHELLS else most


class _Search:
    """The shortest stream of a task with one group of operations."""

    def __init__(self, task: _Task, operations: Operations) -> None:
        self.task = task
        target = task.tolerance * np.sqrt(np.pi / 2)  # of the root mean square, if errors are Gaussian
        for largest in (task.largest_norm(TAIL * target**2), None):  # all where amplitudes at the grid's edge count
            self.stars = Stars.within(operations, task.metric, largest)
            self.root = np.sqrt(self.stars.size)
            self.amplitudes = self.stars.project(task.half)
            scaled = self.amplitudes * self.root
            self.lost = max(0.0, task.energy - float(np.square(np.abs(scaled)).sum()))
            if self.lost <= 1.1 * TAIL * target**2:
                break
        self.parts = np.stack([scaled.real, scaled.imag])
        self.target = target
        self.generators = tuple(operations.generators())
        self.species: Species = ()
        if task.crystal is not None and len(task.crystal) and len(self.stars):
            self.species = stored_species(species_of(task.crystal, operations))[:MAX_SPECIES]
        self._fits: dict[int, tuple[Floats, float]] = {}
        self._steps: dict[int, float] = {}
        self._last_step = 0.0

    @cached_property
    def factors(self) -> Complexes:
        return structure_factors(self.stars, self.species)

    def shortest(self) -> bytes | None:
        """The stream, or None where no step keeps the bound."""
        if self.lost > self.target**2 or not len(self.stars):
            return None
        knots = self._best_knots()
        found = self._with(knots)
        if knots and (found is None or self._repeats(len(found))):
            found = min(filter(None, (found, self._with(0))), key=len, default=None)
        return found

    def _repeats(self, length: int) -> bool:
        """Whether the amplitudes repeat, in ways that no operation tells, so that xz may need less than `length`."""
        if len(self.stars.operations) > 1:
            return False
        integers = self._trial(0, self.target, near=0.1).integers
        return len(zlib.compress(integers.astype("<i4").tobytes(), 1)) < 2 * length

    def _with(self, knots: int) -> bytes | None:
        """The shortest stream with so many knots."""
        best: bytes | None = None
        target = self.target
        for trial in range(TRIALS):
            try:
                stream = self._stream(self._trial(knots, target))
            except OverflowError:
                break
            error = self.task.error(stream)
            if error <= self.task.tolerance:
                if best is None or len(stream) < len(best):
                    best = stream
                if error > ENOUGH * self.task.tolerance or trial >= PATIENCE:
                    break
            elif best is not None and trial >= PATIENCE:
                break
            margin = 1 - 0.005 * (trial + 1 if error > self.task.tolerance else 1)
            target *= min(2.0, margin * self.task.tolerance / error) if error > 0 else 2.0
            if target**2 <= self.lost:
                break
        return best

    def _best_knots(self) -> int:
        """How many knots of the form factors make the stream shortest, 0 for none."""
        if not self.species:
            return 0
        costs: dict[int, float] = {0: self._cost(0)}
        most = int(min(MAX_KNOTS, 2 * len(self.stars) // len(self.species)))

        def cost(knots: int) -> float:
            if knots not in costs:
                costs[knots] = self._cost(knots) if 4 <= knots <= most else np.inf
            return costs[knots]

        more = cost(FIRST_KNOTS[1]) < cost(FIRST_KNOTS[0])
        best = FIRST_KNOTS[1] if more else FIRST_KNOTS[0]
        factor = 1.5 if more else 1 / 1.5
        while cost(round(factor * best)) < cost(best):
            best = round(factor * best)
        for finer in (1.22, 1 / 1.22):
            cost(round(finer * best))
        return min(costs, key=lambda knots: costs[knots])

    def _cost(self, knots: int) -> float:
        """About how many bits the stream takes with so many knots."""
        try:
            trial = self._trial(knots, self.target, near=0.1)
            missed = (trial.square + self.lost) / self.target**2
            return trial.bits + 0.5 * np.count_nonzero(trial.integers) * np.log2(missed)
        except OverflowError:
            return np.inf

    def _trial(self, knots: int, target: float, near: float = 0.005) -> Trial:
        """The coarsest step whose mean square error is at most target^2, or within `near` of it."""
        square = target**2 - self.lost
        numbers = int(np.where(self.stars.real, 1, 2).sum())
        first = self._last_step or float(np.sqrt(12 * square / max(1, numbers)))
        step = self._steps.get(knots, first)
        low, high = 0.0, float(np.inf)
        best: Trial | None = None
        for _ in range(14):
            step = representable(step)
            trial = self._quantised(knots, step, target)
            ratio = trial.square / square
            if ratio <= 1:
                low, best = max(low, step), trial
            else:
                high = min(high, step)
            if 1 - near < ratio <= 1 or (near > 0.05 and abs(ratio - 1) < near) or high <= low * (1 + near / 4):
                break
            step *= min(max(((1 - near / 2) / max(ratio, 1e-9)) ** 0.6, 0.2), 4.0)
            if not low < step < high:
                step = float(np.sqrt(low * high)) if low else 0.5 * high
        chosen = trial if near > 0.05 or best is None else best
        self._steps[knots] = self._last_step = chosen.step
        return chosen

    def _quantised(self, knots: int, step: float, target: float) -> Trial:
        atoms = self._form_factors(knots, step, target) if knots else None
        scaled = self.parts * (1 / step)
        if atoms is not None:
            predicted = atoms.predict(self.stars, self.factors) * self.root
            scaled[0] -= predicted.real
            scaled[1] -= predicted.imag
        rounded = rounded_parts(scaled)
        errors = np.square(scaled - rounded)
        square = float((errors[0] + errors[1]).sum()) * step**2
        return Trial(self.stars, step, rounded[0], rounded[1], atoms, square)

    def _form_factors(self, knots: int, step: float, target: float) -> FormFactors:
        if knots not in self._fits:
            self._fits[knots] = fitted(self.stars, self.factors, self.amplitudes, knots)
        solution, stiffness = self._fits[knots]
        unit = target * np.sqrt(12 * SPLINE_SHARE / max(stiffness, 1e-300)) / step
        exponent = min(max(int(np.floor(np.log2(unit))), -100), 100)
        place = np.arange(1, knots + 1)[:, None]
        integers = np.rint(solution * place / (step * 2.0**exponent))
        if not np.abs(integers).max() < entropy.LARGEST:
            raise OverflowError("form factors beyond the coder's range")
        return FormFactors(self.species, integers.astype(np.int64), exponent)

    def _stream(self, trial: Trial) -> bytes:
        task = self.task
        integers = trial.integers
        start = entropy.starting_scale(integers)
        body, xz = entropy.encode(integers, start), False
        if len(self.stars.operations) == 1 and len(body) > 64:  # equal coefficients that no operation tells?
            quick = len(zlib.compress(integers.astype("<i4").tobytes(), 1))
            other = pack_xz(integers) if quick < 2 * len(body) else body
            if len(other) < len(body):
                body, xz = other, True
        double = bool(task.tolerance < SINGLE_FROM * np.sqrt(task.energy))
        header = (task.shape, task.mean, trial.step, trial.count, self.generators, trial.atoms)
        return pack(Contents(*header, body=body, start=start, xz=xz, double=double), task.metric)


@lru_cache(maxsize=1)  # the grids of one density follow each other
def _shells(shape: Shape, metric: Metric) -> tuple[int, Ints]:
    """The largest |k|^2 of an `rfftn`, and in which of SHELLS equal parts of it each entry lies [a, b, c//2+1]."""
    a, b = (np.fft.fftfreq(n, 1 / n).round().astype(np.int64) for n in shape[:2])
    norms = squared_norm(metric, a[:, None, None], b[:, None], np.arange(shape[2] // 2 + 1))
    most = int(norms.max())
    return most, norms * SHELLS // (most + 1)
