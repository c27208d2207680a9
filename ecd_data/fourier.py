"""Fourier interpolation of periodic grids: values on other grids and at any position."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike, NDArray
from scipy import fft

from ecd_data.crystal import Floats

Complexes = NDArray[np.complex128]
Shape = tuple[int, int, int]
MAX_BLOCK_BYTES = 1 << 27  # limits the memory of the phase tables in `Spectrum.at`


def resample(values: Floats, shape: Shape) -> Floats:
    """The values of a grid [a, b, c] on another grid [shape], by Fourier interpolation; the mean stays the same.

    A Nyquist coefficient is divided equally between +n/2 and -n/2. So a finer grid has the old values at the old
    points, and a coarser grid is the Fourier truncation.
    """
    return Spectrum.of_grid(values).grid(shape).astype(np.float64, copy=False)


def evaluate(values: Floats, frac_points: Floats) -> Floats:
    """The values [n] of a grid [a, b, c] at fractional positions [n, 3], by Fourier interpolation."""
    return Spectrum.of_grid(values).at(frac_points)


def outer_share(values: Floats) -> float:
    """The fraction of mean|values| that lies in the outermost tenth of the grid's frequencies.

    It is almost zero for valence densities; cusps at nuclei and noise make it large.
    """
    coefficients = fft.rfftn(values)
    for axis, points in enumerate(values.shape):
        inner = np.abs(fft.fftfreq(points, 1 / points))[: coefficients.shape[axis]] <= 0.45 * points
        coefficients *= inner.reshape([-1 if i == axis else 1 for i in range(3)])
    outer = values - fft.irfftn(coefficients, s=values.shape)
    return float(np.abs(outer).mean() / max(float(np.abs(values).mean()), 1e-300))


@dataclass(frozen=True, eq=False)
class Spectrum:
    """A real trigonometric polynomial: the coefficients of exp(2 pi i k.x) for |ka| <= A, |kb| <= B, 0 <= kc <= C.

    block [2A+1, 2B+1, C+1] holds the frequencies 0, 1, ..., A, -A, ..., -1 along a and b. The coefficients with
    kc < 0 are not stored, since they are complex conjugates.
    """

    block: Complexes

    @classmethod
    def of_grid(cls, values: Floats) -> Spectrum:
        """The Fourier interpolant of a grid [a, b, c]."""
        return cls.of_half(fft.rfftn(values, norm="forward"), values.shape)

    @classmethod
    def of_half(cls, half: Complexes, shape: tuple[int, ...]) -> Spectrum:
        """The interpolant of a grid [shape] from its `rfftn`, which may lack the highest frequencies."""
        for axis in (0, 1):
            if half.shape[axis] % 2 == 0:
                half = _split_nyquist(half, axis)
        if shape[2] % 2 == 0 and half.shape[2] == shape[2] // 2 + 1:
            half = np.concatenate([half[:, :, :-1], 0.5 * half[:, :, -1:]], axis=2)
        return cls(half)

    def grid(self, shape: Shape, dtype: DTypeLike = np.complex128) -> NDArray[np.floating]:
        """The values on a grid [shape]; frequencies that the grid does not resolve are dropped, as in `resample`."""
        shape = tuple(int(n) for n in shape)  # type: ignore[assignment]
        if len(shape) != 3 or min(shape) < 1:
            raise ValueError(f"a grid needs three positive numbers of points, got {shape}")
        half = self.block.astype(dtype, copy=False)
        half = self._trim(half, shape)
        for axis in (0, 1):
            half = fft.ifft(_resize(half, axis, shape[axis]), axis=axis, norm="forward", overwrite_x=True)
        return fft.irfft(half, n=shape[2], axis=2, norm="forward", overwrite_x=True)

    @staticmethod
    def _trim(half: NDArray[np.complexfloating], shape: Shape) -> NDArray[np.complexfloating]:
        """The frequencies that the last axis of the grid resolves; its Nyquist plane holds both signs."""
        kept = half[:, :, : (shape[2] - 1) // 2 + 1]
        nyquist = shape[2] // 2
        if shape[2] % 2 or half.shape[2] <= nyquist:
            return kept
        return np.concatenate([kept, 2 * half[:, :, nyquist : nyquist + 1]], axis=2)

    def at(self, frac_points: Floats) -> Floats:
        """The values [n] at fractional positions [n, 3], by a direct sum over the plane waves."""
        if frac_points.ndim != 2 or frac_points.shape[1] != 3:
            raise ValueError(f"positions must have shape [n, 3], got {frac_points.shape}")
        a, b, c = self.block.shape
        weighted = (self.block * np.where(np.arange(c) > 0, 2.0, 1.0)).reshape(a * b, c)
        result = np.empty(len(frac_points))
        step = max(1, MAX_BLOCK_BYTES // (16 * a * b))
        for start in range(0, len(frac_points), step):
            points = frac_points[start : start + step]
            waves = [_waves(points[:, axis], n, axis == 2) for axis, n in enumerate((a, b, c))]
            inner = (weighted @ waves[2].T).reshape(a, b, -1)
            result[start : start + step] = np.einsum("abn,na,nb->n", inner, waves[0], waves[1], optimize=True).real
        return result


def _waves(coordinates: Floats, count: int, half: bool) -> Complexes:
    """The plane waves exp(2 pi i k x) [n, count] of one axis; `half`: of the axis without negative frequencies."""
    k = np.arange(count) if half else fft.fftfreq(count, 1 / count)
    return np.exp(2j * np.pi * np.outer(coordinates, k))


def _split_nyquist(half: Complexes, axis: int) -> Complexes:
    middle = half.shape[axis] // 2
    front, nyquist, back = np.split(half, [middle, middle + 1], axis=axis)
    return np.concatenate([front, 0.5 * nyquist, 0.5 * nyquist, back], axis=axis)


def _resize(half: NDArray[np.complexfloating], axis: int, points: int) -> NDArray[np.complexfloating]:
    """The same coefficients with as many frequencies along one axis as a grid of `points` has."""
    most = half.shape[axis] // 2
    kept = min(most, (points - 1) // 2)
    result = np.zeros((*half.shape[:axis], points, *half.shape[axis + 1 :]), dtype=half.dtype)
    into, source = np.moveaxis(result, axis, 0), np.moveaxis(half, axis, 0)
    into[: kept + 1] = source[: kept + 1]
    if kept:
        into[-kept:] = source[-kept:]
    if points % 2 == 0 and most >= points // 2:
        into[points // 2] = source[points // 2] + source[-(points // 2)]
    return result
