"""Reading a store from a folder or any fsspec URL."""

from __future__ import annotations

import difflib
import io
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ecd_data.density import Density
from ecd_data.errors import StoreError, UnknownIdError
from ecd_data.store.index import INDEX, load_frame
from ecd_data.store.parts import read_density, read_url

if TYPE_CHECKING:
    import pandas as pd


class Store:
    """A read-only mapping from material id to Density."""

    def __init__(self, root: str | Path) -> None:
        self.root = str(root).rstrip("/")

    def __repr__(self) -> str:
        return f"Store({self.root!r}, {len(self)} crystals)"

    @cached_property
    def index(self) -> pd.DataFrame:
        """A row a crystal: id, formula, natoms, elements, functional, shape, nelect, ..., part and byte range."""
        try:
            data = read_url(f"{self.root}/{INDEX}")
        except FileNotFoundError as error:
            raise StoreError(
                f"{self.root} is not a store, it has no {INDEX}: check the path, or make one with `ecd convert`"
            ) from error
        return load_frame(io.BytesIO(data), f"{self.root}/{INDEX}")

    @cached_property
    def ids(self) -> list[str]:
        """The material ids in the order of the index."""
        return self.index["id"].tolist()

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {id: row for row, id in enumerate(self.ids)}

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __contains__(self, id: object) -> bool:
        return id in self._rows

    def row(self, id: str) -> pd.Series:
        """The index row of a material; raises UnknownIdError, a KeyError, that suggests near ids."""
        if id not in self._rows:
            near = difflib.get_close_matches(id, self.ids, n=3, cutoff=0.5)
            hint = f"; near: {', '.join(near)}" if near else f"; see the {len(self)} ids in its index"
            raise UnknownIdError(f"{id} is not in {self.root}{hint}")
        return self.index.iloc[self._rows[id]]

    def __getitem__(self, id: str) -> Density:
        row = self.row(id)
        url = f"{self.root}/parts/{row['part']}"
        return read_density(url, int(row["offset"]), int(row["length"]), row["sha256"], id)
