"""The index: one Parquet file with a row a crystal."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import spglib  # here and not where it is used: a Ctrl-C while it loads would end in an ImportError

from ecd_data.density import Density
from ecd_data.errors import StoreError
from ecd_data.store.parts import Extent

if TYPE_CHECKING:
    import pandas as pd

INDEX = "index.parquet"
FORMAT = b"1"

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("formula", pa.string()),
        ("natoms", pa.int32()),
        ("elements", pa.list_(pa.string())),
        ("spacegroup", pa.int16()),
        ("functional", pa.string()),
        ("shape", pa.list_(pa.int32())),
        ("nelect", pa.float64()),
        ("spin", pa.bool_()),
        ("pipeline", pa.string()),
        ("bound", pa.float64()),
        ("flags", pa.list_(pa.string())),
        ("source", pa.string()),
        ("source_sha256", pa.string()),
        ("part", pa.string()),
        ("offset", pa.int64()),
        ("length", pa.int64()),
        ("sha256", pa.string()),
        ("lattice", pa.list_(pa.list_(pa.float64()))),
        ("numbers", pa.list_(pa.int16())),
        ("frac_coords", pa.list_(pa.list_(pa.float64()))),
    ],
    metadata={b"ecd.format": FORMAT},
)

Row = dict[str, Any]


def row_of(id: str, density: Density, *, pipeline: str, bound: float, part: str, extent: Extent) -> Row:
    """The index row of a crystal; numbers under meta["properties"] become columns of their own."""
    crystal, meta = density.crystal, density.meta
    row: Row = {
        "id": id,
        "formula": crystal.reduced_formula,
        "natoms": len(crystal),
        "elements": crystal.elements,
        "spacegroup": spacegroup_of(density),
        "functional": meta.get("functional"),
        "shape": list(density.shape),
        "nelect": density.nelect,
        "spin": density.magnetization is not None,
        "pipeline": pipeline,
        "bound": bound if pipeline == "fourier" else 0.0,
        "flags": list(meta.get("flags", ())),
        "source": meta.get("source"),
        "source_sha256": meta.get("source_sha256"),
        "part": part,
        "offset": extent.offset,
        "length": extent.length,
        "sha256": extent.sha256,
        "lattice": crystal.lattice.tolist(),
        "numbers": crystal.numbers.tolist(),
        "frac_coords": crystal.frac_coords.tolist(),
    }
    return dict(meta.get("properties", {})) | row


def spacegroup_of(density: Density, symprec: float = 1e-3) -> int | None:
    """The space group number of a density's crystal by spglib, None where there is none to find."""
    crystal = density.crystal
    if not len(crystal):
        return None
    try:
        cell: Any = (crystal.lattice, crystal.frac_coords, crystal.numbers)
        found = spglib.get_symmetry_dataset(cell, symprec=symprec)
    except spglib.error.SpglibError:
        return None
    return None if found is None else int(found.number)


def save_index(rows: list[Row], path: Path) -> None:
    """Replace the index at `path` by these rows, all at once."""
    known = set(SCHEMA.names)
    extras = {key: None for row in rows for key in row if key not in known}
    table = pa.Table.from_pylist([{name: row.get(name) for name in SCHEMA.names} for row in rows], schema=SCHEMA)
    for name in extras:
        table = table.append_column(name, pa.array([row.get(name) for row in rows]))
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=".index-")
    try:
        with os.fdopen(handle, "wb") as file:
            pq.write_table(table, file, compression="zstd")
        os.chmod(aside, 0o644)
        os.replace(aside, path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise


def load_rows(path: Path) -> list[Row]:
    """The rows of an index file."""
    return _load(path, str(path)).to_pylist()


def load_frame(file: Any, name: str) -> pd.DataFrame:
    """The index as a DataFrame, read from an open file that errors call `name`."""
    return _load(file, name).to_pandas()


def _load(file: Any, name: str) -> pa.Table:
    remedy = "restore it, or remove it and run `ecd convert` again, which makes it new from the parts"
    try:
        table = pq.read_table(file)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise StoreError(f"{name} is damaged; {remedy}") from error
    version = (table.schema.metadata or {}).get(b"ecd.format", FORMAT)
    if version != FORMAT:
        raise StoreError(f"{name} is of store format {version.decode()}, this reader knows {FORMAT.decode()}: update")
    if missing := sorted(set(SCHEMA.names) - set(table.column_names)):
        raise StoreError(f"{name} is not the index of a store, it has no column {missing[0]!r}; {remedy}")
    return table
