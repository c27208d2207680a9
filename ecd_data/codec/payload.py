"""A stream opened for use: the whole grid, any other grid, any points, a randomly shifted coarse grid."""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecd_data.codec.atoms import structure_factors
from ecd_data.codec.operations import Shape, generated_by
from ecd_data.codec.stars import Stars
from ecd_data.codec.stream import Contents, Generator, unpack, unpack_integers
from ecd_data.codec.wave_lengths import Metric, integer_metric
from ecd_data.codec.waves import Complexes
from ecd_data.crystal import Floats
from ecd_data.errors import FormatError
from ecd_data.fourier import Spectrum

CACHED_STARS = 16


class FourierPayload:
    """The plane waves of one stored grid.

    stream: the bytes of `ecd.fourier`; lattice [3, 3]: rows in Å. Raises FormatError where the bytes are not a stream,
    damaged, or of another lattice.
    """

    def __init__(self, stream: bytes, lattice: ArrayLike) -> None:
        self._metric = integer_metric(np.asarray(lattice, dtype=np.float64))
        self._contents = unpack(stream, self._metric)

    @property
    def shape(self) -> Shape:
        """The grid that was stored."""
        return self._contents.shape

    @property
    def mean(self) -> float:
        """The mean of the grid in float64."""
        return self._contents.mean

    @cached_property
    def stars(self) -> Stars:
        """One plane wave of each star that is stored."""
        contents = self._contents
        return stars_of(contents.shape, _hashable(contents.generators), self._metric, contents.stars)

    @cached_property
    def spectrum(self) -> Spectrum:
        """The plane waves, all of them, with the mean."""
        return Spectrum(self._block(self.mean))

    def decode(self, shape: Shape | None = None) -> NDArray[np.float32]:
        """Values on the stored grid or on any other [shape], in float32."""
        dtype = np.complex128 if self._contents.double else np.complex64
        ripple = Spectrum(self._block(0.0, dtype)).grid(shape or self.shape, dtype)
        values = np.empty(ripple.shape, np.float32)
        return np.add(ripple, self.mean, dtype=np.float64, casting="same_kind", out=values)

    def at(self, frac_points: ArrayLike) -> Floats:
        """Values at fractional positions [n, 3], exact for the trigonometric interpolant of the stored grid [n]."""
        return self.spectrum.at(np.asarray(frac_points, dtype=np.float64))

    def shifted(self, rng: np.random.Generator) -> tuple[NDArray[np.float32], Floats]:
        """Values on the smallest grid that holds every plane wave, randomly shifted, and the shift.

        Value [i, j, k] of grid [a, b, c] is the density at fractional position (i/a, j/b, k/c) + shift, exactly.
        """
        shift = rng.random(3)
        moved = self.spectrum.moved(shift)
        dtype = np.complex128 if self._contents.double else np.complex64
        return moved.grid(moved.smallest_shape, dtype).astype(np.float32, copy=False), shift

    def _block(self, mean: float, dtype: type = np.complex128) -> Any:
        if not self._contents.stars:
            return np.full((1, 1, 1), mean, dtype=dtype)
        block = self.stars.block(amplitudes(self._contents, self.stars), dtype)
        block[0, 0, 0] = mean
        return block


def amplitudes(contents: Contents, stars: Stars) -> Complexes:
    """The amplitudes of the stars of a stream [s]."""
    parts = np.where(stars.real, 1, 2)
    ends = np.cumsum(parts)
    integers = unpack_integers(contents, int(ends[-1]))
    scaled = np.zeros(len(stars), dtype=np.complex128)
    scaled.real = integers[ends - parts]
    scaled.imag[~stars.real] = integers[ends[~stars.real] - 1]
    scaled /= np.sqrt(stars.size)
    if contents.atoms is not None:
        scaled += contents.atoms.predict(stars, structure_factors(stars, contents.atoms.species))
    return contents.step * scaled


def _hashable(generators: tuple[Generator, ...]) -> tuple[tuple[int, ...], ...]:
    return tuple((*w.ravel().tolist(), *t.tolist()) for w, t in generators)


@lru_cache(maxsize=CACHED_STARS)
def stars_of(shape: Shape, generators: tuple[tuple[int, ...], ...], metric: Metric, count: int) -> Stars:
    """The first `count` stars; kept, since many crystals share them."""
    group = generated_by(shape, generators)
    if group is None:
        raise FormatError("damaged ecd.fourier stream (its operations are no group)")
    stars = Stars.first(group, metric, count)
    if len(stars) != count:
        raise FormatError("damaged ecd.fourier stream (more coefficients than the grid has)")
    return stars
