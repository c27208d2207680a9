"""The store: many densities in a few immutable ZIP parts of Zarr arrays and one Parquet index."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ecd_data.store.conversion import convert
    from ecd_data.store.merging import merge
    from ecd_data.store.parts import read_density
    from ecd_data.store.reader import Store
    from ecd_data.store.reencoding import reencode
    from ecd_data.store.roots import open_store
    from ecd_data.store.verification import verify
    from ecd_data.store.writer import StoreWriter

_HOMES = {  # loaded on first use: a reader needs no writer
    "Store": "reader",
    "StoreWriter": "writer",
    "convert": "conversion",
    "merge": "merging",
    "open_store": "roots",
    "read_density": "parts",
    "reencode": "reencoding",
    "verify": "verification",
}

__all__ = ["Store", "StoreWriter", "convert", "merge", "open_store", "read_density", "reencode", "verify"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
