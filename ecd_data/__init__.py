"""Electron densities of crystals: files, stores, datasets and splits.

Every public name is imported when it is first used, so that `import ecd_data` stays fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ecd_data.checks import check
    from ecd_data.comparison import compare
    from ecd_data.crystal import Crystal
    from ecd_data.density import Density
    from ecd_data.density_error import eps_mae
    from ecd_data.download.fetch_release import fetch
    from ecd_data.formats import read, write
    from ecd_data.hf.builder import load_dataset
    from ecd_data.release.subset_store import subset
    from ecd_data.release.tasks import load_split
    from ecd_data.store import Store, convert, merge, open_store, reencode, verify

__version__ = "0.1.0"

_MODULES = {  # the module that defines each public name
    "Crystal": "ecd_data.crystal",
    "Density": "ecd_data.density",
    "read": "ecd_data.formats",
    "write": "ecd_data.formats",
    "check": "ecd_data.checks",
    "compare": "ecd_data.comparison",
    "eps_mae": "ecd_data.density_error",
    "Store": "ecd_data.store",
    "open_store": "ecd_data.store",
    "convert": "ecd_data.store",
    "merge": "ecd_data.store",
    "reencode": "ecd_data.store",
    "subset": "ecd_data.release.subset_store",
    "verify": "ecd_data.store",
    "fetch": "ecd_data.download.fetch_release",
    "load_split": "ecd_data.release.tasks",
    "load_dataset": "ecd_data.hf.builder",
}

__all__ = [
    "Crystal",
    "Density",
    "Store",
    "check",
    "compare",
    "convert",
    "eps_mae",
    "fetch",
    "load_dataset",
    "load_split",
    "merge",
    "open_store",
    "read",
    "reencode",
    "subset",
    "verify",
    "write",
]


import_module("ecd_data.hf.load_dataset_hook").install()  # so that datasets.load_dataset("ecd", ...) works


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
