"""The Parquet files of an export: metadata, the store's bytes of each crystal and, if wanted, the grids as lists."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ecd_data.density import Density
from ecd_data.hub.plan import Shard, added_columns
from ecd_data.store.crystal_group import unpack_density
from ecd_data.store.live_index import Location, shared_live_index
from ecd_data.store.parts import Extent, entries_in, read_group

GROUP_BYTES = 1 << 25  # of a row group: a reader loads a whole group for one row
CONTENT = b"ecd.export"  # key of the file's metadata with the hash of its content, by which a second call skips it
PLACE_COLUMNS = ("part", "offset", "length")
GRIDS = ("density", "magnetization")


class Grids(NamedTuple):
    """A crystal's bytes in the store, and its decoded Density if the grids are exported."""

    payload: bytes
    density: Density | None


def density_of_row(row: dict[str, Any]) -> Density:
    """The Density of a row of an export, decoded from its payload.

    Parameters
    ----------
    row : a dictionary with id, payload and sha256.

    Raises
    ------
    StoreError : the payload was altered.
    """
    return unpack_density(entries_in(row["payload"], "of an exported row", row["sha256"], row["id"]))


def is_written(path: Path, shard: Shard) -> bool:
    """Whether `path` is the complete file of this shard."""
    try:
        return (pq.read_schema(path).metadata or {}).get(CONTENT) == shard.content.encode()
    except (OSError, pa.ArrowException):
        return False


def write_shard(shard: Shard, path: Path) -> None:
    """Write the file of a shard; it appears under its name when it is complete."""
    index = _rename_properties(shard.config.store.columns())
    index = index.take(pa.array(shard.rows["number"], pa.int64())).combine_chunks()
    schema = _make_schema(index.schema, shard)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}")
    split = [f"{name}.list.element" for name in GRIDS if name in schema.names]
    try:
        with pq.ParquetWriter(
            aside,
            schema,
            compression="zstd",
            use_dictionary=["formula", "functional", "pipeline", "part"],
            use_byte_stream_split=split or False,
        ) as writer:
            for start, grids in _read_row_groups(shard, index):
                rows = index.slice(start, len(grids))
                writer.write_table(_make_table(rows, shard, start, grids, schema))
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _rename_properties(index: pa.Table) -> pa.Table:
    """The index in which properties that are called like a column of the export have "property_" before their name."""
    taken = {"payload", *GRIDS}  # a property called like a column of the index is in the density's meta alone
    return index.rename_columns([f"property_{name}" if name in taken else name for name in index.column_names])


def _make_schema(index: pa.Schema, shard: Shard) -> pa.Schema:
    fields = [field for field in index if field.name not in PLACE_COLUMNS]
    fields += [pa.field(name, pa.float64()) for name in added_columns(shard.rows)]
    fields += [pa.field("part", pa.string()), pa.field("payload", pa.binary())]
    if shard.decoded != "none":
        fields += [pa.field(name, pa.list_(pa.float32())) for name in GRIDS]
    return pa.schema(fields, {CONTENT: shard.content.encode()})


def _read_row_groups(shard: Shard, index: pa.Table) -> Iterator[tuple[int, list[Grids]]]:
    """For each row group, the number of its first row and the Grids of its rows."""
    start, grids, held = 0, list[Grids](), 0
    places = index.select(["id", *PLACE_COLUMNS, "sha256"]).to_pylist()
    for number, place in enumerate(places):
        grids.append(_read_grids(place, shard))
        density = grids[-1].density
        held += place["length"] + (0 if density is None else 4 * density.values.size * _count_blocks(density))
        if held >= GROUP_BYTES:
            yield start, grids
            start, grids, held = number + 1, [], 0
    if grids:
        yield start, grids


def _read_grids(row: dict[str, Any], shard: Shard) -> Grids:
    id = row["id"]

    def read_at(url: str, at: Extent) -> Grids:
        data = read_group(url, at, id)
        entries = entries_in(data, url, at.sha256, id)
        return Grids(data, None if shard.decoded == "none" else unpack_density(entries))

    place = Location(row["part"], Extent(row["offset"], row["length"], row["sha256"]))
    return shared_live_index(shard.config.store.root).read(id, place, read_at, same=True)


def _count_blocks(density: Density) -> int:
    spin = density.magnetization
    return 1 if spin is None else 1 + spin.size // density.values.size


def _make_table(rows: pa.Table, shard: Shard, start: int, grids: list[Grids], schema: pa.Schema) -> pa.Table:
    frame = shard.rows.iloc[start : start + len(grids)]
    columns: dict[str, Any] = {name: rows[name] for name in rows.column_names if name not in PLACE_COLUMNS}
    columns |= {name: pa.array(frame[name], pa.float64(), from_pandas=True) for name in added_columns(frame)}
    columns["part"] = pa.array(frame["kind"], pa.string(), from_pandas=True)
    columns["payload"] = pa.array([grid.payload for grid in grids], pa.binary())
    if shard.decoded != "none":
        densities = [grid.density for grid in grids if grid.density is not None]
        columns["density"] = _flat_lists([density.values for density in densities])
        columns["magnetization"] = _flat_lists([density.magnetization for density in densities])
    return pa.table([columns[name] for name in schema.names], schema=schema)


def _flat_lists(grids: list[Any]) -> pa.ListArray:
    """The grids as flat lists of float32 in C order; None becomes null."""
    sizes = [0 if grid is None else grid.size for grid in grids]
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    values = [grid.ravel().astype(np.float32) for grid in grids if grid is not None]
    flat = np.concatenate(values) if values else np.zeros(0, np.float32)
    mask = pa.array([grid is None for grid in grids], pa.bool_())
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat), mask=mask)
