"""The decoder: values of a stored grid, on the grid itself, on another grid, or at any points."""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecd_data.codec.atoms import structure_factors
from ecd_data.codec.operations import Shape, cached_group
from ecd_data.codec.stars import Stars
from ecd_data.codec.stream import Contents, Generator, unpack_integers, unpack_stream
from ecd_data.codec.waves import Complexes, Metric, integer_metric
from ecd_data.crystal import Floats
from ecd_data.errors import FormatError
from ecd_data.fourier import Spectrum

CACHED_STARS = 16  # sets of stars that are kept, since crystals of one kind share them


class FourierPayload:
    """The plane waves of one stored grid.

    Parameters
    ----------
    stream : the bytes of an `ecd.fourier` stream.
    lattice [3, 3] : the lattice vectors as rows, in Å.

    Raises
    ------
    FormatError : the bytes are not a stream, are damaged, or belong to another lattice.
    """

    def __init__(self, stream: bytes, lattice: ArrayLike) -> None:
        self._metric = integer_metric(np.asarray(lattice, dtype=np.float64))
        self._contents = unpack_stream(stream, self._metric)

    @property
    def shape(self) -> Shape:
        """The numbers of grid points along a, b and c of the stored grid."""
        return self._contents.shape

    @property
    def mean(self) -> float:
        """The mean of the grid in float64."""
        return self._contents.mean

    @cached_property
    def stars(self) -> Stars:
        """The stars whose amplitudes are stored."""
        contents = self._contents
        return find_stars(contents.shape, _generator_numbers(contents.generators), self._metric, contents.stars)

    @cached_property
    def spectrum(self) -> Spectrum:
        """All plane waves and the mean, as a Spectrum."""
        return Spectrum(self._block(self.mean))

    def decode(self, shape: Shape | None = None) -> NDArray[np.float32]:
        """The values on the stored grid, or on another grid of this shape, in float32."""
        dtype = np.complex128 if self._contents.double else np.complex64
        deviation = Spectrum(self._block(0.0, dtype)).grid(shape or self.shape, dtype)
        values = np.empty(deviation.shape, np.float32)
        return np.add(deviation, self.mean, dtype=np.float64, casting="same_kind", out=values)

    def at(self, frac_points: ArrayLike) -> Floats:
        """The values [n] at fractional positions [n, 3], by Fourier interpolation of the stored grid."""
        return self.spectrum.at(np.asarray(frac_points, dtype=np.float64))

    def _block(self, mean: float, dtype: type = np.complex128) -> Any:
        if not self._contents.stars:
            return np.full((1, 1, 1), mean, dtype=dtype)
        block = self.stars.block(decode_amplitudes(self._contents, self.stars), dtype)
        block[0, 0, 0] = mean
        return block


def decode_amplitudes(contents: Contents, stars: Stars) -> Complexes:
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


def _generator_numbers(generators: tuple[Generator, ...]) -> tuple[tuple[int, ...], ...]:
    return tuple((*w.ravel().tolist(), *t.tolist()) for w, t in generators)


@lru_cache(maxsize=CACHED_STARS)
def find_stars(shape: Shape, generators: tuple[tuple[int, ...], ...], metric: Metric, count: int) -> Stars:
    """The first `count` stars of a group; recent ones are cached, since many crystals share them."""
    group = cached_group(shape, generators)
    if group is None:
        raise FormatError("the ecd.fourier stream is damaged: its operations are not a group")
    stars = Stars.first(group, metric, count)
    if len(stars) != count:
        raise FormatError("the ecd.fourier stream is damaged: it has more coefficients than its grid")
    return stars
