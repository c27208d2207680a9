"""The index of an extract of probes: a row a crystal, with all that its probes need beside their values."""

from __future__ import annotations

import io
import os
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ecd_data.crystal import Crystal
from ecd_data.errors import StoreError
from ecd_data.store.parts import read_url

FOLDER = "probes"
INDEX = f"{FOLDER}/index.parquet"
FORMAT = "1"
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("file", pa.string()),
        ("offset", pa.int64()),
        ("count", pa.int32()),
        ("components", pa.int8()),
        ("shape", pa.list_(pa.int32(), 3)),
        ("lattice", pa.list_(pa.float64(), 9)),
        ("pbc", pa.list_(pa.bool_(), 3)),
        ("numbers", pa.list_(pa.int16())),
        ("frac_coords", pa.list_(pa.float64())),
        ("group_sha256", pa.string()),
    ]
)
REMEDY = "remove the folder probes and run `ecd probes` again"


class Settings(NamedTuple):
    """What an extract was made with: probes a crystal and the seed of the permutations."""

    per_crystal: int = 16384
    seed: int = 0


@dataclass(frozen=True)
class Place:
    """Where a crystal's probes lie: `count` float32 of density, then as many of each magnetisation component."""

    file: str
    offset: int
    count: int
    components: int
    shape: tuple[int, int, int]


class ProbeIndex:
    """The rows of an extract by id; crystals are built when asked for."""

    def __init__(self, table: pa.Table, settings: Settings) -> None:
        self.table, self.settings = table.combine_chunks(), settings

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {id: row for row, id in enumerate(self.table["id"].to_pylist())}

    def __contains__(self, id: object) -> bool:
        return id in self._rows

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def _places(self) -> dict[str, NDArray[Any]]:
        return {name: self.table[name].to_numpy() for name in ("offset", "count", "components")} | {
            "shape": _flat(self.table["shape"]).reshape(-1, 3)
        }

    @cached_property
    def _lists(self) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
        columns = {name: _array(self.table[name]) for name in ("numbers", "frac_coords")}
        return {name: (array.offsets.to_numpy(), array.values.to_numpy()) for name, array in columns.items()}

    @cached_property
    def _lattices(self) -> NDArray[np.float64]:
        return _flat(self.table["lattice"]).reshape(-1, 3, 3)

    def place(self, id: str) -> Place:
        """Where the probes of a crystal lie."""
        row, columns = self._rows[id], self._places
        offset, count, components = (int(columns[name][row]) for name in ("offset", "count", "components"))
        a, b, c = columns["shape"][row].tolist()
        return Place(self.table["file"][row].as_py(), offset, count, components, (a, b, c))

    def crystal(self, id: str) -> Crystal:
        """The crystal of an id."""
        row = self._rows[id]
        numbers, frac_coords = (v[o[row] : o[row + 1]] for o, v in (self._lists[k] for k in ("numbers", "frac_coords")))
        return Crystal(self._lattices[row], numbers, frac_coords.reshape(-1, 3), tuple(self.table["pbc"][row].as_py()))


def _array(column: pa.ChunkedArray) -> Any:
    return column.chunk(0) if column.num_chunks else pa.array([], column.type)


def _flat(column: pa.ChunkedArray) -> NDArray[Any]:
    return _array(column).flatten().to_numpy()


def load_index(root: str) -> ProbeIndex | None:
    """The index of the extract of the store at `root`, a path or URL; None where it has no extract."""
    name = f"{root}/{INDEX}"
    try:
        table = pq.read_table(io.BytesIO(read_url(name)))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, pa.ArrowException) as error:
        raise StoreError(f"{name} is damaged; {REMEDY}") from error
    stated = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    if missing := sorted(set(SCHEMA.names) - set(table.column_names)):
        raise StoreError(f"{name} is no index of probes, it has no column {missing[0]!r}; {REMEDY}")
    if stated.get("ecd.probes") != FORMAT:
        raise StoreError(f"{name} is of probes format {stated.get('ecd.probes')}, this reader knows {FORMAT}: update")
    return ProbeIndex(table, Settings(int(stated["per_crystal"]), int(stated["seed"])))


def save_index(table: pa.Table, settings: Settings, root: Path) -> None:
    """Replace the index of the extract in the store `root`, all at once."""
    stated = {"ecd.probes": FORMAT, "per_crystal": str(settings.per_crystal), "seed": str(settings.seed)}
    path = root / INDEX
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=".index-")
    try:
        with os.fdopen(handle, "wb") as file:
            pq.write_table(table.replace_schema_metadata(stated), file, compression="zstd")
        os.chmod(aside, 0o644)
        os.replace(aside, path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise
