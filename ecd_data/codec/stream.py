"""The bytes of an `ecd.fourier` stream, version 2: what it says, checked before anything is computed from it.

docs/format.md says it byte by byte, with a reader.
"""

from __future__ import annotations

import lzma
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ecd_data.codec import entropy
from ecd_data.codec.atoms import FormFactors, Orbit, Species
from ecd_data.codec.operations import MAX_ENTRY, Ints, Shape
from ecd_data.codec.wave_lengths import Metric
from ecd_data.errors import FormatError

MAGIC, VERSION = b"ECDF", 2
STARS, ATOMS, XZ, DOUBLE = 1, 2, 4, 8
MAX_AXIS, MAX_POINTS = 1 << 15, 1 << 31
MAX_KNOTS, MAX_SPECIES, MAX_ATOMS = 64, 128, 1 << 16
TWENTY_FOURTHS = 24  # special positions are multiples of 1/24 of a lattice vector
FINE = 1 << 31

Generator = tuple[Ints, Ints]  # W in lattice coordinates [3, 3] and t in grid steps [3]


@dataclass(frozen=True, eq=False)
class Contents:
    """What a stream says.

    step: of the amplitudes times the square root of the star's size; stars: how many; integers: the real parts, each
    followed by the imaginary part where the star is not self-conjugate; double: whether float32 is too coarse to decode
    within the bound.
    """

    shape: Shape
    mean: float
    step: float = 0.0
    stars: int = 0
    generators: tuple[Generator, ...] = ()
    atoms: FormFactors | None = None
    body: bytes = b""
    start: int = 0
    xz: bool = False
    double: bool = False


def representable(step: float) -> float:
    """The largest step <= `step` of which a stream holds every bit: 12 bits of mantissa."""
    return float(np.frombuffer(b"\0\0\0\0\0" + struct.pack("<d", step)[5:], "<f8")[0])


def pack(contents: Contents, metric: Metric) -> bytes:
    """The stream."""
    flags = (STARS if contents.stars else 0) | (ATOMS if contents.atoms else 0)
    flags |= (XZ if contents.xz else 0) | (DOUBLE if contents.double else 0)
    out = bytearray(MAGIC + bytes([VERSION, flags]))
    for points in contents.shape:
        out += _varint(points)
    out += struct.pack("<d", contents.mean)
    if contents.stars:
        out += struct.pack("<d", contents.step)[5:] + _varint(contents.stars) + bytes([len(contents.generators)])
        for rotation, shift in contents.generators:
            out += _pack_generator(rotation, shift)
        if contents.atoms:
            out += _pack_atoms(contents.atoms)
        out += bytes([contents.start]) + contents.body
    return bytes(out + struct.pack("<I", _check(bytes(out), metric)))


def unpack(stream: bytes, metric: Metric) -> Contents:
    """What a stream says; raises FormatError where it is not one of ours, damaged, or made for another lattice."""
    if len(stream) < 6 or stream[:4] != MAGIC:
        raise FormatError("not an ecd.fourier stream, or one that is cut")
    if stream[4] != VERSION:
        old = "convert the source again" if stream[4] < VERSION else "update ecd-data"
        raise FormatError(f"ecd.fourier stream of version {stream[4]}, this reader knows {VERSION}: {old}")
    if _check(stream[:-4], metric) != struct.unpack("<I", stream[-4:])[0]:
        raise FormatError("damaged ecd.fourier stream, or one made for another lattice (its checksum differs)")
    try:
        return _read(_Reader(stream[5:-4]))
    except (IndexError, struct.error, ValueError) as error:
        raise FormatError(f"damaged ecd.fourier stream ({error})") from error


def pack_xz(values: Ints) -> bytes:
    """The body of a stream as xz makes it."""
    planes = values.astype("<i4").view(np.uint8).reshape(-1, 4).T  # bytes of one significance lie together
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": max(4096, planes.size)}]
    return lzma.compress(planes.tobytes(), lzma.FORMAT_XZ, lzma.CHECK_NONE, filters=filters)


def unpack_integers(contents: Contents, count: int) -> Ints:
    """The `count` integers of a body; raises FormatError."""
    if not contents.xz:
        return entropy.decode(contents.body, count, contents.start)
    unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=1 << 28)
    try:
        planes = unpacker.decompress(contents.body, max_length=4 * count + 1)
    except (lzma.LZMAError, EOFError) as error:
        raise FormatError(f"damaged ecd.fourier stream ({error})") from error
    if len(planes) != 4 * count:
        raise FormatError("damaged ecd.fourier stream (the coefficients do not match the header)")
    return np.frombuffer(planes, np.uint8).reshape(4, -1).T.copy().view("<i4").ravel().astype(np.int64)


