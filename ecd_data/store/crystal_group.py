"""One crystal of a store: a Density as the keys and bytes of a Zarr v3 group, and back."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ecd_data.codec import BoundError, FourierPayload, encode
from ecd_data.crystal import Crystal
from ecd_data.density import Density
from ecd_data.errors import StoreError
from ecd_data.fourier import outer_share

if TYPE_CHECKING:  # imported where it is used, since that takes longer than reading a crystal
    import zarr

log = logging.getLogger("ecd_data")

PIPELINES = ("fourier", "real")
CHUNK = 64  # grid points along each axis of a chunk of the real pipeline
MAX_OUTER_SHARE = 1e-2  # `outer_share`: 3e-2 in all-electron files, 3e-3 in coarse CHGCARs, 1e-5 in others
ARRAYS = ("density", "magnetization", "augmentation")
DAMAGES = (KeyError, OSError, ValueError, TypeError, RuntimeError)  # what decoding raises
DAMAGED = "the stored group is damaged or of a newer ecd-data"

BOUND_RESERVE = 1e-3  # of the bound: for the error that restoring the exact electron count may add

Entries = dict[str, bytes]


def pack_density(density: Density, bound: float, pipeline: str, attributes: dict[str, Any]) -> tuple[Entries, str]:
    """The keys and bytes of a crystal's group, and the name of the pipeline that was used.

    `fourier` changes to `real`, with a log line, where the stream would be large (all-electron densities have cusps) or
    cannot keep the bound.

    Parameters
    ----------
    density : the density and its magnetization in e/Å^3.
    bound : eps_mae of the `fourier` pipeline.
    pipeline : "fourier" or "real" (lossless float32).
    attributes : the attributes of the group, with its "id".

    Raises
    ------
    StoreError : some values are not finite in float32.
    """
    for grid in (density.values, density.magnetization):
        if grid is not None and not np.abs(grid).max() <= np.finfo(np.float32).max:
            reason = "the density has values that are NaN, infinite or beyond float32"
            raise StoreError(f"{attributes['id']}: {reason}; compute it again")
    if pipeline == "fourier":
        share = outer_share(density.values)
        if share < MAX_OUTER_SHARE or density.values.size < CHUNK**2:
            try:
                return _encode_fourier(density, bound, attributes | {"bound": bound}), "fourier"
            except BoundError as error:
                reason = str(error)
        else:
            reason = f"{100 * share:.1f} % of it has the shortest wavelengths, as in all-electron densities"
        log.warning("%s: stored in real space, since %s", attributes["id"], reason)
    return _encode_real(density, attributes | {"bound": 0.0}), "real"


def _encode_fourier(density: Density, bound: float, attributes: dict[str, Any]) -> Entries:
    from ecd_data.store.codec import EMPTY_TOLERANCE, FourierCodec

    scale = float(np.abs(density.values).mean())
    codec = FourierCodec(bound=bound, scale=scale, lattice=tuple(density.lattice.ravel().tolist()))
    options = {"chunks": density.shape, "serializer": codec, "compressors": None}
    entries = _encode_group(density, attributes, options, filled=False)
    for name, grid in _grids(density).items():
        for chunk, values in zip(_chunks(grid.shape), grid.reshape(-1, *density.shape), strict=True):
            tolerance = (1 - BOUND_RESERVE) * bound * scale if values.any() else EMPTY_TOLERANCE
            entries[f"{name}/{chunk}"] = encode(values, density.lattice, tolerance, density.crystal)
    return dict(sorted(entries.items()))


def _encode_real(density: Density, attributes: dict[str, Any]) -> Entries:
    from zarr.codecs import BloscCodec

    chunks = tuple(min(CHUNK, n) for n in density.shape)
    shards = tuple(-(-n // c) * c for n, c in zip(density.shape, chunks, strict=True))
    compressors = BloscCodec(cname="zstd", clevel=7, shuffle="shuffle")
    return _encode_group(
        density, attributes, {"chunks": chunks, "shards": shards, "compressors": compressors}, filled=True
    )


def _grids(density: Density) -> dict[str, NDArray[np.float64]]:
    spin = {} if density.magnetization is None else {"magnetization": density.magnetization}
    return {"density": density.values, **spin}


def _chunks(shape: Sequence[int]) -> list[str]:
    """The keys of the grids of an array, each of which is one chunk."""
    return [f"c/{i}/0/0/0" for i in range(shape[0])] if len(shape) == 4 else ["c/0/0/0"]


def _encode_group(density: Density, attributes: dict[str, Any], options: dict[str, Any], filled: bool) -> Entries:
    """The keys and bytes of the group with the metadata of its arrays; `filled`: with their values, too."""
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


def grid_payload(entries: Entries, name: str = "density", component: int = 0) -> FourierPayload:
    """The plane waves of one grid of a crystal's group, which give values at any points without the whole grid.

    Parameters
    ----------
    entries : the keys and bytes of the group.
    name : "density" or "magnetization".
    component : 0, 1 or 2 of a non-collinear magnetization.

    Raises
    ------
    StoreError : the grid is stored in real space, or the group has no such grid.
    """
    described = entries.get(f"{name}/zarr.json")
    if described is None:
        raise StoreError(f"the stored crystal has no {name}")
    metadata = json.loads(described)
    if [codec["name"] for codec in metadata["codecs"]] != ["ecd.fourier"]:
        raise StoreError(f"the {name} is stored in real space: read the whole grid")
    lattice = metadata["codecs"][0]["configuration"]["lattice"]
    return FourierPayload(entries[f"{name}/{_chunks(metadata['shape'])[component]}"], np.reshape(lattice, (3, 3)))


def unpack_density(entries: Entries) -> Density:
    """The Density of a crystal's group; raises StoreError where arrays or attributes are missing or damaged."""
    crystal, meta = unpack_crystal(entries)
    try:
        return _build_density(
            crystal, meta, {name: _read_array(entries, name) for name in ARRAYS if f"{name}/zarr.json" in entries}
        )
    except DAMAGES as error:
        raise StoreError(f"{DAMAGED} ({error})") from error


