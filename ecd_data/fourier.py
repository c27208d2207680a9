"""Periodic grids as trigonometric polynomials: regridding and values at any position."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from ecd_data.crystal import Floats

Complexes = NDArray[np.complex128]
MAX_BLOCK_BYTES = 1 << 27  # bounds the phase tables of `evaluate`


def resample(values: Floats, shape: tuple[int, int, int]) -> Floats:
    """The trigonometric interpolant of a grid [a, b, c] on another grid [shape]; the mean is kept.

    A Nyquist coefficient is shared equally between +n/2 and -n/2, so that refining is exact at the old points
    and coarsening is the Fourier truncation.
    """
    shape = tuple(int(n) for n in shape)  # type: ignore[assignment]
    if len(shape) != 3 or min(shape) < 1:
        raise ValueError(f"a grid needs three positive numbers of points, got {shape}")
    coefficients = fft.fftn(values, norm="forward")
    for axis, points in enumerate(shape):
        coefficients = _resize_axis(coefficients, axis, points)
    return np.ascontiguousarray(fft.ifftn(coefficients, norm="forward").real)


def _resize_axis(coefficients: Complexes, axis: int, points: int) -> Complexes:
    old = coefficients.shape[axis]
    if points == old:
        return coefficients
    source = np.moveaxis(coefficients, axis, 0)
    result = np.zeros((points, *source.shape[1:]), dtype=np.complex128)
    kept = min(old, points)
    half = (kept - 1) // 2
    result[: half + 1] = source[: half + 1]
    if half:
        result[-half:] = source[-half:]
    if kept % 2 == 0:
        k = kept // 2
        if points > old:
            result[k] = result[-k] = 0.5 * source[k]
        else:
            result[k] = source[k] + source[-k]
    return np.moveaxis(result, 0, axis)


def evaluate(values: Floats, frac_points: Floats) -> Floats:
    """The trigonometric interpolant of a grid [a, b, c] at fractional positions [n, 3], summed directly [n]."""
    if frac_points.ndim != 2 or frac_points.shape[1] != 3:
        raise ValueError(f"positions must have shape [n, 3], got {frac_points.shape}")
    coefficients = fft.rfftn(values, norm="forward")
    last = values.shape[2]
    weight = np.full(coefficients.shape[2], 2.0)
    weight[0] = 1.0
    if last % 2 == 0:
        weight[-1] = 1.0
    coefficients = coefficients * weight
    result = np.empty(len(frac_points))
    block = max(1, MAX_BLOCK_BYTES // (16 * coefficients.shape[0] * coefficients.shape[1]))
    for start in range(0, len(frac_points), block):
        points = frac_points[start : start + block]
        phases = [_phases(points[:, axis], values.shape[axis], axis == 2) for axis in range(3)]
        inner = np.einsum("abc,nc->nab", coefficients, phases[2], optimize=True)
        result[start : start + block] = np.einsum("nab,na,nb->n", inner, phases[0], phases[1], optimize=True).real
    return result


def _phases(coordinates: Floats, points: int, half: bool) -> Complexes:
    """exp(2 pi i k x) for the frequencies of one axis; a Nyquist frequency becomes its cosine, +n/2 and -n/2 shared."""
    k = np.arange(points // 2 + 1) if half else fft.fftfreq(points, 1 / points)
    phase = np.exp(2j * np.pi * np.outer(coordinates, k))
    if points % 2 == 0:
        phase[:, points // 2] = phase[:, points // 2].real
    return phase
