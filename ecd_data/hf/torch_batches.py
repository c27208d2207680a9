"""What torch's default collate makes of rows of `load_dataset`, so that a DataLoader takes them as they are.

Crystals differ in their atoms and grids, and not every property of one is known. So a batch of b rows is, by column
and always alike: "density", "elements" and words, lists of b; "numbers" and "frac_coords", lists of b tensors;
"lattice" [b, 3, 3] and "shape" [b, 3]; "properties", a tensor [b] by name, NaN where unknown; "probes" [b, n, 3] and
[b, n]; other columns as torch collates them, or lists where it cannot.
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


def register(torch_collate: Any) -> None:
    """Make torch's default collate know rows of ECD; it goes on to treat any other dictionary as before."""
    torch_collate.default_collate_fn_map[dict] = collate_rows


def collate_rows(rows: Sequence[Row], *, collate_fn_map: dict[Any, Callable[..., Any]] | None = None) -> Any:
    """The batch of some rows, column by column; of dictionaries that are no rows of ECD, what torch makes of them."""
    from torch.utils.data._utils.collate import collate

    others = {kind: function for kind, function in (collate_fn_map or {}).items() if kind is not dict}
    if not all(map(_is_row, rows)):
        return collate(rows, collate_fn_map=others)

    def default(values: list[Any]) -> Any:
        try:
            return collate(values, collate_fn_map=others)
        except (TypeError, RuntimeError, ValueError):
            return values

    return {name: _column(name, [row[name] for row in rows], default) for name in rows[0]}


def _is_row(row: Row) -> bool:
    return {*RAGGED, *STACKED} <= row.keys() or any(isinstance(value, Density) for value in row.values())


def _column(name: str, values: list[Any], default: Callable[[list[Any]], Any]) -> Any:
    import torch

    if name in LISTS or any(isinstance(value, Density) for value in values):
        return values
    if name in RAGGED:
        return [_tensor(value) for value in values]
    if name in STACKED:
        return torch.stack([_tensor(value) for value in values])
    if name == PROPERTIES:
        return {key: torch.stack([_number(value[key]) for value in values]) for key in values[0]}
    return default(values)


def _tensor(value: Any) -> Any:
    import torch

    return value if torch.is_tensor(value) else torch.from_numpy(np.array(value))


def _number(value: Any) -> Any:
    """The number as a tensor; NaN says that it is unknown."""
    import torch

    return torch.tensor(np.nan if value is None else float(value), dtype=torch.float64)
