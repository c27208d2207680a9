"""The index: one Parquet file with a row a crystal."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from ecd_data.density import Density
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
    return row | dict(meta.get("properties", {}))


def spacegroup_of(density: Density, symprec: float = 1e-3) -> int | None:
    """The space group number of a density's crystal by spglib, None where there is none to find."""
    import spglib

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
    return pq.read_table(path).to_pylist()


def load_frame(file: Any) -> pd.DataFrame:
    """The index as a DataFrame, read from an open file."""
    return pq.read_table(file).to_pandas()
