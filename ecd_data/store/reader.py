"""Reading a store from a folder or any fsspec URL."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, overload

from ecd_data.arguments import names_of, whole_number
from ecd_data.errors import StoreError, UnknownIdError
from ecd_data.io.locations import path_of
from ecd_data.store.index import INDEX, PLACE, Index
from ecd_data.store.live_index import Place, Whereabouts
from ecd_data.store.near_ids import near
from ecd_data.store.parts import Extent, read_density, read_entries
from ecd_data.store.probes.draw import ProbeReader, Probes

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from ecd_data.codec import FourierPayload
    from ecd_data.density import Density
    from ecd_data.store.crystal_group import Entries


class Store:
    """A read-only mapping from material id to Density, also while another process writes the store.

    `ids`, `index`, `columns` and the length stay those of the index when it was first read, so that they agree with
    each other. A crystal that was moved or encoded again since is found all the same, one that was added by its id.
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
            path = path_of(self.root)
            gone = path is not None and not os.path.lexists(path)
            why = "there is nothing of this name" if gone else f"it has no {INDEX}"
            raise StoreError(
                f"{self.root} is not a store, {why}: check the path, or make one with `ecd convert`"
            ) from error

    @cached_property
    def index(self) -> pd.DataFrame:
        """A row a crystal: id, formula, natoms, elements, functional, shape, nelect, ..., part and byte range."""
        return self._index.table().to_pandas()

    def columns(self, *names: str) -> pa.Table:
        """Some columns of the index as an Arrow table: all that is read of it."""
        return self._index.table(*names)

    @cached_property
    def ids(self) -> list[str]:
        """The material ids in the order of the index."""
        ids: list[str] = self.columns(*PLACE)["id"].to_pylist()
        return ids

    @cached_property
    def _whereabouts(self) -> Whereabouts:
        return Whereabouts(self.root, self._index)

    @cached_property
    def _rows(self) -> dict[str, int]:
        return dict(zip(self.ids, range(len(self.ids)), strict=True))

    def __len__(self) -> int:
        return len(self._index)

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __contains__(self, id: object) -> bool:
        return id in self._rows or id in self._whereabouts

    def _known(self, id: str) -> Place:
        """Where a crystal lay when the index was last read, which is done again for an id that it does not have."""
        if not isinstance(id, str):
            raise UnknownIdError(f"{id!r} is not in {self.root}: ids are texts, such as {self.ids[:1]}")
        if id not in self._whereabouts:
            with suppress(StoreError):  # the index is gone: what was read of it holds
                self._whereabouts.look_again()
        place = self._whereabouts.place(id)
        if place is None:
            alike = near(id, self.ids)
            hint = f"; near: {', '.join(alike)}" if alike else f"; see the {len(self)} ids in its index"
            raise UnknownIdError(f"{id} is not in {self.root}{hint}")
        return place

    def row(self, id: str) -> pd.Series:
        """The index row of a material; raises UnknownIdError, a KeyError, that suggests near ids."""
        if id not in self._rows:
            self._known(id)
            return Store(self.root).row(id)  # added since the index was read
        return self.index.iloc[self._rows[id]]

    def place(self, id: str) -> tuple[str, Extent]:
        """The URL of the part that holds a material, and where in it; raises UnknownIdError."""
        part, extent = self._known(id)
        return f"{self.root}/parts/{part}", extent

    def __getitem__(self, id: str) -> Density:
        return self._whereabouts.read(
            id, self._known(id), lambda url, at: read_density(url, at.offset, at.length, at.sha256, id)
        )

    def payload(self, id: str, name: str = "density", component: int = 0) -> FourierPayload:
        """The plane waves of a stored density: values at any points, on any grid or a shifted one, without the whole.

        name: "density" or "magnetization", of which `component` is one of three where it is non-collinear. Raises
        StoreError where the crystal is stored in real space or has no such grid.
        """
        from ecd_data.store.crystal_group import payload  # loads what only decoding needs

        def entries(url: str, at: Extent) -> Entries:
            return read_entries(url, at.offset, at.length, at.sha256, id)

        try:
            return payload(self._whereabouts.read(id, self._known(id), entries), name, component)
        except StoreError as error:
            raise StoreError(f"{id}: {error}") from error

    @cached_property
    def probe_reader(self) -> ProbeReader:
        """What draws probes, from the extract of `ecd probes` where the store has one, else by decoding."""
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
        """n independent, uniformly distributed grid points of one crystal, or of each of several, with the density.

        The same for the same (seed, epoch, id), in any process. Of K probes a crystal (16,384, or what the extract
        has) no point comes twice in K // n successive epochs; then they come again, in samples cut elsewhere. Raises
        UnknownIdError for an id that the store lacks, UsageError where n exceeds what the extract has.
        """
        n, seed, epoch = whole_number(n, "n", 1), whole_number(seed, "seed", 0), whole_number(epoch, "epoch", 0)
        if isinstance(ids, str):
            return self.probe_reader.draw([(epoch, ids)], n, seed, magnetization)[0]
        return self.probe_reader.draw([(epoch, id) for id in names_of(ids, "ids")], n, seed, magnetization)
