"""The hook that makes `datasets.load_dataset("ecd", ...)` and torch's DataLoader work once ecd_data is imported.

`datasets` has no entry points for builders, so the function that resolves the names of datasets is wrapped for the one
name "ecd". torch's default collate function is extended by the rows of ECD. Neither package is imported for it: the
hook acts at once on a package that is imported already, else right after its import.
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
RESOLVER_MODULES = ("datasets.load", "datasets.inspect")


def install() -> None:
    """Set the hook up, now or when `datasets` and torch are imported; a second call changes nothing."""
    _run_after_import(LOAD, RESOLVER, _wrap_resolver)
    _run_after_import(COLLATE, COLLATE_MAP, _register_rows)


def _run_after_import(name: str, needed: str, act: Callable[[ModuleType], None]) -> None:
    """Call `act` with a module: now if it has the attribute `needed` already, else when it is imported."""
    if hasattr(sys.modules.get(name), needed):
        act(sys.modules[name])
    elif not any(isinstance(finder, _AfterImport) and finder.name == name for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterImport(name, act))


class _AfterImport:
    """An import finder that finds one module as Python would, and calls `act` with it after its import."""

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
    from ecd_data.hf.torch_batches import register_collate

    register_collate(collate)


def _wrap_resolver(load: ModuleType) -> None:
    original = getattr(load, RESOLVER)
    if hasattr(original, "__wrapped__"):
        return

    @wraps(original)
    def resolve(path: str, *args: Any, **kwargs: Any) -> Any:
        return _builder_module(load) if path == NAME else original(path, *args, **kwargs)

    for user in RESOLVER_MODULES:
        if getattr(sys.modules.get(user), RESOLVER, None) is original:
            setattr(sys.modules[user], RESOLVER, resolve)
    import_module("ecd_data.hf.density_feature")  # registers its features


def _builder_module(load: ModuleType) -> Any:
    """The description of our builder for `datasets`: its module, a hash for the cache, its name."""
    from ecd_data.hf.rows import hash_lists

    return load.DatasetModule("ecd_data.hf.builder", hash_lists(), {"dataset_name": NAME})
