"""The store: a folder with many densities in a few ZIP files of Zarr arrays, the parts, and one Parquet index.

docs/format.md describes the files. Names are imported when they are first used, since a reader needs no writer. This is
our own code, as in `ecd_data`: lazy_loader cannot take a name from outside its package, and would save a few lines.
"""

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

_MODULES = {  # the module that defines each public name
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
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value
