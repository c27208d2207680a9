"""The index of an extract of probes: one row for each crystal, with all data of its probes except their values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ecd_data.crystal import Crystal
from ecd_data.errors import StoreError
from ecd_data.io.arrow_files import ParquetSource, write_parquet
from ecd_data.io.atomic_write import write_whole
from ecd_data.store.index import INDEX as STORE_INDEX
from ecd_data.store.index import Index

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
GROUP = 1 << 14  # rows of a row group: limits the memory of reading
SMALL_INDEX = 1 << 30  # bytes: a smaller index is read whole, since all its columns are needed
REMEDY = "remove the folder probes and run `ecd probes` again"


class Settings(NamedTuple):
    """The settings of an extract: the number of probes of each crystal, and the seed of the permutations."""

    per_crystal: int = 16384
    seed: int = 0


@dataclass(frozen=True)
class ProbeLocation:
    """The location of a crystal's probes: `count` float32 of density, then as many of each magnetization component."""

    file: str
    offset: int
    count: int
    components: int
    shape: tuple[int, int, int]


class ProbeIndex:
    """The rows of an extract by id, in arrays; a Crystal is built on request."""

    def __init__(self, table: pa.Table, settings: Settings) -> None:
        self.settings = settings
        self._rows = {id: row for row, id in enumerate(table["id"].to_pylist())}
        self._files = _array(table["file"]).dictionary_encode()
        self._file_of = self._files.indices.to_numpy()
        self._places = [table[name].to_numpy() for name in ("offset", "count", "components")]
        self._shapes = _array(table["shape"]).flatten().to_numpy().reshape(-1, 3)
        self._lattices = _array(table["lattice"]).flatten().to_numpy().reshape(-1, 3, 3)
        self._pbc = _array(table["pbc"]).flatten().to_numpy(zero_copy_only=False).reshape(-1, 3)
        self._numbers, self._frac_coords = (_ragged(table[name]) for name in ("numbers", "frac_coords"))
        self._sha256 = table["group_sha256"]

    def __contains__(self, id: object) -> bool:
        return id in self._rows

    def __len__(self) -> int:
        return len(self._rows)

    def same(self, other: ProbeIndex) -> bool:
        """Whether the probes of all crystals have the same locations in `other`."""
        arrays = [(self._file_of, other._file_of), (self._shapes, other._shapes)]
        arrays += list(zip(self._places, other._places, strict=True))
        names = self._files.dictionary.to_pylist() == other._files.dictionary.to_pylist()
        return self._rows == other._rows and names and all(np.array_equal(*pair) for pair in arrays)

    def place(self, id: str) -> ProbeLocation:
        """The location of the probes of a crystal."""
        row = self._rows[id]
        file = self._files.dictionary[int(self._file_of[row])].as_py()
        offset, count, components = (int(column[row]) for column in self._places)
        a, b, c = self._shapes[row].tolist()
        return ProbeLocation(file, offset, count, components, (a, b, c))

    def sha256(self, id: str) -> str:
        """The hash of the stored bytes of the density that the probes of a crystal are from."""
        digest: str = self._sha256[self._rows[id]].as_py()
        return digest

    def crystal(self, id: str) -> Crystal:
        """The Crystal of an id."""
        row = self._rows[id]
        numbers, frac_coords = (
            values[starts[row] : starts[row + 1]] for starts, values in (self._numbers, self._frac_coords)
        )
        return Crystal(self._lattices[row], numbers, frac_coords.reshape(-1, 3), tuple(self._pbc[row].tolist()))


def _array(column: pa.ChunkedArray) -> Any:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _ragged(column: pa.ChunkedArray) -> tuple[NDArray[Any], NDArray[Any]]:
    """The start of each row's values, and the values of all rows."""
    array = _array(column)
    return array.offsets.to_numpy(), array.values.to_numpy()


def load_index(root: str) -> ProbeIndex | None:
    """The index of the extract of the store at `root`, a path or URL; None where the store has no extract.

    Crystals whose densities were replaced in the store since `ecd probes` drew their probes are left out.
    """
    loaded = load_table(root)
    if loaded is None:
        return None
    table, settings = loaded
    return ProbeIndex(_select_current(table, root), settings)


def _select_current(table: pa.Table, root: str) -> pa.Table:
    """The rows whose probes are of the densities that the store at `root` has now."""
    try:
        stored = Index(f"{root}/{STORE_INDEX}").table("id", "sha256")
    except FileNotFoundError as error:
        raise StoreError(f"{root} has lost its {STORE_INDEX}; restore it") from error
    current = dict(zip(*(stored[name].to_pylist() for name in ("id", "sha256")), strict=True))
    rows = zip(table["id"].to_pylist(), table["group_sha256"].to_pylist(), strict=True)
    kept = [current.get(id) == sha256 for id, sha256 in rows]
    return table if all(kept) else table.filter(pa.array(kept, pa.bool_()))


def load_table(root: str, columns: list[str] = SCHEMA.names) -> tuple[pa.Table, Settings] | None:
    """The rows of the index of an extract and its settings; None where there is no extract."""
    name = f"{root}/{INDEX}"
    try:
        source = ParquetSource(name, SMALL_INDEX)
        file = source.file
        missing = sorted(set(columns) - set(file.schema_arrow.names))
        table = None if missing else source.read(columns)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, pa.ArrowException) as error:
        raise StoreError(f"{name} is damaged; {REMEDY}") from error
    stated = {key.decode(): value.decode() for key, value in (file.schema_arrow.metadata or {}).items()}
    if table is None:
        raise StoreError(f"{name} is not an index of probes: it has no column {missing[0]!r}; {REMEDY}")
    if stated.get("ecd.probes") != FORMAT:
        version = stated.get("ecd.probes")
        raise StoreError(f"{name} has probes format {version}, this ecd-data reads {FORMAT}: update it")
    return table, Settings(int(stated["per_crystal"]), int(stated["seed"]))


def save_index(table: pa.Table, settings: Settings, root: Path) -> None:
    """Replace the index of the extract in the store `root` atomically."""
    stated = {"ecd.probes": FORMAT, "per_crystal": str(settings.per_crystal), "seed": str(settings.seed)}
    path = root / INDEX
    with write_whole(path) as aside:
        write_parquet(table.replace_schema_metadata(stated), aside, compression="zstd", row_group_size=GROUP)
