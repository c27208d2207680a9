"""The bytes of an `ecd.fourier` stream, version 2: writing them, and reading them with checks of every field.

docs/format.md describes every byte, with a reader in NumPy.
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
from ecd_data.codec.waves import Metric
from ecd_data.errors import FormatError

MAGIC, VERSION = b"ECDF", 2
STARS, ATOMS, XZ, DOUBLE = 1, 2, 4, 8  # flags
MAX_AXIS, MAX_POINTS = 1 << 15, 1 << 31  # larger grids in a stream are damage: refused before memory is taken
MAX_KNOTS, MAX_SPECIES, MAX_ATOMS = 64, 128, 1 << 16  # the same for form factors and their atoms
TWENTY_FOURTHS = 24  # special positions are multiples of 1/24 of a lattice vector and take one byte
FULL_COORDINATE = 1 << 31  # marks a coordinate of four bytes, in units of 2^-31

Generator = tuple[Ints, Ints]  # W in lattice coordinates [3, 3] and t in grid steps [3]


@dataclass(frozen=True, eq=False)
class Contents:
    """The fields of a stream.

    mean: of the grid; step: the unit of the amplitudes times the square root of the star's size; stars: their number;
    generators: operations that make the symmetry group; atoms: the prediction, where there is one; body: the integers
    (the real part of each star, then the imaginary part unless the star is self-conjugate); start: the `start` of the
    entropy coder; xz: whether the body is an XZ stream; double: whether decoding needs float64 to keep the bound.
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


def round_step(step: float) -> float:
    """The largest step <= `step` that a stream stores exactly, with a mantissa of 12 bits."""
    return float(np.frombuffer(b"\0\0\0\0\0" + struct.pack("<d", step)[5:], "<f8")[0])


def pack_stream(contents: Contents, metric: Metric) -> bytes:
    """The bytes of a stream."""
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
    return bytes(out + struct.pack("<I", _checksum(bytes(out), metric)))


def unpack_stream(stream: bytes, metric: Metric) -> Contents:
    """The contents of a stream; raises FormatError for other or damaged bytes, and for another lattice."""
    if len(stream) < 6 or stream[:4] != MAGIC:
        raise FormatError("the bytes are not an ecd.fourier stream, or are cut")
    if stream[4] != VERSION:
        old = "convert the source again" if stream[4] < VERSION else "update ecd-data"
        raise FormatError(f"the ecd.fourier stream has version {stream[4]}, this reader reads {VERSION}: {old}")
    if _checksum(stream[:-4], metric) != struct.unpack("<I", stream[-4:])[0]:
        raise FormatError("the ecd.fourier stream is damaged or belongs to another lattice: its checksum differs")
    try:
        return _read_contents(_Reader(stream[5:-4]))
    except (IndexError, struct.error, ValueError) as error:
        raise FormatError(f"the ecd.fourier stream is damaged: {error}") from error


def pack_xz(values: Ints) -> bytes:
    """The integers as an XZ body."""
    planes = values.astype("<i4").view(np.uint8).reshape(-1, 4).T  # the lowest bytes of all integers come first
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": max(4096, planes.size)}]
    return lzma.compress(planes.tobytes(), lzma.FORMAT_XZ, lzma.CHECK_NONE, filters=filters)


def unpack_integers(contents: Contents, count: int) -> Ints:
    """The `count` integers of a body; raises FormatError where they are damaged."""
    if not contents.xz:
        return entropy.decode(contents.body, count, contents.start)
    unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=1 << 28)
    try:
        planes = unpacker.decompress(contents.body, max_length=4 * count + 1)
    except (lzma.LZMAError, EOFError) as error:
        raise FormatError(f"the ecd.fourier stream is damaged: {error}") from error
    if len(planes) != 4 * count:
        raise FormatError("the ecd.fourier stream is damaged: its coefficients do not match its header")
    return np.frombuffer(planes, np.uint8).reshape(4, -1).T.copy().view("<i4").ravel().astype(np.int64)


def _checksum(head: bytes, metric: Metric) -> int:
    return zlib.crc32(struct.pack("<6q", *metric), zlib.crc32(head))


def _varint(number: int) -> bytes:
    """The number in seven bits a byte, the lowest first; the high bit of a byte says that more bytes follow."""
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
    return struct.pack(">I", FULL_COORDINATE | min(int(x % 1.0 * FULL_COORDINATE), FULL_COORDINATE - 1))


def round_species(species: Species) -> Species:
    """The species with their coordinates rounded as a stream stores them."""
    return tuple(tuple(_round_orbit(orbit) for orbit in orbits) for orbits in species)


