"""Where the crystals of a store lie, also while another process adds to it, merges its parts or encodes it again.

Parts never change and their names are not used again, but a writer removes the small ones that it merged. Who holds a
place from before finds nothing there, or other bytes than the hash says: then the index is read again, and it says
where the crystal lies by now. Only where it still says the same is the part really lost.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple, TypeVar

from ecd_data.errors import MovedError, StoreError, UnknownIdError
from ecd_data.io.locations import State, file_state
from ecd_data.store.index import INDEX, PLACE, Index
from ecd_data.store.parts import Extent

AGAIN = 20  # times that a crystal may move on while it is read
REPLACED = "was replaced by other content meanwhile: run the same command again"

Result = TypeVar("Result")


class Place(NamedTuple):
    """The part of a crystal and where in it."""

    part: str
    extent: Extent


class Whereabouts:
    """The places of a store's crystals, by what its index said when it was last read: by `index`, or not read yet."""

    def __init__(self, root: str, index: Index | None = None) -> None:
        self.root = root
        self._state: State | None = None
        self._table = None if index is None else _Table(index)

    def __contains__(self, id: object) -> bool:
        return self._table is not None and id in self._table.rows

    def place(self, id: str) -> Place | None:
        """Where a crystal lay when the index was last read; None for an id that it did not have."""
        table = self._table
        return None if table is None or id not in table.rows else table.place(id)

    def look_again(self) -> None:
        """Read the index again, unless it is a file that has not changed since; raises StoreError where it is gone."""
        url = f"{self.root}/{INDEX}"
        state = file_state(url)
        if state is not None and state == self._state:
            return
        try:
            self._table = _Table(Index(url))
        except FileNotFoundError as error:
            raise StoreError(f"{self.root} has no {INDEX} any more; restore it") from error
        self._state = state

    def read(self, id: str, place: Place, act: Callable[[str, Extent], Result], *, same: bool = False) -> Result:
        """What `act` gives for the part's URL and the extent of a crystal that lay at `place`, wherever it is by now.

        same: with these bytes and no others. Raises what `act` raises where the index says the same place still,
        UnknownIdError where it no longer has the crystal, StoreError where other bytes are there and `same` is asked.
        """
        known = self.place(id)
        if known is not None and known.extent.sha256 == place.extent.sha256:
            place = known
        for attempt in range(AGAIN):
            try:
                return act(f"{self.root}/parts/{place.part}", place.extent)
            except MovedError as error:
                newer = self._newer(id, place, error)
                if newer == place or attempt == AGAIN - 1:
                    raise
                if same and newer.extent.sha256 != place.extent.sha256:
                    raise StoreError(f"{id}: it {REPLACED}") from error
                place = newer
        raise AssertionError("not reached")

    def _newer(self, id: str, place: Place, error: MovedError) -> Place:
        try:
            self.look_again()
        except StoreError:  # the first error says more
            raise error from None
        newer = self.place(id)
        if newer is None:
            raise UnknownIdError(f"{id} is no longer in {self.root}: its index was replaced meanwhile") from error
        return newer


class _Table:
    """The places of an index."""

    def __init__(self, index: Index) -> None:
        self._columns = index.table(*PLACE)
        self.rows = {id: row for row, id in enumerate(self._columns["id"].to_pylist())}

    def place(self, id: str) -> Place:
        row = self.rows[id]
        _, part, *extent = (column[row].as_py() for column in self._columns.columns)
        return Place(part, Extent(*extent))


@lru_cache(maxsize=8)
def whereabouts_of(root: str) -> Whereabouts:
    """The places of the store at `root` in this process, for those who know places and hold no Store."""
    return Whereabouts(root)
