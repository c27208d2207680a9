"""Fourier coefficients quantised at one step: the integers that a stream would hold, and about what they take."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ecd_data.codec import entropy
from ecd_data.codec.atoms import FormFactors
from ecd_data.codec.operations import Ints
from ecd_data.codec.stars import Stars
from ecd_data.crystal import Floats

DEAD_ZONE = 0.1  # a value becomes an integer from 0.6 of a step on: fewer bits for hardly more error
EXACT_UP_TO = 2000
BLOCK = 12  # integers over which the magnitude is taken for constant in an estimate of bits


@dataclass(frozen=True, eq=False)
class Trial:
    """Integers at one step and their mean square error."""

    stars: Stars
    step: float
    real: Floats
    imag: Floats
    atoms: FormFactors | None
    square: float

    @cached_property
    def count(self) -> int:
        """Stars that the stream holds: all that the atoms predict, else up to the last one that is not zero."""
        if self.atoms is not None:
            return len(self.stars)
        live = np.flatnonzero((self.real != 0) | (self.imag != 0))
        return int(live[-1]) + 1 if len(live) else 1

    @property
    def integers(self) -> Ints:
        """Both parts of every star in the stream, real ones without the second."""
        parts = np.stack([self.real, self.imag], axis=1)[: self.count]
        kept = np.stack([np.ones(self.count, dtype=bool), ~self.stars.real[: self.count]], axis=1)
        chosen = parts[kept]
        if not np.abs(chosen).max(initial=0) < entropy.LARGEST:
            raise OverflowError("coefficients beyond the coder's range")
        return chosen.astype(np.int64)

    @property
    def bits(self) -> float:
        """About how many bits the integers take."""
        own = 0.0 if self.atoms is None else estimated_bits(self.atoms.integers.ravel()) + 40
        return own + estimated_bits(self.integers)


def rounded_parts(x: Floats) -> Floats:
    """Real or imaginary parts in units of the step as the integers they are stored as, in float64."""
    size = np.floor(np.abs(x) + (0.5 - DEAD_ZONE))
    return np.copysign(size, x)


def estimated_bits(integers: Ints) -> float:
    """What the coder makes of integers; of many, the entropy if their magnitude is geometric and changes slowly."""
    if len(integers) <= EXACT_UP_TO:
        return 8.0 * len(entropy.encode(integers, entropy.starting_scale(integers)))
    size = np.abs(np.pad(integers, (0, -len(integers) % BLOCK)))
    mean = size.reshape(-1, BLOCK).mean(axis=1) + 0.02
    return float(BLOCK * (np.log2(1 + mean) + mean * np.log2(1 + 1 / mean) + mean / (1 + mean)).sum())
