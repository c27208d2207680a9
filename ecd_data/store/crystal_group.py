"""One crystal as a Zarr v3 group: a Density to keys and bytes, and back."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ecd_data.codec import BoundError, FourierPayload, encode
from ecd_data.crystal import Crystal
from ecd_data.density import Density
from ecd_data.errors import StoreError
from ecd_data.fourier import outer_share

if TYPE_CHECKING:  # loaded where it is used: it takes longer than all else that reading a crystal needs
    import zarr

log = logging.getLogger("ecd_data")

PIPELINES = ("fourier", "real")
CHUNK = 64
CUSPS_FROM = 1e-2  # outer_share: 3e-2 in all-electron files, below 3e-3 in coarse CHGCARs, 1e-5 in ordinary ones
ARRAYS = ("density", "magnetization", "augmentation")

SLACK = 1e-3  # of the bound, for the exact electron count that `unpack` restores

Entries = dict[str, bytes]


def pack(density: Density, bound: float, pipeline: str, attributes: dict[str, Any]) -> tuple[Entries, str]:
    """The keys and bytes of a crystal's group, and the pipeline that was used.

    `fourier` turns into `real`, with a log line, where it does not pay (cusps of all-electron densities) or cannot keep
    the bound. Raises StoreError for values that are not finite in float32.
    """
    for grid in (density.values, density.magnetization):
        if grid is not None and not np.abs(grid).max() <= np.finfo(np.float32).max:
            raise StoreError(f"{attributes['id']}: the density holds NaN, infinite or absurd values; compute it again")
    if pipeline == "fourier":
        share = outer_share(density.values)
        if share < CUSPS_FROM or density.values.size < CHUNK**2:
            try:
                return _fourier_entries(density, bound, attributes | {"bound": bound}), "fourier"
            except BoundError as error:
                reason = str(error)
        else:
            reason = f"{100 * share:.1f} % of it is finer than the Fourier form pays for, as in all-electron densities"
        log.warning("%s: stored in real space, since %s", attributes["id"], reason)
    return _real_entries(density, attributes | {"bound": 0.0}), "real"


def _fourier_entries(density: Density, bound: float, attributes: dict[str, Any]) -> Entries:
    from ecd_data.store.codec import TINY, FourierCodec

    scale = float(np.abs(density.values).mean())
    codec = FourierCodec(bound=bound, scale=scale, lattice=tuple(density.lattice.ravel().tolist()))
    options = {"chunks": density.shape, "serializer": codec, "compressors": None}
    entries = _entries(density, attributes, options, filled=False)
    for name, grid in _grids(density).items():
        for chunk, values in zip(_chunks(grid.shape), grid.reshape(-1, *density.shape), strict=True):
            tolerance = (1 - SLACK) * bound * scale if values.any() else TINY
            entries[f"{name}/{chunk}"] = encode(values, density.lattice, tolerance, density.crystal)
    return dict(sorted(entries.items()))


def _real_entries(density: Density, attributes: dict[str, Any]) -> Entries:
    from zarr.codecs import BloscCodec

    chunks = tuple(min(CHUNK, n) for n in density.shape)
    shards = tuple(-(-n // c) * c for n, c in zip(density.shape, chunks, strict=True))
    compressors = BloscCodec(cname="zstd", clevel=7, shuffle="shuffle")
    return _entries(density, attributes, {"chunks": chunks, "shards": shards, "compressors": compressors}, filled=True)


def _grids(density: Density) -> dict[str, NDArray[np.float64]]:
    spin = {} if density.magnetization is None else {"magnetization": density.magnetization}
    return {"density": density.values, **spin}


def _chunks(shape: Sequence[int]) -> list[str]:
    """The keys of an array's grids, each one chunk."""
    return [f"c/{i}/0/0/0" for i in range(shape[0])] if len(shape) == 4 else ["c/0/0/0"]


