"""The zarr codec "ecd.fourier": one periodic grid, one chunk; `ecd_data.codec` makes and reads its bytes."""

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
TINY = 1e-38  # an empty grid has no scale
ROUNDING = 2.0**-24  # what float32 may have cost before: the bound holds against the original, too


@dataclass(frozen=True)
class FourierCodec(ArrayBytesCodec):
    """Array-to-bytes codec whose mean absolute error is at most bound * scale, checked while encoding.

    bound: eps_mae; scale: mean|density| in e/Å^3 that the bound refers to, the chunk's own when None (magnetisation is
    kept to the density's scale); lattice: rows in Å, nine numbers, the cube of the grid's shape when None. Through zarr
    alone nothing is known of the crystal: the store's own streams, with its symmetry and atoms, are shorter.
    """

    is_fixed_size = False

    bound: float = 1e-5
    scale: float | None = None
    lattice: tuple[float, ...] | None = None

    @classmethod
    def from_dict(cls, data: dict[str, JSON]) -> Self:
        """The codec of a zarr.json entry."""
        _, configuration = parse_named_configuration(data, NAME, require_configuration=False)
        options = dict(configuration or {})
        if options.get("lattice") is not None:
            options["lattice"] = tuple(options["lattice"])  # type: ignore[arg-type]
        return cls(**options)  # type: ignore[arg-type]

    def to_dict(self) -> dict[str, JSON]:
        """The zarr.json entry of the codec."""
        lattice = None if self.lattice is None else list(self.lattice)
        return {"name": NAME, "configuration": {"bound": self.bound, "scale": self.scale, "lattice": lattice}}

    def _lattice(self, shape: tuple[int, ...]) -> Floats:
        return np.diag(shape).astype(np.float64) if self.lattice is None else np.reshape(self.lattice, (3, 3))

    def _encode_sync(self, chunk_array: NDBuffer, chunk_spec: ArraySpec) -> Buffer | None:
        values = np.asarray(chunk_array.as_numpy_array(), dtype=np.float64)
        values = values.reshape(values.shape[-3:])  # a leading axis of one is a component of a vector
        scale = float(np.abs(values).mean()) if self.scale is None else self.scale
        tolerance = self.bound * scale - ROUNDING * float(np.abs(values).mean())
        stream = encode(values, self._lattice(values.shape), tolerance if values.any() else TINY)
        return chunk_spec.prototype.buffer.from_bytes(stream)

    def _decode_sync(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        shape = tuple(chunk_spec.shape[-3:])
        payload = FourierPayload(chunk_bytes.to_bytes(), self._lattice(shape))
        if payload.shape != shape:
            raise FormatError(f"ecd.fourier stream of a grid {payload.shape} where {shape} is due")
        values = payload.decode().astype(chunk_spec.dtype.to_native_dtype())
        return chunk_spec.prototype.nd_buffer.from_numpy_array(values.reshape(chunk_spec.shape))

    async def _encode_single(self, chunk_array: NDBuffer, chunk_spec: ArraySpec) -> Buffer | None:
        return self._encode_sync(chunk_array, chunk_spec)

    async def _decode_single(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        return self._decode_sync(chunk_bytes, chunk_spec)

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        """Not known before encoding."""
        raise NotImplementedError

    def resolve_metadata(self, chunk_spec: ArraySpec) -> ArraySpec:
        """The spec unchanged: the codec keeps shape and type."""
        return chunk_spec


register_codec(NAME, FourierCodec)
