"""The encoder: it searches the shortest stream whose decoded grid keeps an error bound."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft

from ecd_data.codec import entropy
from ecd_data.codec.atoms import FormFactors, Species, find_species, fit_form_factors, structure_factors
from ecd_data.codec.operations import Ints, Operations, Shape
from ecd_data.codec.payload import FourierPayload
from ecd_data.codec.quantisation import QuantisedStars, round_parts
from ecd_data.codec.stars import Stars
from ecd_data.codec.stream import (
    MAX_AXIS,
    MAX_KNOTS,
    MAX_SPECIES,
    Contents,
    pack_stream,
    pack_xz,
    round_species,
    round_step,
)
from ecd_data.codec.waves import Complexes, Metric, integer_metric, squared_norm
from ecd_data.crystal import Crystal, Floats
from ecd_data.errors import EcdError

SYMMETRY_SHARE = 0.7  # of the tolerance: an operation that changes the values by more is not used
FIRST_KNOTS = (18, 28)  # the numbers of spline knots from which the search for the best number starts
MAX_TRIALS, MIN_TRIALS = 10, 3  # of step sizes: rounded form factors make the error jump, so late trials gain little
CLOSE_ENOUGH = 0.985  # of the tolerance: from this error on another trial would save less than it costs
SPLINE_SHARE = 0.05  # of the squared error: what the rounding of form factors may cause
MIN_FLOAT32_TOLERANCE = 3e-6  # tolerance / root mean square: below it float32 transforms are too coarse
TAIL_SHARE = 0.4  # of the squared error: what the plane waves beyond the last star may cause
SHELLS = 1024  # intervals of |k|^2 in which the energy of plane waves is summed


class BoundError(EcdError):
    """The Fourier pipeline cannot keep the requested error bound."""


def encode(values: NDArray[np.floating], lattice: ArrayLike, tolerance: float, crystal: Crystal | None = None) -> bytes:
    """The bytes of a stream whose decoded grid differs from `values` by at most `tolerance` in mean|difference|.

    The bound is checked on the decoded stream.

    Parameters
    ----------
    values [a, b, c] : the grid, in any unit.
    lattice [3, 3] : the lattice vectors as rows, in Å.
    tolerance : the bound on mean|decoded - values|, in the unit of the values.
    crystal : its symmetry and atoms make the stream shorter; they do not change the bound.

    Raises
    ------
    BoundError : the values are not finite, or the bound is finer than float32.
    """
    grid = np.ascontiguousarray(values, dtype=np.float64)
    if not np.isfinite(grid).all():
        raise BoundError("the grid holds values that are not finite")
    if not tolerance > 0:
        raise BoundError(f"a mean error of {tolerance:.3g} e/Å^3 is finer than float32")
    if max(grid.shape) > MAX_AXIS:
        raise BoundError(f"an axis of the grid {grid.shape} has more than {MAX_AXIS} points")
    source = _Input(grid, np.asarray(lattice, dtype=np.float64), float(tolerance), crystal)
    if source.constant:
        stream = pack_stream(Contents(source.shape, source.mean), source.metric)
        if source.measure_error(stream) <= tolerance:
            return stream
    for operations in source.symmetries():
        shortest = _Search(source, operations).find_shortest()
        if shortest is not None:
            return shortest
    raise BoundError(f"the Fourier pipeline cannot keep a mean error of {tolerance:.3g} e/Å^3 in float32")


@dataclass(frozen=True, eq=False)
class _Input:
    """A grid to encode, and what is computed from it once."""

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
    def deviation(self) -> Floats:
        """The grid minus its mean."""
        return self.grid - self.mean

    @cached_property
    def constant(self) -> bool:
        return bool(np.abs(self.deviation).mean() <= self.tolerance)

    @cached_property
    def half(self) -> Complexes:
        """The `rfftn` of the deviation."""
        return fft.rfftn(self.deviation, norm="forward")

    @cached_property
    def energy(self) -> float:
        """The mean square of the deviation."""
        return float(np.square(self.deviation).mean())

    def symmetries(self) -> Iterator[Operations]:
        """The groups of operations to try, the largest first."""
        identity = Operations.identity(self.shape)
        if self.crystal is not None and len(self.crystal):
            operations = Operations.of_crystal(self.crystal, self.shape)
            for share in (SYMMETRY_SHARE, SYMMETRY_SHARE / 5):
                operations = operations.select_by_change(self.grid, share * self.tolerance)
                if len(operations) > 1:
                    yield operations
        yield identity

    def measure_error(self, stream: bytes) -> float:
        """The mean|difference| of the decoded stream."""
        return float(np.abs(FourierPayload(stream, self.lattice).decode() - self.grid).mean())

    def find_cutoff_norm(self, square: float) -> int:
        """The |k|^2 beyond which all plane waves together have a mean square of at most `square`."""
        most, shell = _shells(self.shape, self.metric)
        energy = self.half.real**2 + self.half.imag**2
        energy[:, :, 1 : (self.shape[2] + 1) // 2] *= 2  # counts the conjugates
        beyond = np.cumsum(np.bincount(shell.ravel(), energy.ravel(), SHELLS)[::-1])[::-1]
        first = int(np.searchsorted(-beyond, -square))
        return (first * (most + 1)) // SHELLS + 1 if first < SHELLS else most


class _Search:
    """The search for the shortest stream of a grid with one group of operations."""

    def __init__(self, task: _Input, operations: Operations) -> None:
        self.task = task
        target = task.tolerance * np.sqrt(np.pi / 2)  # the root mean square error, if errors are Gaussian
        cutoff = task.find_cutoff_norm(TAIL_SHARE * target**2)
        for largest in (cutoff, None):  # None: all stars, where the amplitudes at the edge of the grid are large
            self.stars = Stars.within(operations, task.metric, largest)
            self.root = np.sqrt(self.stars.size)
            self.amplitudes = self.stars.project(task.half)
            scaled = self.amplitudes * self.root
            self.lost = max(0.0, task.energy - float(np.square(np.abs(scaled)).sum()))
            if self.lost <= 1.1 * TAIL_SHARE * target**2:
                break
        self.parts = np.stack([scaled.real, scaled.imag])
        self.target = target
        self.generators = tuple(operations.generators())
        self.species: Species = ()
        if task.crystal is not None and len(task.crystal) and len(self.stars):
            self.species = round_species(find_species(task.crystal, operations))[:MAX_SPECIES]
        self._fits: dict[int, tuple[Floats, float]] = {}
        self._steps: dict[int, float] = {}
        self._last_step = 0.0

    @cached_property
    def factors(self) -> Complexes:
        return structure_factors(self.stars, self.species)

    def find_shortest(self) -> bytes | None:
        """The shortest stream; None where no step keeps the bound."""
        if self.lost > self.target**2 or not len(self.stars):
            return None
        knots = self._find_best_knots()
        shortest = self._shortest_with_knots(knots)
        if knots and (shortest is None or self._amplitudes_repeat(len(shortest))):
            shortest = min(filter(None, (shortest, self._shortest_with_knots(0))), key=len, default=None)
        return shortest

    def _amplitudes_repeat(self, length: int) -> bool:
        """Whether amplitudes repeat although no operation relates them, so xz may need less than `length` bytes."""
        if len(self.stars.operations) > 1:
            return False
        integers = self._quantise_to_error(0, self.target, near=0.1).integers
        return len(zlib.compress(integers.astype("<i4").tobytes(), 1)) < 2 * length

    def _shortest_with_knots(self, knots: int) -> bytes | None:
        """The shortest stream with this number of knots; None where no step keeps the bound."""
        best: bytes | None = None
        target = self.target
        for attempt in range(MAX_TRIALS):
            try:
                stream = self._pack_stream(self._quantise_to_error(knots, target))
            except OverflowError:
                break
            error = self.task.measure_error(stream)
            if error <= self.task.tolerance:
                if best is None or len(stream) < len(best):
                    best = stream
                if error > CLOSE_ENOUGH * self.task.tolerance or attempt >= MIN_TRIALS:
                    break
            elif best is not None and attempt >= MIN_TRIALS:
                break
            margin = 1 - 0.005 * (attempt + 1 if error > self.task.tolerance else 1)
            target *= min(2.0, margin * self.task.tolerance / error) if error > 0 else 2.0
            if target**2 <= self.lost:
                break
        return best

    def _find_best_knots(self) -> int:
        """The number of knots of the form factors that makes the stream shortest; 0: no form factors."""
        if not self.species:
            return 0
        costs: dict[int, float] = {0: self._estimate_cost(0)}
        most = int(min(MAX_KNOTS, 2 * len(self.stars) // len(self.species)))

        def cost(knots: int) -> float:
            if knots not in costs:
                costs[knots] = self._estimate_cost(knots) if 4 <= knots <= most else np.inf
            return costs[knots]

        more = cost(FIRST_KNOTS[1]) < cost(FIRST_KNOTS[0])
        best = FIRST_KNOTS[1] if more else FIRST_KNOTS[0]
        factor = 1.5 if more else 1 / 1.5
        while cost(round(factor * best)) < cost(best):
            best = round(factor * best)
        for finer in (1.22, 1 / 1.22):
            cost(round(finer * best))
        return min(costs, key=lambda knots: costs[knots])

    def _estimate_cost(self, knots: int) -> float:
        """The approximate number of bits of the stream with this number of knots."""
        try:
            stars = self._quantise_to_error(knots, self.target, near=0.1)
            ratio = (stars.square + self.lost) / self.target**2
            return stars.bits + 0.5 * np.count_nonzero(stars.integers) * np.log2(ratio)
        except OverflowError:
            return np.inf

    def _quantise_to_error(self, knots: int, target: float, near: float = 0.005) -> QuantisedStars:
        """The stars at the coarsest step whose mean square error is at most target^2, or within `near` of it."""
        square = target**2 - self.lost
        numbers = int(np.where(self.stars.real, 1, 2).sum())
        first = self._last_step or float(np.sqrt(12 * square / max(1, numbers)))
        step = self._steps.get(knots, first)
        low, high = 0.0, float(np.inf)
        best: QuantisedStars | None = None
        for _ in range(14):
            step = round_step(step)
            stars = self._quantise(knots, step, target)
            ratio = stars.square / square
            if ratio <= 1:
                low, best = max(low, step), stars
            else:
                high = min(high, step)
            if 1 - near < ratio <= 1 or (near > 0.05 and abs(ratio - 1) < near) or high <= low * (1 + near / 4):
                break
            step *= min(max(((1 - near / 2) / max(ratio, 1e-9)) ** 0.6, 0.2), 4.0)
            if not low < step < high:
                step = float(np.sqrt(low * high)) if low else 0.5 * high
        chosen = stars if near > 0.05 or best is None else best
        self._steps[knots] = self._last_step = chosen.step
        return chosen

    def _quantise(self, knots: int, step: float, target: float) -> QuantisedStars:
        atoms = self._quantise_form_factors(knots, step, target) if knots else None
        scaled = self.parts * (1 / step)
        if atoms is not None:
            predicted = atoms.predict(self.stars, self.factors) * self.root
            scaled[0] -= predicted.real
            scaled[1] -= predicted.imag
        rounded = round_parts(scaled)
        errors = np.square(scaled - rounded)
        square = float((errors[0] + errors[1]).sum()) * step**2
        return QuantisedStars(self.stars, step, rounded[0], rounded[1], atoms, square)

    def _quantise_form_factors(self, knots: int, step: float, target: float) -> FormFactors:
        if knots not in self._fits:
            self._fits[knots] = fit_form_factors(self.stars, self.factors, self.amplitudes, knots)
        solution, stiffness = self._fits[knots]
        unit = target * np.sqrt(12 * SPLINE_SHARE / max(stiffness, 1e-300)) / step
        exponent = min(max(int(np.floor(np.log2(unit))), -100), 100)
        number = np.arange(1, knots + 1)[:, None]
        integers = np.rint(solution * number / (step * 2.0**exponent))
        if not np.abs(integers).max() < entropy.LARGEST:
            raise OverflowError("a form factor is beyond the coder's range")
        return FormFactors(self.species, integers.astype(np.int64), exponent)

    def _pack_stream(self, stars: QuantisedStars) -> bytes:
        task = self.task
        integers = stars.integers
        start = entropy.starting_scale(integers)
        body, xz = entropy.encode(integers, start), False
        if len(self.stars.operations) == 1 and len(body) > 64:  # coefficients may repeat although no operation is known
            quick = len(zlib.compress(integers.astype("<i4").tobytes(), 1))
            other = pack_xz(integers) if quick < 2 * len(body) else body
            if len(other) < len(body):
                body, xz = other, True
        double = bool(task.tolerance < MIN_FLOAT32_TOLERANCE * np.sqrt(task.energy))
        header = (task.shape, task.mean, stars.step, stars.count, self.generators, stars.atoms)
        return pack_stream(Contents(*header, body=body, start=start, xz=xz, double=double), task.metric)


@lru_cache(maxsize=1)  # density and magnetization of one crystal have the same shells
def _shells(shape: Shape, metric: Metric) -> tuple[int, Ints]:
    """The largest |k|^2 of an `rfftn`, and the number of the interval, of SHELLS, of each entry [a, b, c//2+1]."""
    a, b = (np.fft.fftfreq(n, 1 / n).round().astype(np.int64) for n in shape[:2])
    norms = squared_norm(metric, a[:, None, None], b[:, None], np.arange(shape[2] // 2 + 1))
    most = int(norms.max())
    return most, norms * SHELLS // (most + 1)
