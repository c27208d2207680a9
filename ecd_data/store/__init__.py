"""The store: many densities in a few immutable ZIP parts of Zarr arrays and one Parquet index."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ecd_data.conversion.convert_files import convert
    from ecd_data.store.data_root import open_store
    from ecd_data.store.merge_stores import merge
    from ecd_data.store.parts import read_density
    from ecd_data.store.reader import Store
    from ecd_data.store.reencode_store import reencode
    from ecd_data.store.verify_store import verify
    from ecd_data.store.writer import StoreWriter

_HOMES = {  # loaded on first use: a reader needs no writer
    "Store": "ecd_data.store.reader",
    "StoreWriter": "ecd_data.store.writer",
    "convert": "ecd_data.conversion.convert_files",
    "merge": "ecd_data.store.merge_stores",
    "open_store": "ecd_data.store.data_root",
    "read_density": "ecd_data.store.parts",
    "reencode": "ecd_data.store.reencode_store",
    "verify": "ecd_data.store.verify_store",
}

__all__ = ["Store", "StoreWriter", "convert", "merge", "open_store", "read_density", "reencode", "verify"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
