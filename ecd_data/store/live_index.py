"""The locations of crystals in a store that another process may be writing.

Parts never change and their names are not used again, but a writer removes small parts after it has merged them. A
reader with an old location then finds no file, or bytes with another hash. It reads the index again, which has the new
location. Only where the location is the same as before is the part really lost.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple, TypeVar

from ecd_data.errors import MovedError, StoreError, UnknownIdError
from ecd_data.io.locations import FileState, file_state
from ecd_data.store.index import INDEX, LOCATION_COLUMNS, Index
from ecd_data.store.parts import Extent

MAX_MOVES = 20  # of a crystal while it is read: ends a loop that would never succeed
REPLACED = "was replaced by another density in the meantime: run the same command again"

Result = TypeVar("Result")


class Location(NamedTuple):
    """The location of a crystal: the name of its part, and the byte range in it."""

    part: str
    extent: Extent


class LiveIndex:
    """The locations of a store's crystals, as of the last time that the index was read.

    root: the path or URL of the store; index: an index that is open already, else none is read until it is needed.
    """

    def __init__(self, root: str, index: Index | None = None) -> None:
        self.root = root
        self._state: FileState | None = None
        self._table = None if index is None else _LocationTable(index)

    def __contains__(self, id: object) -> bool:
        return self._table is not None and id in self._table.rows

    def locate(self, id: str) -> Location | None:
        """The location of a crystal when the index was last read; None for an id that was not in it."""
        table = self._table
        return None if table is None or id not in table.rows else table.locate(id)

    def refresh(self) -> None:
        """Read the index again, unless its file has not changed; raises StoreError where it is missing."""
        url = f"{self.root}/{INDEX}"
        state = file_state(url)
        if state is not None and state == self._state:
            return
        try:
            self._table = _LocationTable(Index(url))
        except FileNotFoundError as error:
            raise StoreError(f"{self.root} has lost its {INDEX}; restore it") from error
        self._state = state

    def read(self, id: str, place: Location, act: Callable[[str, Extent], Result], *, same: bool = False) -> Result:
        """The result of `act` for the URL of the part and the byte range of a crystal, at its present location.

        Parameters
        ----------
        id : the crystal.
        place : its location when the caller read the index.
        act : the function that reads the bytes; it raises MovedError where they are not there.
        same : whether the crystal must still have the same bytes.

        Raises
        ------
        MovedError : the crystal is lost: the index still has the same location for it.
        UnknownIdError : the index does not have the crystal any more.
        StoreError : the crystal has other bytes now, and `same` is True.
        """
        latest = self.locate(id)
        if latest is not None and latest.extent.sha256 == place.extent.sha256:
            place = latest
        for attempt in range(MAX_MOVES):
            try:
                return act(f"{self.root}/parts/{place.part}", place.extent)
            except MovedError as error:
                newer = self._locate_again(id, error)
                if newer == place or attempt == MAX_MOVES - 1:
                    raise
                if same and newer.extent.sha256 != place.extent.sha256:
                    raise StoreError(f"{id}: it {REPLACED}") from error
                place = newer
        raise AssertionError("not reached")

    def _locate_again(self, id: str, error: MovedError) -> Location:
        try:
            self.refresh()
        except StoreError:  # the error of the part says more than that of the index
            raise error from None
        newer = self.locate(id)
        if newer is None:
            raise UnknownIdError(f"{id} is no longer in {self.root}: its index was replaced in the meantime") from error
        return newer


class _LocationTable:
    """The locations in an index."""

    def __init__(self, index: Index) -> None:
        self._columns = index.table(*LOCATION_COLUMNS)
        self.rows = {id: row for row, id in enumerate(self._columns["id"].to_pylist())}

    def locate(self, id: str) -> Location:
        row = self.rows[id]
        _, part, *extent = (column[row].as_py() for column in self._columns.columns)
        return Location(part, Extent(*extent))


@lru_cache(maxsize=8)
def shared_live_index(root: str) -> LiveIndex:
    """The LiveIndex of the store at `root` that all callers in this process share."""
    return LiveIndex(root)
