"""Reading a store in a folder or at any fsspec URL."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from ecd_data.arguments import names_of, whole_number
from ecd_data.errors import StoreError, UnknownIdError, suggest_ids
from ecd_data.io.locations import local_path
from ecd_data.store.index import INDEX, LOCATION_COLUMNS, Index
from ecd_data.store.live_index import LiveIndex, Location
from ecd_data.store.parts import Extent, read_crystal, read_density, read_entries
from ecd_data.store.probes.draw import ProbeReader, Probes

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from ecd_data.codec import FourierPayload
    from ecd_data.crystal import Crystal
    from ecd_data.density import Density


class Store:
    """A read-only mapping from material id to Density, which also works while another process writes the store.

    `ids`, `index`, `columns` and the length remain those of the index when it was first read, so that they agree with
    each other. Crystals that were moved or encoded again since then are still found, and crystals that were added can
    be read by their ids.

    root: the path or fsspec URL of the store.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = str(root).rstrip("/")

    def __reduce__(self) -> tuple[type[Store], tuple[str]]:
        return Store, (self.root,)  # another process opens its own files

    def __repr__(self) -> str:
        return f"Store({self.root!r}, {len(self)} crystals)"

    @cached_property
    def _index(self) -> Index:
        try:
            return Index(f"{self.root}/{INDEX}")
        except FileNotFoundError as error:
            path = local_path(self.root)
            missing = path is not None and not os.path.lexists(path)
            why = "there is nothing of this name" if missing else f"it has no {INDEX}"
            raise StoreError(
                f"{self.root} is not a store, {why}: check the path, or make a store with `ecd convert`"
            ) from error

    @cached_property
    def index(self) -> pd.DataFrame:
        """One row for each crystal: id, formula, natoms, elements, functional, shape, nelect, ..., part, byte range."""
        return self._index.table().to_pandas()

    def columns(self, *names: str) -> pa.Table:
        """The columns `names` of the index as an Arrow table, or all without names; only they are read."""
        return self._index.table(*names)

    @cached_property
    def ids(self) -> list[str]:
        """The material ids in the order of the index."""
        ids: list[str] = self.columns(*LOCATION_COLUMNS)["id"].to_pylist()
        return ids

    @cached_property
    def _live_index(self) -> LiveIndex:
        return LiveIndex(self.root, self._index)

    @cached_property
    def _rows(self) -> dict[str, int]:
        return dict(zip(self.ids, range(len(self.ids)), strict=True))

    def __len__(self) -> int:
        return len(self._index)

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __contains__(self, id: object) -> bool:
        return id in self._rows or id in self._live_index

    def _locate(self, id: str) -> Location:
        """The location of a crystal; for an id that is not in the index, the index is read again."""
        if not isinstance(id, str):
            raise UnknownIdError(f"{id!r} is not in {self.root}: ids are texts, such as {self.ids[:1]}")
        if id not in self._live_index:
            with suppress(StoreError):  # without the file, what was read of the index remains valid
                self._live_index.refresh()
        place = self._live_index.locate(id)
        if place is None:
            alike = suggest_ids(id, self.ids)
            hint = f"; near: {', '.join(alike)}" if alike else f"; see the {len(self)} ids in its index"
            raise UnknownIdError(f"{id} is not in {self.root}{hint}")
        return place

    def row(self, id: str) -> pd.Series:
        """The index row of a material; raises UnknownIdError, a KeyError, that suggests similar ids."""
        if id not in self._rows:
            self._locate(id)
            return Store(self.root).row(id)  # the crystal was added after the index was read
        return self.index.iloc[self._rows[id]]

    def place(self, id: str) -> tuple[str, Extent]:
        """The URL of the part of a material, and the byte range in it; raises UnknownIdError."""
        part, extent = self._locate(id)
        return f"{self.root}/parts/{part}", extent

    def __getitem__(self, id: str) -> Density:
        return self._live_index.read(id, self._locate(id), lambda url, at: read_density(url, at, id))

    def crystal(self, id: str) -> Crystal:
        """The crystal of a material, without decoding its density; raises UnknownIdError."""
        return self.describe(id)[0]

    def meta(self, id: str) -> dict[str, Any]:
        """The metadata of a density: settings, provenance, properties; it is not decoded. Raises UnknownIdError."""
        return self.describe(id)[1]

    def describe(self, id: str) -> tuple[Crystal, dict[str, Any]]:
        """The crystal of a material and the metadata of its density, in one read; raises UnknownIdError."""
        return self._live_index.read(id, self._locate(id), lambda url, at: read_crystal(url, at, id))

    def payload(self, id: str, name: str = "density", component: int = 0) -> FourierPayload:
        """The plane waves of a stored density, which give values at any points or on any grid without the whole grid.

        Parameters
        ----------
        id : the material.
        name : "density" or "magnetization".
        component : 0, 1 or 2 of a non-collinear magnetization.

        Raises
        ------
        UnknownIdError : the store does not have the id.
        StoreError : the crystal is stored in real space or has no such grid.
        """
        from ecd_data.store.crystal_group import grid_payload  # imported here, since only decoding needs it

        entries = self._live_index.read(id, self._locate(id), lambda url, at: read_entries(url, at, id))
        try:
            return grid_payload(entries, name, component)
        except StoreError as error:
            raise StoreError(f"{id}: {error}") from error

    @cached_property
    def probe_reader(self) -> ProbeReader:
        """The ProbeReader of the store, which reads the extract of `ecd probes` or decodes densities."""
        return ProbeReader(self.root, self.__getitem__)

    @overload
    def probes(  # type: ignore[overload-overlap]
        self, ids: str, n: int = 200, *, seed: int = 0, epoch: int = 0, magnetization: bool = False
    ) -> Probes: ...

    @overload
    def probes(
        self, ids: Sequence[str], n: int = 200, *, seed: int = 0, epoch: int = 0, magnetization: bool = False
    ) -> list[Probes]: ...

    def probes(
        self, ids: str | Sequence[str], n: int = 200, *, seed: int = 0, epoch: int = 0, magnetization: bool = False
    ) -> Probes | list[Probes]:
        """The density at n random grid points of one crystal, or of each of several crystals.

        The points are uniformly distributed, and the same for the same (seed, epoch, id) in any process. A crystal has
        K points (16,384, or as many as the extract has), of which none is drawn twice in K // n successive epochs. Then
        the points are used again, in other combinations.

        Parameters
        ----------
        ids : an id, or a sequence of ids, which gives a list.
        n : the number of points of each crystal.
        seed, epoch : decide which points are drawn.
        magnetization : whether the magnetization is read, too.

        Raises
        ------
        UnknownIdError : the store does not have an id.
        UsageError : n is larger than the number of points in the extract.
        """
        n, seed, epoch = whole_number(n, "n", 1), whole_number(seed, "seed", 0), whole_number(epoch, "epoch", 0)
        if isinstance(ids, str):
            return self.probe_reader.draw([(epoch, ids)], n, seed, magnetization)[0]
        return self.probe_reader.draw([(epoch, id) for id in names_of(ids, "ids")], n, seed, magnetization)
