"""Several stores in one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from ecd_data.errors import StoreError, UsageError
from ecd_data.store.copy import Copy, copy
from ecd_data.store.data_root import open_store
from ecd_data.store.reader import Store

DUPLICATES = ("error", "first", "last")


def merge(
    stores: Sequence[str | Path | Store], dest: str | Path, *, duplicates: str = "error", progress: bool = False
) -> Copy:
    """What was done in copying all crystals of `stores`, in their order, into the store `dest`, byte for byte.

    An id that several stores have with the same bytes is taken once. With other bytes: duplicates="error" refuses
    before anything is written, "first" and "last" say which store's is taken. A second call continues. Raises
    StoreError for ids that differ, UsageError for no stores or another rule.
    """
    if duplicates not in DUPLICATES:
        raise UsageError(f"the rule for duplicates is {', '.join(DUPLICATES)}, not {duplicates!r}")
    opened = [store if isinstance(store, Store) else open_store(store) for store in stores]
    if not opened:
        raise UsageError("name the stores to merge and, last, the one to write")
    taken = _taken(opened, duplicates)
    rows = [[row for row, id in enumerate(store.ids) if taken[id] == place] for place, store in enumerate(opened)]
    chosen = [(store, pa.array(numbers, pa.int64())) for store, numbers in zip(opened, rows, strict=True)]
    return copy(chosen, dest, what="merging", progress=progress)


def _taken(stores: list[Store], duplicates: str) -> dict[str, int]:
    """Which store each id is taken from."""
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
            f"{stores[place].root} and another store: say which to take, duplicates='first' or 'last'"
        )
    return taken
