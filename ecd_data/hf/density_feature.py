"""The density and probes columns of a dataset: Arrow holds a reference to the store, and reading a row decodes it."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import numpy as np
import pyarrow as pa
from datasets import Value
from datasets.features.features import register_feature
from datasets.table import array_cast

from ecd_data.density import Density
from ecd_data.errors import UsageError
from ecd_data.store import Store
from ecd_data.store.live_index import Location, shared_live_index
from ecd_data.store.parts import Extent, read_density
from ecd_data.store.probes.draw import ProbeReader

REFERENCE = {
    "root": pa.string(),
    "part": pa.string(),
    "id": pa.string(),
    "offset": pa.int64(),
    "length": pa.int64(),
    "sha256": pa.string(),
}
VALUE_TYPES = {pa.string(): "string", pa.int64(): "int64"}


@dataclass(frozen=True)
class Reference:
    """The position of a crystal in a store: the byte range of its group in a part, and the SHA-256 of those bytes."""

    root: str
    part: str
    id: str
    offset: int
    length: int
    sha256: str

    def read(self) -> Density:
        """The density, also after its store was merged or moved parts; raises StoreError if it is lost or altered."""

        def read_at(url: str, at: Extent) -> Density:
            density = read_density(url, at, self.id)
            _references[density] = Reference(self.root, url.rpartition("/")[2], self.id, **vars(at))
            return density

        place = Location(self.part, Extent(self.offset, self.length, self.sha256))
        return shared_live_index(self.root).read(self.id, place, read_at)


# `datasets` encodes a row again after `map`, so the reference must be found from the decoded density alone.
_references: WeakKeyDictionary[Density, Reference] = WeakKeyDictionary()
_read_cached = lru_cache(maxsize=1)(Reference.read)  # several columns of one row decode the crystal once


@dataclass
class DensityFeature:
    """A column whose values are `ecd_data.Density`, or with decode=False references to the store.

    `datasets` decodes all columns of a row: use `dataset.remove_columns("density")` if the grids are not needed. A
    `map` must name the density, `input_columns="density"`, or drop it, `remove_columns=["density"]`.
    """

    decode: bool = True
    id: str | None = field(default=None, repr=False)
    dtype: ClassVar[str] = "ecd_data.Density"
    pa_type: ClassVar[pa.StructType] = pa.struct(REFERENCE)
    _type: str = field(default="EcdDensity", init=False, repr=False)

    def __call__(self) -> pa.StructType:
        return self.pa_type

    def encode_example(self, value: Density | dict[str, Any]) -> dict[str, Any]:
        """The reference of a density that was read from a store; raises UsageError for any other density."""
        if isinstance(value, Density):
            if value not in _references:
                raise UsageError(f"{value!r} is in no store, so a dataset cannot refer to it: convert it first")
            return asdict(_references[value])
        return value

    def decode_example(self, value: dict[str, Any] | Density, token_per_repo_id: Any = None) -> Density:
        """The density of a reference."""
        return value if isinstance(value, Density) else _read_cached(Reference(**value))

    def cast_storage(self, storage: pa.Array) -> pa.Array:
        """References as this feature's Arrow type."""
        return array_cast(storage, self.pa_type)

    def flatten(self) -> dict[str, Value]:
        """The reference's fields as columns."""
        return {name: Value(VALUE_TYPES[kind]) for name, kind in REFERENCE.items()}


@dataclass
class ProbesFeature:
    """A column of n random grid points of each crystal: {"frac_coords": [n, 3], "values": [n] float32 in e/Å^3}.

    The points are those of `Store.probes` for `seed` and `epoch`, the same in any order, process and machine. They are
    read from the store's extract of probes if it has one. `set_epoch` gives rows of another epoch.
    """

    n: int = 1000
    seed: int = 0
    epoch: int = 0
    decode: bool = True
    id: str | None = field(default=None, repr=False)
    dtype: ClassVar[str] = "dict"
    pa_type: ClassVar[pa.StructType] = pa.struct(REFERENCE)
    _type: str = field(default="EcdProbes", init=False, repr=False)

    def __call__(self) -> pa.StructType:
        return self.pa_type

    def encode_example(self, value: dict[str, Any]) -> dict[str, Any]:
        """The reference unchanged; raises UsageError for decoded probes."""
        if "values" in value:
            raise UsageError('decoded probes cannot be written into a dataset: map with remove_columns=["probes"]')
        return value

    def decode_example(self, value: dict[str, Any], token_per_repo_id: Any = None) -> dict[str, np.ndarray]:
        """The probes of the crystal of a reference."""
        reference = Reference(**value)
        reader = _open_probe_reader(reference.root)  # of the whole process: the store may have been replaced since then
        (probes,) = reader.draw(
            [(self.epoch, reference.id)],
            self.n,
            self.seed,
            load=lambda id: _read_cached(reference),
            sha256=reference.sha256,
        )
        return {"frac_coords": probes.frac_coords, "values": probes.values}

    def cast_storage(self, storage: pa.Array) -> pa.Array:
        """References as this feature's Arrow type."""
        return array_cast(storage, self.pa_type)

    def flatten(self) -> dict[str, Value]:
        """The reference's fields as columns."""
        return {name: Value(VALUE_TYPES[kind]) for name, kind in REFERENCE.items()}


def set_epoch(rows: Any, epoch: int) -> Any:
    """The same rows with the probes of another epoch, that is other grid points of each crystal.

    Call it before each epoch of a training; nothing is prepared again.

    Parameters
    ----------
    rows : the result of `load_dataset` for a configuration `probes-*`, loaded or streaming.
    epoch : the number of the epoch, from 0 on.

    Raises
    ------
    UsageError : the rows have no probes, or the epoch is no whole number from 0 on.
    """
    if isinstance(epoch, bool) or not isinstance(epoch, int | np.integer) or epoch < 0:
        raise UsageError(f"an epoch is a whole number from 0 on, not {epoch!r}")
    if isinstance(rows, dict):
        return type(rows)({part: set_epoch(each, epoch) for part, each in rows.items()})
    found = [(name, kind) for name, kind in (rows.features or {}).items() if isinstance(kind, ProbesFeature)]
    if not found:
        raise UsageError('these rows have no probes to draw: load the configuration "probes-pbe" or "probes-hse"')
    for name, kind in found:
        rows = rows.cast_column(name, replace(kind, epoch=int(epoch)))
    return rows


@lru_cache(maxsize=8)
def _open_probe_reader(root: str) -> ProbeReader:
    return ProbeReader(root, Store(root).__getitem__)


with warnings.catch_warnings():  # at import, so that saved datasets open again
    warnings.simplefilter("ignore")  # `datasets` calls its function experimental
    register_feature(DensityFeature, DensityFeature._type)
    register_feature(ProbesFeature, ProbesFeature._type)
