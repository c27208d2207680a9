"""A periodic grid as quantised Fourier coefficients: bytes with a checked error bound, and back.

Stream, version 1, little-endian: magic "ECDF", version u8, width u8, check u16, shape 3 x u32, metric 6 x i64, mean
f64, step f64, kept u32, then an xz stream of `kept` complex integers. The metric is the reciprocal lattice's Gram
matrix (aa, bb, cc, bc, ac, ab) in integers, so that every machine sorts the coefficients in the same order.
docs/format.md says it byte by byte, with a reader.
"""

from __future__ import annotations

import binascii
import lzma
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from ecd_data.crystal import Floats
from ecd_data.errors import EcdError, FormatError

MAGIC, VERSION = b"ECDF", 1
HEADER = struct.Struct("<4sBBH3I6qddI")
METRIC_BITS = 36
MAX_POINTS = 1 << 31

Shape = tuple[int, int, int]

Ints = NDArray[np.int64]


class BoundError(EcdError):
    """The Fourier form cannot keep the asked error bound."""


@dataclass(frozen=True)
class Sphere:
    """The independent coefficients of a real grid in the order of the stream: by |G|, the mean left out.

    index: flat positions in the rfftn array; weight: 2 where the conjugate is implied, 1 where it is the same point.
    """

    index: Ints
    weight: Floats

    @classmethod
    def of(cls, shape: Shape, metric: Ints, first: int | None = None) -> Sphere:
        """The coefficients of a grid with this integer metric, one of each conjugate pair: all, or the `first` ones."""
        half = (shape[0], shape[1], shape[2] // 2 + 1)
        ka, kb, kc = (_frequencies(shape[0]), _frequencies(shape[1]), np.arange(half[2]))
        aa, bb, cc, bc, ac, ab = metric.tolist()
        k = (ka[:, None, None], kb[None, :, None], kc[None, None, :])
        norm = aa * k[0] ** 2 + bb * k[1] ** 2 + cc * k[2] ** 2
        norm = norm + 2 * (bc * k[1] * k[2] + ac * k[0] * k[2] + ab * k[0] * k[1])
        flat = np.arange(norm.size).reshape(half)
        weight = np.full(half, 2.0)
        keep = np.ones(half, dtype=bool)
        for plane in {0, shape[2] // 2} if shape[2] % 2 == 0 else {0}:
            partner = flat[(-np.arange(shape[0])) % shape[0]][:, (-np.arange(shape[1])) % shape[1], plane]
            keep[:, :, plane] = flat[:, :, plane] <= partner
            weight[:, :, plane] = np.where(flat[:, :, plane] == partner, 1.0, 2.0)
        keep[0, 0, 0] = False
        chosen, norms = flat[keep], norm[keep]
        if first is not None and 0 < first < len(chosen):  # sorting is the cost of decoding: leave out what comes later
            inside = norms <= np.partition(norms, first - 1)[first - 1]
            chosen, norms = chosen[inside], norms[inside]
        chosen = chosen[np.argsort(norms, kind="stable")[:first]]
        return cls(chosen, weight.ravel()[chosen])


def _frequencies(points: int) -> Ints:
    return np.fft.fftfreq(points, 1 / points).round().astype(np.int64)


def integer_metric(lattice: Floats) -> Ints:
    """The reciprocal Gram matrix (aa, bb, cc, bc, ac, ab) scaled to integers of METRIC_BITS bits [6]."""
    reciprocal = np.linalg.inv(lattice).T
    gram = reciprocal @ reciprocal.T
    six = np.array([gram[0, 0], gram[1, 1], gram[2, 2], gram[1, 2], gram[0, 2], gram[0, 1]])
    return np.round(six * (2.0**METRIC_BITS / np.abs(six).max())).astype(np.int64)


def encode(values: NDArray[np.floating], lattice: Floats, tolerance: float) -> bytes:
    """A stream whose decoded grid differs from `values` [a, b, c] by at most `tolerance` in mean|difference|.

    The bound is checked on the decoded stream. Raises BoundError where it cannot be kept (not finite, or finer than
    float32).
    """
    grid = np.asarray(values, dtype=np.float64)
    if not np.isfinite(grid).all():
        raise BoundError("the grid holds values that are not finite")
    if not tolerance > 0:
        raise BoundError(f"a mean error of {tolerance:.3g} e/Å^3 is finer than float32")
    shape: Shape = grid.shape
    metric = integer_metric(lattice)
    sphere = Sphere.of(shape, metric)
    mean = float(grid.mean())
    chosen = fft.rfftn(grid, norm="forward").ravel()[sphere.index]
    step = _guess_step(chosen, sphere.weight, tolerance)
    best: bytes | None = None
    for _ in range(12):
        stream = _pack(chosen, step, mean, shape, metric)
        error = float(np.abs(_grid(_open(stream), sphere) - grid).mean())
        if error <= tolerance:
            best = stream
            if error > 0.93 * tolerance or not _open(stream).kept:  # nothing is left to save
                break
        elif best is not None:
            break
        step *= min(2.0, 0.97 * tolerance / error) if error > 0 else 2.0
    if best is None:
        raise BoundError(f"a mean error of {tolerance:.3g} e/Å^3 is out of reach of the Fourier form in float32")
    return best


def decode(stream: bytes, shape: tuple[int, ...] | None = None) -> NDArray[np.float32]:
    """The grid [a, b, c] of a stream; raises FormatError where it is not one of ours, damaged, or not of `shape`."""
    opened = _open(stream)
    if shape is not None and opened.shape != tuple(shape):
        raise FormatError(f"ecd.fourier stream of a grid {opened.shape} where {tuple(shape)} is due")
    return _grid(opened, Sphere.of(opened.shape, opened.metric, opened.kept))


def outer_share(values: NDArray[np.floating]) -> float:
    """The part of mean|values| that lies in the outermost tenth of the grid's frequencies.

    Valence densities leave it almost empty; cusps at nuclei and noise fill it.
    """
    coefficients = fft.rfftn(values)
    for axis, points in enumerate(values.shape):
        inner = np.abs(_frequencies(points))[: coefficients.shape[axis]] <= 0.45 * points
        coefficients *= inner.reshape([-1 if i == axis else 1 for i in range(3)])
    outer = values - fft.irfftn(coefficients, s=values.shape)
    return float(np.abs(outer).mean() / max(float(np.abs(values).mean()), 1e-300))


def _guess_step(chosen: NDArray[np.complex128], weight: Floats, tolerance: float) -> float:
    """The quantisation step whose Gaussian error, by Parseval, has the mean absolute value `tolerance`."""
    target = tolerance**2 * np.pi / 2
    parts = np.concatenate([chosen.real, chosen.imag])
    weights = np.concatenate([weight, weight])
    live = np.abs(parts) > 1e-3 * tolerance / max(1.0, len(parts)) ** 0.5
    parts, weights = parts[live], weights[live]
    if len(parts) == 0:
        return tolerance
    low, high = np.log(tolerance) - 30, np.log(np.abs(parts).max()) + 1
    for _ in range(30):
        step = np.exp((low + high) / 2)
        residual = parts - step * np.round(parts / step)
        low, high = (low, np.log(step)) if (weights * residual**2).sum() > target else (np.log(step), high)
    return float(np.exp(low))


def _pack(chosen: NDArray[np.complex128], step: float, mean: float, shape: Shape, metric: Ints) -> bytes:
    real, imag = (np.round(part / step) for part in (chosen.real, chosen.imag))
    peak = max(np.abs(real).max(initial=0), np.abs(imag).max(initial=0))
    if not peak < 2**31:
        raise BoundError("the grid spans too many orders of magnitude for the asked bound")
    nonzero = np.flatnonzero((real != 0) | (imag != 0))
    kept = int(nonzero[-1]) + 1 if len(nonzero) else 0
    width = 1 if peak < 2**7 else 2 if peak < 2**15 else 4
    integers = np.stack([real[:kept], imag[:kept]]).astype(f"<i{width}")
    planes = integers.reshape(-1).view(np.uint8).reshape(-1, width).T  # bytes of one significance lie together
    fields = (*shape, *metric.tolist(), mean, step, kept)
    check = _check(HEADER.pack(MAGIC, VERSION, width, 0, *fields))
    dictionary = min(1 << 26, max(4096, planes.size))  # the preset's 64 MiB would cost more time than the work
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": dictionary}]
    body = lzma.compress(planes.tobytes(), lzma.FORMAT_XZ, lzma.CHECK_CRC32, filters=filters)
    return HEADER.pack(MAGIC, VERSION, width, check, *fields) + body


def _check(header: bytes) -> int:
    """CRC-16/XMODEM of a header without its two check bytes, 65535 in place of 0."""
    return binascii.crc_hqx(header[:6] + header[8:], 0) or 0xFFFF


@dataclass(frozen=True)
class _Stream:
    shape: Shape
    metric: Ints
    mean: float
    step: float
    kept: int
    integers: NDArray[np.signedinteger]  # real and imaginary parts [2, kept]


def _open(stream: bytes) -> _Stream:
    """The checked contents of a stream, before anything of the grid's size is made."""
    if len(stream) < HEADER.size or stream[:4] != MAGIC:
        raise FormatError("not an ecd.fourier stream, or one that is cut")
    if stream[4] != VERSION:
        raise FormatError(f"ecd.fourier stream of version {stream[4]}, this reader knows {VERSION}: update ecd-data")
    _, _, width, check, a, b, c, *metric, mean, step, kept = HEADER.unpack_from(stream)
    if check not in (0, _check(stream[: HEADER.size])):  # 0: written before there was a check
        raise FormatError("damaged ecd.fourier stream (its header was altered)")
    points = a * b * c
    if not 0 < points <= MAX_POINTS or width not in (1, 2, 4) or 2 * kept > points + 8:
        raise FormatError(f"ecd.fourier stream with an impossible grid {(a, b, c)} or number of coefficients {kept}")
    size = 2 * kept * width
    unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=1 << 28)
    try:
        planes = unpacker.decompress(stream[HEADER.size :], max_length=size + 1)
    except (lzma.LZMAError, EOFError) as error:
        raise FormatError(f"damaged ecd.fourier stream ({error})") from error
    if len(planes) != size or not unpacker.eof or unpacker.unused_data:
        raise FormatError("damaged ecd.fourier stream (the coefficients do not match the header)")
    integers = np.frombuffer(planes, np.uint8).reshape(width, -1).T.copy().view(f"<i{width}").reshape(2, kept)
    return _Stream((a, b, c), np.array(metric, dtype=np.int64), mean, step, kept, integers)


def _grid(stream: _Stream, sphere: Sphere) -> NDArray[np.float32]:
    a, b, c = stream.shape
    half = np.zeros(a * b * (c // 2 + 1), dtype=np.complex128)
    if stream.kept > len(sphere.index):
        raise FormatError("damaged ecd.fourier stream (more coefficients than the grid has)")
    kept = sphere.index[: stream.kept]
    half.real[kept] = stream.step * stream.integers[0]
    half.imag[kept] = stream.step * stream.integers[1]
    half[0] = stream.mean
    grid = half.reshape(a, b, -1)
    _mirror(grid, stream.shape)
    return fft.irfftn(grid, s=stream.shape, norm="forward").astype(np.float32)


def _mirror(half: NDArray[np.complex128], shape: Shape) -> None:
    """Fill the conjugates that lie inside the half space: they were left out of the stream."""
    for plane in {0, shape[2] // 2} if shape[2] % 2 == 0 else {0}:
        block = half[:, :, plane]
        partner = block[(-np.arange(shape[0])) % shape[0]][:, (-np.arange(shape[1])) % shape[1]].conj()
        half[:, :, plane] = np.where(block == 0, partner, block)