def _check(head: bytes, metric: Metric) -> int:
    return zlib.crc32(struct.pack("<6q", *metric), zlib.crc32(head))


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; the high bit says that more follow."""
    out = bytearray()
    while number >= 128:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def _pack_generator(rotation: Ints, shift: Ints) -> bytes:
    moved = bool(shift.any())
    if np.abs(rotation).max() <= 1:
        code = int(((rotation.ravel() + 1) * 3 ** np.arange(9)).sum())
        out = struct.pack("<H", code + (3**9 if moved else 0))
    else:
        out = struct.pack("<H9b", 2 * 3**9 + moved, *rotation.ravel().tolist())
    return out + (b"".join(_varint(int(t)) for t in shift) if moved else b"")


def _pack_atoms(atoms: FormFactors) -> bytes:
    out = bytearray([len(atoms.integers), atoms.exponent & 255]) + _varint(len(atoms.species))
    for orbits in atoms.species:
        out += _varint(len(orbits))
        for orbit in orbits:
            out += _varint(orbit.atoms) + b"".join(map(_pack_coordinate, orbit.frac_coords))
    values = atoms.integers.ravel()
    start = entropy.starting_scale(values)
    body = entropy.encode(values, start)
    return bytes(out + bytes([start]) + _varint(len(body)) + body)


def _pack_coordinate(x: float) -> bytes:
    near = round(x * TWENTY_FOURTHS)
    if abs(x * TWENTY_FOURTHS - near) < 1e-4:
        return bytes([near % TWENTY_FOURTHS])
    return struct.pack(">I", FINE | min(int(x % 1.0 * FINE), FINE - 1))


def stored_species(species: Species) -> Species:
    """The species with coordinates as a stream keeps them."""
    return tuple(tuple(_stored(orbit) for orbit in orbits) for orbits in species)


def _stored(orbit: Orbit) -> Orbit:
    x, y, z = (_Reader(_pack_coordinate(x)).coordinate() for x in orbit.frac_coords)
    return Orbit((x, y, z), orbit.atoms)


class _Reader:
    """Takes fields off the front of the bytes."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place = data, 0

    def take(self, count: int) -> bytes:
        piece = self.data[self.place : self.place + count]
        if len(piece) != count:
            raise ValueError("it is cut")
        self.place += count
        return piece

    def byte(self) -> int:
        return self.take(1)[0]

    def varint(self, most: int) -> int:
        number = 0
        for position in range(0, 35, 7):
            byte = self.byte()
            number |= (byte & 127) << position
            if byte < 128:
                break
        if number > most:
            raise ValueError(f"the number {number} is impossible")
        return number

    def coordinate(self) -> float:
        first = self.byte()
        if first < 128:
            return first / TWENTY_FOURTHS
        (rest,) = struct.unpack(">I", bytes([first]) + self.take(3))
        return (rest - FINE) / FINE

    def generator(self, shape: Shape) -> Generator:
        (code,) = struct.unpack("<H", self.take(2))
        moved, code = (code - 2 * 3**9, -1) if code >= 2 * 3**9 else divmod(code, 3**9)
        if code < 0:
            rotation = np.frombuffer(self.take(9), np.int8).astype(np.int64)
        else:
            rotation = code // 3 ** np.arange(9) % 3 - 1
        if np.abs(rotation).max() > MAX_ENTRY or moved > 1:
            raise ValueError("an operation is impossible")
        shift = [self.varint(n - 1) for n in shape] if moved else [0, 0, 0]
        return rotation.reshape(3, 3), np.array(shift)

    def atoms(self) -> FormFactors:
        knots, exponent = struct.unpack("<Bb", self.take(2))
        if not 4 <= knots <= MAX_KNOTS:
            raise ValueError(f"{knots} knots are impossible")
        species = []
        for _ in range(self.varint(MAX_SPECIES)):
            orbits = []
            for _ in range(self.varint(MAX_ATOMS)):
                atoms = self.varint(MAX_ATOMS)
                orbits.append(Orbit((self.coordinate(), self.coordinate(), self.coordinate()), atoms))
            species.append(tuple(orbits))
        start = self.byte()
        integers = entropy.decode(self.take(self.varint(1 << 20)), knots * len(species), start)
        return FormFactors(tuple(species), integers.reshape(knots, len(species)), exponent)


def _read(reader: _Reader) -> Contents:
    flags = reader.byte()
    if flags & ~(STARS | ATOMS | XZ | DOUBLE):
        raise ValueError("it has unknown flags")
    shape = (reader.varint(MAX_AXIS), reader.varint(MAX_AXIS), reader.varint(MAX_AXIS))
    points = shape[0] * shape[1] * shape[2]
    if not 0 < points <= MAX_POINTS:
        raise ValueError(f"a grid {shape} is impossible")
    (mean,) = struct.unpack("<d", reader.take(8))
    if not flags & STARS:
        if reader.place != len(reader.data):
            raise ValueError("it is too long")
        return Contents(shape, mean)
    (step,) = struct.unpack("<d", b"\0\0\0\0\0" + reader.take(3))
    stars = reader.varint(points)
    generators = tuple(reader.generator(shape) for _ in range(reader.byte()))
    for rotation, _ in generators:
        _check_fits(rotation, shape)
    atoms = reader.atoms() if flags & ATOMS else None
    start = reader.byte()
    if start >= entropy.CONTEXTS:
        raise ValueError("its first magnitude is impossible")
    body = reader.take(len(reader.data) - reader.place)
    return Contents(shape, mean, step, stars, generators, atoms, body, start, bool(flags & XZ), bool(flags & DOUBLE))


def _check_fits(rotation: Ints, shape: Sequence[int]) -> None:
    n = np.array(shape)
    if abs(round(float(np.linalg.det(rotation)))) != 1 or (rotation * n[:, None] % n).any():
        raise ValueError("an operation does not fit the grid")
