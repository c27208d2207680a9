"""`datasets.load_dataset("ecd", ...)` once ecd_data is imported, without importing `datasets`; its rows in torch.

`datasets` has no entry points for builders, so its resolver of names is wrapped for the one name "ecd"; and torch's
default collate is told of the rows. Each at once where the module is there already, else right after its import.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import wraps
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

NAME = "ecd"
RESOLVER = "dataset_module_factory"
LOAD = "datasets.load"
COLLATE, COLLATE_MAP = "torch.utils.data._utils.collate", "default_collate_fn_map"
USERS = ("datasets.load", "datasets.inspect")


def install() -> None:
    """Wrap the resolver and register the rows now, or when `datasets` and torch are imported; twice is once."""
    _after(LOAD, RESOLVER, _wrap)
    _after(COLLATE, COLLATE_MAP, _register_rows)


def _after(name: str, needed: str, act: Callable[[ModuleType], None]) -> None:
    """Act on a module now where it has what is needed, else when it is imported."""
    if hasattr(sys.modules.get(name), needed):
        act(sys.modules[name])
    elif not any(isinstance(finder, _AfterImport) and finder.name == name for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterImport(name, act))


class _AfterImport:
    """Finds a module as Python would, and acts on it when it has run."""

    def __init__(self, name: str, act: Callable[[ModuleType], None]) -> None:
        self.name, self.act = name, act

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self.name:
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return spec
        run = spec.loader.exec_module

        def run_and_wrap(module: ModuleType) -> None:
            run(module)
            self.act(module)

        spec.loader.exec_module = run_and_wrap  # type: ignore[method-assign]
        return spec


def _register_rows(collate: ModuleType) -> None:
    from ecd_data.hf.torch_batches import register

    register(collate)


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
    import_module("ecd_data.hf.density_feature")  # registers itself, also where its own import brought this about


def _module(load: ModuleType) -> Any:
    """What `datasets` wants to know of a builder: its module, a hash for the cache, its name."""
    from ecd_data.hf.rows import lists_hash

    return load.DatasetModule("ecd_data.hf.builder", lists_hash(), {"dataset_name": NAME})
