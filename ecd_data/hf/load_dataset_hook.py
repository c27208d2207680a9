"""The hook that makes `datasets.load_dataset("ecd", ...)` and torch's DataLoader work once ecd_data is imported.

`datasets` has no entry points for builders, so the function that resolves the names of datasets is wrapped for the one
name "ecd". torch's default collate function is extended by the rows of ECD. Neither package is imported for it: the
hook acts at once on a package that is imported already, else right after its import.

Crystals differ in their atoms and grids, and some properties are unknown. A batch of b rows always has, by column:
"density", "elements" and texts as lists of b; "numbers" and "frac_coords" as lists of b tensors; "lattice" [b, 3, 3];
"shape" [b, 3]; "properties" as one tensor [b] for each name, NaN for unknown values; "probes" [b, n, 3] and [b, n];
other columns as torch collates them, or as lists if it cannot.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

import numpy as np

from ecd_data.density import Density

LISTS = ("id", "formula", "elements", "spacegroup", "functional", "split", "part", "data_origin", "density")
RAGGED = ("numbers", "frac_coords")
STACKED = ("lattice", "shape")
PROPERTIES = "properties"

Row = Mapping[str, Any]


def register_collate(torch_collate: Any) -> None:
    """Extend torch's default collate function by rows of ECD; it treats other dictionaries as before."""
    torch_collate.default_collate_fn_map[dict] = collate_rows


def collate_rows(rows: Sequence[Row], *, collate_fn_map: dict[Any, Callable[..., Any]] | None = None) -> Any:
    """The batch of some rows as the module's docstring says; torch collates dictionaries that are no rows of ECD."""
    from torch.utils.data._utils.collate import collate

    others = {kind: function for kind, function in (collate_fn_map or {}).items() if kind is not dict}
    if not all(map(_is_row, rows)):
        return collate(rows, collate_fn_map=others)

    def default(values: list[Any]) -> Any:
        try:
            return collate(values, collate_fn_map=others)
        except (TypeError, RuntimeError, ValueError):
            return values

    return {name: _collate_column(name, [row[name] for row in rows], default) for name in rows[0]}


def _is_row(row: Row) -> bool:
    return {*RAGGED, *STACKED} <= row.keys() or any(isinstance(value, Density) for value in row.values())


def _collate_column(name: str, values: list[Any], default: Callable[[list[Any]], Any]) -> Any:
    import torch

    if name in LISTS or any(isinstance(value, Density) for value in values):
        return values
    if name in RAGGED:
        return [_to_tensor(value) for value in values]
    if name in STACKED:
        return torch.stack([_to_tensor(value) for value in values])
    if name == PROPERTIES:
        return {key: torch.stack([_to_number(value[key]) for value in values]) for key in values[0]}
    return default(values)


def _to_tensor(value: Any) -> Any:
    import torch

    return value if torch.is_tensor(value) else torch.from_numpy(np.array(value))


def _to_number(value: Any) -> Any:
    """The number as a tensor; NaN if it is unknown."""
    import torch

    return torch.tensor(np.nan if value is None else float(value), dtype=torch.float64)


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
    from ecd_data.hf.load_dataset_hook import register_collate

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