def _round_orbit(orbit: Orbit) -> Orbit:
    x, y, z = (_Reader(_pack_coordinate(x)).read_coordinate() for x in orbit.frac_coords)
    return Orbit((x, y, z), orbit.atoms)


class _Reader:
    """Reads one field after the other; raises ValueError for an impossible one."""

    def __init__(self, data: bytes) -> None:
        self.data, self.position = data, 0

    def read_bytes(self, count: int) -> bytes:
        piece = self.data[self.position : self.position + count]
        if len(piece) != count:
            raise ValueError("it is cut")
        self.position += count
        return piece

    def read_byte(self) -> int:
        return self.read_bytes(1)[0]

    def read_varint(self, most: int) -> int:
        number = 0
        for position in range(0, 35, 7):
            byte = self.read_byte()
            number |= (byte & 127) << position
            if byte < 128:
                break
        if number > most:
            raise ValueError(f"the number {number} is impossible")
        return number

    def read_coordinate(self) -> float:
        first = self.read_byte()
        if first < 128:
            return first / TWENTY_FOURTHS
        (rest,) = struct.unpack(">I", bytes([first]) + self.read_bytes(3))
        return (rest - FULL_COORDINATE) / FULL_COORDINATE

    def read_generator(self, shape: Shape) -> Generator:
        (code,) = struct.unpack("<H", self.read_bytes(2))
        moved, code = (code - 2 * 3**9, -1) if code >= 2 * 3**9 else divmod(code, 3**9)
        if code < 0:
            rotation = np.frombuffer(self.read_bytes(9), np.int8).astype(np.int64)
        else:
            rotation = code // 3 ** np.arange(9) % 3 - 1
        if np.abs(rotation).max() > MAX_ENTRY or moved > 1:
            raise ValueError("an operation is impossible")
        shift = [self.read_varint(n - 1) for n in shape] if moved else [0, 0, 0]
        return rotation.reshape(3, 3), np.array(shift)

    def atoms(self) -> FormFactors:
        knots, exponent = struct.unpack("<Bb", self.read_bytes(2))
        if not 4 <= knots <= MAX_KNOTS:
            raise ValueError(f"{knots} knots are impossible")
        species = []
        for _ in range(self.read_varint(MAX_SPECIES)):
            orbits = []
            for _ in range(self.read_varint(MAX_ATOMS)):
                atoms = self.read_varint(MAX_ATOMS)
                orbits.append(Orbit((self.read_coordinate(), self.read_coordinate(), self.read_coordinate()), atoms))
            species.append(tuple(orbits))
        start = self.read_byte()
        integers = entropy.decode(self.read_bytes(self.read_varint(1 << 20)), knots * len(species), start)
        return FormFactors(tuple(species), integers.reshape(knots, len(species)), exponent)


def _read_contents(reader: _Reader) -> Contents:
    flags = reader.read_byte()
    if flags & ~(STARS | ATOMS | XZ | DOUBLE):
        raise ValueError("it has unknown flags")
    shape = (reader.read_varint(MAX_AXIS), reader.read_varint(MAX_AXIS), reader.read_varint(MAX_AXIS))
    points = shape[0] * shape[1] * shape[2]
    if not 0 < points <= MAX_POINTS:
        raise ValueError(f"a grid {shape} is impossible")
    (mean,) = struct.unpack("<d", reader.read_bytes(8))
    if not flags & STARS:
        if reader.position != len(reader.data):
            raise ValueError("it is too long")
        return Contents(shape, mean)
    (step,) = struct.unpack("<d", b"\0\0\0\0\0" + reader.read_bytes(3))
    stars = reader.read_varint(points)
    generators = tuple(reader.read_generator(shape) for _ in range(reader.read_byte()))
    for rotation, _ in generators:
        _check_fits(rotation, shape)
    atoms = reader.atoms() if flags & ATOMS else None
    start = reader.read_byte()
    if start >= entropy.CONTEXTS:
        raise ValueError("its first magnitude is impossible")
    body = reader.read_bytes(len(reader.data) - reader.position)
    return Contents(shape, mean, step, stars, generators, atoms, body, start, bool(flags & XZ), bool(flags & DOUBLE))


def _check_fits(rotation: Ints, shape: Sequence[int]) -> None:
    n = np.array(shape)
    if abs(round(float(np.linalg.det(rotation)))) != 1 or (rotation * n[:, None] % n).any():
        raise ValueError("an operation does not fit the grid")
