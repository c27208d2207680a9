"""The zarr codec "ecd.fourier", so that plain zarr reads stores: a chunk is a whole periodic grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from zarr.abc.codec import ArrayBytesCodec
from zarr.core.common import JSON, parse_named_configuration
from zarr.registry import register_codec

from ecd_data.codec import FourierPayload, encode
from ecd_data.crystal import Floats
from ecd_data.errors import FormatError

if TYPE_CHECKING:
    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import Buffer, NDBuffer

NAME = "ecd.fourier"
EMPTY_TOLERANCE = 1e-38  # for a grid of zeros, whose scale is zero
FLOAT32_ROUNDING = 2.0**-24  # of a value: subtracted, so that the bound holds against the original before its rounding


@dataclass(frozen=True)
class FourierCodec(ArrayBytesCodec):
    """An array-to-bytes codec whose mean absolute error is at most bound * scale; encoding checks it.

    The store encodes its grids by `ecd_data.codec.encode` directly: with the symmetry and atoms of the crystal, which
    zarr does not know, the streams are shorter. This class then decodes them.

    Parameters
    ----------
    bound : eps_mae.
    scale : mean|density| in e/Å^3, to which the bound refers, also for a magnetization; that of the chunk when None.
    lattice : nine numbers, the lattice vectors as rows in Å; a box with the shape of the grid when None.
    """

    is_fixed_size = False

    bound: float = 1e-5
    scale: float | None = None
    lattice: tuple[float, ...] | None = None

    @classmethod
    def from_dict(cls, data: dict[str, JSON]) -> Self:
        """The codec that an entry of zarr.json describes."""
        _, configuration = parse_named_configuration(data, NAME, require_configuration=False)
        options = dict(configuration or {})
        if options.get("lattice") is not None:
            options["lattice"] = tuple(options["lattice"])  # type: ignore[arg-type]
        return cls(**options)  # type: ignore[arg-type]

    def to_dict(self) -> dict[str, JSON]:
        """The entry of zarr.json that describes the codec."""
        lattice = None if self.lattice is None else list(self.lattice)
        return {"name": NAME, "configuration": {"bound": self.bound, "scale": self.scale, "lattice": lattice}}

    def _lattice(self, shape: tuple[int, ...]) -> Floats:
        return np.diag(shape).astype(np.float64) if self.lattice is None else np.reshape(self.lattice, (3, 3))

    def _encode_sync(self, chunk_array: NDBuffer, chunk_spec: ArraySpec) -> Buffer | None:
        values = np.asarray(chunk_array.as_numpy_array(), dtype=np.float64)
        values = values.reshape(values.shape[-3:])  # drops the axis of the component of a vector
        scale = float(np.abs(values).mean()) if self.scale is None else self.scale
        tolerance = self.bound * scale - FLOAT32_ROUNDING * float(np.abs(values).mean())
        stream = encode(values, self._lattice(values.shape), tolerance if values.any() else EMPTY_TOLERANCE)
        return chunk_spec.prototype.buffer.from_bytes(stream)

    def _decode_sync(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        shape = tuple(chunk_spec.shape[-3:])
        payload = FourierPayload(chunk_bytes.to_bytes(), self._lattice(shape))
        if payload.shape != shape:
            raise FormatError(f"the ecd.fourier stream has the grid {payload.shape}, not {shape}")
        values = payload.decode().astype(chunk_spec.dtype.to_native_dtype())
        return chunk_spec.prototype.nd_buffer.from_numpy_array(values.reshape(chunk_spec.shape))

    async def _encode_single(self, chunk_array: NDBuffer, chunk_spec: ArraySpec) -> Buffer | None:
        return self._encode_sync(chunk_array, chunk_spec)

    async def _decode_single(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        return self._decode_sync(chunk_bytes, chunk_spec)

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        """Raise NotImplementedError, since the size is not known before encoding."""
        raise NotImplementedError

    def resolve_metadata(self, chunk_spec: ArraySpec) -> ArraySpec:
        """The spec unchanged, since the codec keeps shape and type."""
        return chunk_spec


register_codec(NAME, FourierCodec)