def _entries(density: Density, attributes: dict[str, Any], options: dict[str, Any], filled: bool) -> Entries:
    """The group with its arrays' metadata, and with their values where they are to be `filled`."""
    import zarr
    from zarr.codecs import ZstdCodec
    from zarr.core.buffer import default_buffer_prototype
    from zarr.core.sync import sync

    memory = zarr.storage.MemoryStore()
    group = zarr.create_group(memory, zarr_format=3, attributes=attributes)
    for name, grid in _grids(density).items():
        array = _new_array(group, name, grid.shape, options)
        if filled:
            array[...] = grid.astype(np.float32)
    if density.augmentation is not None:
        text = "\0".join(density.augmentation).encode()
        options = {"chunks": (max(1, len(text)),), "compressors": ZstdCodec(level=19)}
        array = group.create_array("augmentation", shape=(len(text),), dtype="u1", **options)
        array[:] = np.frombuffer(text, np.uint8)
    prototype = default_buffer_prototype()
    keys = sorted(memory._store_dict)
    return {key: sync(memory.get(key, prototype)).to_bytes() for key in keys}  # type: ignore[union-attr]


def _new_array(group: zarr.Group, name: str, shape: tuple[int, ...], options: dict[str, Any]) -> zarr.Array[Any]:
    if len(shape) == 4:
        options = {k: (1, *v) if k in ("chunks", "shards") else v for k, v in options.items()}
    return group.create_array(name, shape=shape, dtype="float32", fill_value=None, **options)


def payload(entries: Entries, name: str = "density", component: int = 0) -> FourierPayload:
    """The plane waves of a grid of a crystal's group: values at any points, on any grid, without the whole one.

    component: 0, 1, 2 of a non-collinear magnetization. Raises StoreError where the crystal is stored in real space or
    has no such grid.
    """
    described = entries.get(f"{name}/zarr.json")
    if described is None:
        raise StoreError(f"there is no {name} in the stored group")
    metadata = json.loads(described)
    if [codec["name"] for codec in metadata["codecs"]] != ["ecd.fourier"]:
        raise StoreError(f"the {name} is stored in real space: read the whole grid")
    lattice = metadata["codecs"][0]["configuration"]["lattice"]
    return FourierPayload(entries[f"{name}/{_chunks(metadata['shape'])[component]}"], np.reshape(lattice, (3, 3)))


def unpack(entries: Entries) -> Density:
    """The Density of a crystal's group; raises StoreError where arrays or attributes are missing."""
    try:
        attributes = json.loads(entries["zarr.json"])["attributes"]
        return _density(attributes, {name: _read(entries, name) for name in ARRAYS if f"{name}/zarr.json" in entries})
    except (KeyError, OSError, ValueError, TypeError, RuntimeError) as error:
        raise StoreError(f"the stored group is damaged or of a newer ecd-data ({error})") from error


def _density(attributes: Mapping[str, Any], arrays: dict[str, NDArray[Any]]) -> Density:
    meta = dict(attributes)
    pbc = meta.pop("pbc")
    crystal = Crystal(
        np.array(meta.pop("lattice")),
        np.array(meta.pop("numbers"), dtype=np.int64),
        np.array(meta.pop("frac_coords"), dtype=np.float64).reshape(-1, 3),
        tuple(pbc),
    )
    text = arrays.get("augmentation")
    augmentation = None if text is None else tuple(text.tobytes().decode().split("\0"))
    values = arrays["density"].astype(np.float64)
    if meta.get("bound"):  # the rounding to float32 moved the mean by some 1e-9 of it
        values += meta["nelect"] / crystal.volume - values.mean()
    return Density(crystal, values, arrays.get("magnetization"), augmentation, meta)


def _read(entries: Entries, name: str) -> NDArray[Any]:
    """One array; what is written by default is decoded at once, since zarr's event loop costs more than that."""
    described = json.loads(entries[f"{name}/zarr.json"])
    shape, codecs = described["shape"], [codec["name"] for codec in described["codecs"]]
    if codecs == ["ecd.fourier"]:
        components = [payload(entries, name, i) for i in range(len(_chunks(shape)))]
        if any(component.shape != tuple(shape[-3:]) for component in components):
            raise StoreError(f"the stored {name} is of another grid")
        return np.stack([component.decode() for component in components]).reshape(shape)
    if codecs == ["bytes", "zstd"] and described["chunk_grid"]["configuration"]["chunk_shape"] == shape:
        from numcodecs.zstd import Zstd

        return np.frombuffer(Zstd().decode(entries[f"{name}/c/0"]), np.uint8)
    import zarr
    from zarr.core.buffer import default_buffer_prototype

    prototype = default_buffer_prototype()
    memory = zarr.storage.MemoryStore(
        {k: prototype.buffer.from_bytes(v) for k, v in entries.items() if k.startswith(f"{name}/")}
    )
    return np.asarray(zarr.open_array(memory, path=name, mode="r")[...])
