"""The amplitudes of stars, rounded to multiples of one step: their integers, error and approximate number of bits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ecd_data.codec import entropy
from ecd_data.codec.atoms import FormFactors
from ecd_data.codec.operations import Ints
from ecd_data.codec.stars import Stars
from ecd_data.crystal import Floats

DEAD_ZONE = 0.1  # values are rounded up only from 0.6 of a step on: fewer bits for hardly more error
MAX_EXACT = 2000  # integers: more of them are not encoded for an estimate of their bits
BLOCK = 12  # integers whose magnitude an estimate of bits takes for constant


@dataclass(frozen=True, eq=False)
class QuantisedStars:
    """The amplitudes of stars as multiples of one step.

    real, imag [s]: the two parts in units of the step; atoms: the prediction that was subtracted; square: the mean
    square error.
    """

    stars: Stars
    step: float
    real: Floats
    imag: Floats
    atoms: FormFactors | None
    square: float

    @cached_property
    def count(self) -> int:
        """The number of stars in the stream: all with atoms, which predict all of them, else up to the last nonzero."""
        if self.atoms is not None:
            return len(self.stars)
        nonzero = np.flatnonzero((self.real != 0) | (self.imag != 0))
        return int(nonzero[-1]) + 1 if len(nonzero) else 1

    @property
    def integers(self) -> Ints:
        """The integers of the stream: the real part of each star, and the imaginary one unless it is self-conjugate."""
        parts = np.stack([self.real, self.imag], axis=1)[: self.count]
        stored = np.stack([np.ones(self.count, dtype=bool), ~self.stars.real[: self.count]], axis=1)
        chosen = parts[stored]
        if not np.abs(chosen).max(initial=0) < entropy.LARGEST:
            raise OverflowError("a coefficient is beyond the coder's range")
        return chosen.astype(np.int64)

    @property
    def bits(self) -> float:
        """The approximate number of bits of the integers."""
        own = 0.0 if self.atoms is None else estimate_bits(self.atoms.integers.ravel()) + 40
        return own + estimate_bits(self.integers)


def round_parts(x: Floats) -> Floats:
    """The integers, in float64, as which parts `x` in units of the step are stored."""
    size = np.floor(np.abs(x) + (0.5 - DEAD_ZONE))
    return np.copysign(size, x)


def estimate_bits(integers: Ints) -> float:
    """The number of bits that the coder needs for integers.

    For many integers it is the entropy of geometric magnitudes that change slowly.
    """
    if len(integers) <= MAX_EXACT:
        return 8.0 * len(entropy.encode(integers, entropy.starting_scale(integers)))
    size = np.abs(np.pad(integers, (0, -len(integers) % BLOCK)))
    mean = size.reshape(-1, BLOCK).mean(axis=1) + 0.02
    return float(BLOCK * (np.log2(1 + mean) + mean * np.log2(1 + 1 / mean) + mean / (1 + mean)).sum())
