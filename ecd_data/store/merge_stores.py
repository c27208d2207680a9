"""Merging several stores into one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from ecd_data.errors import StoreError, UsageError
from ecd_data.store.copy import CopyReport, copy_crystals
from ecd_data.store.data_root import open_store
from ecd_data.store.reader import Store

DUPLICATES = ("error", "first", "last")


def merge(
    stores: Sequence[str | Path | Store], dest: str | Path, *, duplicates: str = "error", progress: bool = False
) -> CopyReport:
    """The report of copying all crystals of `stores`, in their order and byte for byte, into the store `dest`.

    An id that several stores have with the same bytes is copied once. A second call continues an interrupted one.

    Parameters
    ----------
    stores : the stores to merge.
    dest : the folder of the new store.
    duplicates : for an id with different bytes in two stores: "error" refuses, "first" or "last" takes that store's.
    progress : whether a bar is shown.

    Raises
    ------
    StoreError : an id has different bytes in two stores and `duplicates` is "error"; nothing is written.
    UsageError : there are no stores, or the rule for duplicates is unknown.
    """
    if duplicates not in DUPLICATES:
        raise UsageError(f"there is no rule {duplicates!r} for duplicates: give one of {', '.join(DUPLICATES)}")
    opened = [store if isinstance(store, Store) else open_store(store) for store in stores]
    if not opened:
        raise UsageError("there are no stores to merge: give at least one, and then the store to write")
    taken = _choose_stores(opened, duplicates)
    rows = [[row for row, id in enumerate(store.ids) if taken[id] == place] for place, store in enumerate(opened)]
    chosen = [(store, pa.array(numbers, pa.int64())) for store, numbers in zip(opened, rows, strict=True)]
    return copy_crystals(chosen, dest, what="merging", progress=progress)


def _choose_stores(stores: list[Store], duplicates: str) -> dict[str, int]:
    """The number of the store that each id is taken from."""
    taken: dict[str, int] = {}
    digests: dict[str, str] = {}
    different: dict[str, int] = {}
    for place, store in enumerate(stores):
        for id, sha256 in zip(store.ids, store.columns("sha256")["sha256"].to_pylist(), strict=True):
            if id in taken and digests[id] != sha256:
                different[id] = taken[id]
                if duplicates == "last":
                    taken[id], digests[id] = place, sha256
            elif id not in taken:
                taken[id], digests[id] = place, sha256
    if different and duplicates == "error":
        id, place = next(iter(different.items()))
        raise StoreError(
            f"{id}{f' and {len(different) - 1} more ids' if len(different) > 1 else ''} differ between "
            f"{stores[place].root} and another store: choose one of them by duplicates='first' or 'last', on the "
            "command line --duplicates first or last"
        )
    return taken
