"""Batches of dataset rows for torch's default collate function, so that a DataLoader takes the rows as they are.

Crystals differ in their atoms and grids, and some properties are unknown. A batch of b rows always has, by column:
"density", "elements" and texts as lists of b; "numbers" and "frac_coords" as lists of b tensors; "lattice" [b, 3, 3];
"shape" [b, 3]; "properties" as one tensor [b] for each name, NaN for unknown values; "probes" [b, n, 3] and [b, n];
other columns as torch collates them, or as lists if it cannot.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
