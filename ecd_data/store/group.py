"""One crystal as a Zarr v3 group: a Density to keys and bytes, and back."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, ZstdCodec
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import MemoryStore

from ecd_data.crystal import Crystal
from ecd_data.density import Density
from ecd_data.errors import StoreError
from ecd_data.store.codec import FourierCodec
from ecd_data.store.fourier import BoundError

log = logging.getLogger("ecd_data")

PIPELINES = ("fourier", "real")
CHUNK = 64
FOURIER_PAYS_BELOW = 1.0  # bytes per value; float32 with blosc-zstd takes about 3 on all-electron densities

Entries = dict[str, bytes]


def pack(density: Density, bound: float, pipeline: str, attributes: dict[str, Any]) -> tuple[Entries, str]:
    """The keys and bytes of a crystal's group, and the pipeline that was used.

    `fourier` turns into `real`, with a log line, where it does not pay or cannot keep the bound.
    """
    if pipeline == "fourier":
        try:
            entries = _entries(density, _fourier_options(density, bound), attributes | {"bound": bound})
        except BoundError as error:
            log.warning("%s: stored in real space, since %s", attributes["id"], error)
        else:
            size = sum(len(data) for key, data in entries.items() if _is_grid(key))
            values = density.values.size + (0 if density.magnetization is None else density.magnetization.size)
            if size <= FOURIER_PAYS_BELOW * values or values < CHUNK**2:
                return entries, "fourier"
            log.warning(
                "%s: stored in real space, since %.1f bytes a value in Fourier form do not pay",
                attributes["id"],
                size / values,
            )
    return _entries(density, _real_options(density.shape), attributes | {"bound": 0.0}), "real"


def _is_grid(key: str) -> bool:
    return key.startswith(("density/c", "magnetization/c"))


def _fourier_options(density: Density, bound: float) -> dict[str, Any]:
    scale = float(np.abs(density.values).mean())
    codec = FourierCodec(bound=bound, scale=scale, lattice=tuple(density.lattice.ravel().tolist()))
    return {"chunks": density.shape, "serializer": codec, "compressors": None}


def _real_options(shape: tuple[int, int, int]) -> dict[str, Any]:
    chunks = tuple(min(CHUNK, n) for n in shape)
    shards = tuple(-(-n // c) * c for n, c in zip(shape, chunks, strict=True))
    return {
        "chunks": chunks,
        "shards": shards,
        "compressors": BloscCodec(cname="zstd", clevel=7, shuffle="shuffle"),
    }


def _entries(density: Density, options: dict[str, Any], attributes: dict[str, Any]) -> Entries:
    memory = MemoryStore()
    group = zarr.create_group(memory, zarr_format=3, attributes=attributes)
    _write_grid(group, "density", density.values, options)
    if density.magnetization is not None:
        _write_grid(group, "magnetization", density.magnetization, options)
    if density.augmentation is not None:
        text = "\0".join(density.augmentation).encode()
        array = group.create_array("augmentation", shape=(len(text),), dtype="u1", compressors=ZstdCodec(level=19))
        array[:] = np.frombuffer(text, np.uint8)
    prototype = default_buffer_prototype()
    keys = sorted(memory._store_dict)
    return {key: sync(memory.get(key, prototype)).to_bytes() for key in keys}  # type: ignore[union-attr]


def _write_grid(group: zarr.Group, name: str, values: NDArray[np.float64], options: dict[str, Any]) -> None:
    if values.ndim == 4:
        options = {k: (1, *v) if k in ("chunks", "shards") else v for k, v in options.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zarr.errors.ZarrUserWarning)
        array = group.create_array(name, shape=values.shape, dtype="float32", fill_value=None, **options)
    array[...] = values.astype(np.float32)


def unpack(entries: Entries) -> Density:
    """The Density of a crystal's group; raises StoreError where arrays or attributes are missing."""
    prototype = default_buffer_prototype()
    memory = MemoryStore({key: prototype.buffer.from_bytes(data) for key, data in entries.items()})
    try:
        return density_of(zarr.open_group(memory, mode="r"))
    except (KeyError, FileNotFoundError, ValueError, TypeError) as error:
        raise StoreError(f"the stored group is damaged ({error})") from error


def density_of(group: zarr.Group) -> Density:
    """The Density of an open zarr group, for stores that are read by zarr itself."""
    attributes = group.attrs.asdict()
    pbc: Any = attributes.pop("pbc")
    crystal = Crystal(
        np.array(attributes.pop("lattice")),
        np.array(attributes.pop("numbers"), dtype=np.int64),
        np.array(attributes.pop("frac_coords"), dtype=np.float64).reshape(-1, 3),
        tuple(pbc),
    )
    augmentation = None
    if "augmentation" in group:
        augmentation = tuple(_array(group, "augmentation").tobytes().decode().split("\0"))
    spin = _array(group, "magnetization").astype(np.float64) if "magnetization" in group else None
    return Density(crystal, _array(group, "density").astype(np.float64), spin, augmentation, attributes)


def _array(group: zarr.Group, name: str) -> NDArray[Any]:
    return np.asarray(group[name][...])  # type: ignore[index]