def unpack_crystal(entries: Entries) -> tuple[Crystal, dict[str, Any]]:
    """The Crystal of a group and the metadata of its density, without decoding that; raises StoreError if damaged."""
    try:
        meta = dict(json.loads(entries["zarr.json"])["attributes"])
        pbc = meta.pop("pbc")
        crystal = Crystal(
            np.array(meta.pop("lattice")),
            np.array(meta.pop("numbers"), dtype=np.int64),
            np.array(meta.pop("frac_coords"), dtype=np.float64).reshape(-1, 3),
            tuple(pbc),
        )
    except DAMAGES as error:
        raise StoreError(f"{DAMAGED} ({error})") from error
    return crystal, meta


def _build_density(crystal: Crystal, meta: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Density:
    text = arrays.get("augmentation")
    augmentation = None if text is None else tuple(text.tobytes().decode().split("\0"))
    values = arrays["density"].astype(np.float64)
    if meta.get("bound"):  # rounding to float32 has changed the mean by some 1e-9 of it
        values += meta["nelect"] / crystal.volume - values.mean()
    return Density(crystal, values, arrays.get("magnetization"), augmentation, meta)


def _read_array(entries: Entries, name: str) -> NDArray[Any]:
    """The values of one array. What the store writes by default is decoded directly: zarr's event loop takes longer."""
    described = json.loads(entries[f"{name}/zarr.json"])
    shape, codecs = described["shape"], [codec["name"] for codec in described["codecs"]]
    if codecs == ["ecd.fourier"]:
        components = [grid_payload(entries, name, i) for i in range(len(_chunks(shape)))]
        if any(component.shape != tuple(shape[-3:]) for component in components):
            raise StoreError(f"the stored {name} has another grid than its metadata say")
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
