"""`datasets.load_dataset("ecd", ...)` once ecd_data is imported, without importing `datasets`.

`datasets` has no entry points for builders, so its resolver of names is wrapped for the one name "ecd": at once where
`datasets` is there already, else right after it has been imported.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import wraps
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

NAME = "ecd"
RESOLVER = "dataset_module_factory"
USERS = ("datasets.load", "datasets.inspect")


def install() -> None:
    """Wrap the resolver now or when `datasets` is imported; twice is once."""
    if hasattr(sys.modules.get("datasets.load"), RESOLVER):
        _wrap(sys.modules["datasets.load"])
    elif not any(isinstance(finder, _AfterDatasets) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterDatasets())


class _AfterDatasets:
    """Finds datasets.load as Python would, and wraps the resolver when the module has run."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "datasets.load":
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return spec
        run = spec.loader.exec_module

        def run_and_wrap(module: ModuleType) -> None:
            run(module)
            _wrap(module)

        spec.loader.exec_module = run_and_wrap  # type: ignore[method-assign]
        return spec


def _wrap(load: ModuleType) -> None:
    original = getattr(load, RESOLVER)
    if hasattr(original, "__wrapped__"):
        return

    @wraps(original)
    def resolve(path: str, *args: Any, **kwargs: Any) -> Any:
        return _module(load) if path == NAME else original(path, *args, **kwargs)

    for user in USERS:
        if getattr(sys.modules.get(user), RESOLVER, None) is original:
            setattr(sys.modules[user], RESOLVER, resolve)
    from ecd_data.release.feature import register

    register()


def _module(load: ModuleType) -> Any:
    """What `datasets` wants to know of a builder: its module, a hash for the cache, its name."""
    from ecd_data.release.rows import lists_hash

    return load.DatasetModule("ecd_data.release.builder", lists_hash(), {"dataset_name": NAME})
