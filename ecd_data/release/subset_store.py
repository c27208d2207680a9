"""Copies of a part of a store: crystals selected by task, id, elements, size, flags or functional."""

from __future__ import annotations

import fnmatch
import logging
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ecd_data.crystal import ATOMIC_NUMBERS
from ecd_data.errors import UnknownIdError, UsageError, suggest_ids
from ecd_data.release.tasks import load_split
from ecd_data.store.copy import CopyReport, copy_crystals
from ecd_data.store.data_root import open_store
from ecd_data.store.reader import Store

log = logging.getLogger("ecd_data")

Span = tuple[float | None, float | None]
Mask = NDArray[np.bool_]
ALL: Span = (None, None)


def subset(store: str | Path | Store, dest: str | Path, *, progress: bool = False, **conditions: Any) -> CopyReport:
    """A report of the copy of all crystals that meet the conditions into the store `dest`, byte for byte.

    A second call continues an interrupted one.

    Parameters
    ----------
    store : a store, or its path or URL. From a URL, neighbours are read with one request.
    dest : the new store.
    progress : show a progress bar.
    conditions : the arguments of `select`.

    Raises
    ------
    UsageError : no crystal meets all conditions.
    """
    source = store if isinstance(store, Store) else open_store(store)
    rows = select(source, **conditions)
    if not len(rows):
        raise UsageError(f"none of the {len(source)} crystals of {source.root} meets all conditions: drop one of them")
    return copy_crystals([(source, pa.array(rows))], dest, what="copying", progress=progress)


def select(
    store: Store,
    *,
    ids: Sequence[str] = (),
    task: str | None = None,
    part: str | None = None,
    elements: Collection[str] = (),
    only_elements: Collection[str] = (),
    natoms: Span = ALL,
    points: Span = ALL,
    flags: Collection[str] = (),
    without_flags: Collection[str] = (),
    functional: str | None = None,
) -> NDArray[np.int64]:
    """The numbers [n] of the index rows that meet all conditions, in the order of the index.

    Parameters
    ----------
    store : the store to select from.
    ids : ids, and patterns with * ? and [].
    task, part : a name and a part of `load_split`.
    elements : elements that a crystal must have, all of them.
    only_elements : elements that a crystal may have, no others.
    natoms, points : smallest and largest number of atoms and of grid points; None for no limit.
    flags, without_flags : flags of `check` that a crystal must have, and those that it must not have.
    functional : the functional in the index, in upper or lower case.

    Raises
    ------
    UnknownIdError : an id or pattern matches nothing.
    UsageError : an element, a part or a range does not exist.
    """
    mask = np.ones(len(store), dtype=bool)
    if ids:
        mask &= _match_ids(store, ids)
    if task is not None:
        mask &= _match_task(store, task, part)
    elif part is not None:
        raise UsageError(f"the part {part!r} belongs to a task: name the task too")
    for symbols in (elements, only_elements):
        if unknown := sorted(set(symbols) - set(ATOMIC_NUMBERS)):
            raise UsageError(f"{unknown[0]!r} is no element symbol: write symbols such as Fe")
    if elements or only_elements:
        by_crystal = [set(symbols) for symbols in store.columns("elements")["elements"].to_pylist()]
        needed, allowed = set(elements), set(only_elements)
        mask &= np.array([needed <= own and (not allowed or own <= allowed) for own in by_crystal], dtype=bool)
    if natoms != ALL:
        mask &= _match_range(store.columns("natoms")["natoms"].to_numpy(), natoms, "natoms")
    if points != ALL:
        shapes = pc.list_flatten(store.columns("shape")["shape"]).to_numpy().reshape(-1, 3).astype(np.int64)
        mask &= _match_range(shapes.prod(axis=1), points, "points")
    if flags or without_flags:
        by_crystal = [set(names or ()) for names in store.columns("flags")["flags"].to_pylist()]
        wanted, unwanted = set(flags), set(without_flags)
        mask &= np.array([wanted <= own and not unwanted & own for own in by_crystal], dtype=bool)
    if functional is not None:
        names = store.columns("functional")["functional"].to_pylist()
        mask &= np.array([(name or "").lower() == functional.lower() for name in names], dtype=bool)
    return np.flatnonzero(mask)


def _match_ids(store: Store, words: Sequence[str]) -> Mask:
    matches: set[str] = set()
    for word in words:
        found = [word] if word in store else fnmatch.filter(store.ids, word) if any(c in word for c in "*?[") else []
        if not found:
            alike = suggest_ids(word, store.ids)
            hint = f"; near: {', '.join(alike)}" if alike else ""
            raise UnknownIdError(f"{word} is not in {store.root}{hint}")
        matches.update(found)
    return np.array([id in matches for id in store.ids], dtype=bool)


def _match_task(store: Store, task: str, part: str | None) -> Mask:
    split = load_split(task)
    if part is not None and part not in split:
        raise UsageError(f"{task} has no part {part!r}; it has {', '.join(split)}")
    wanted = {id for name, ids in split.items() if part in (None, name) for id in ids}
    mask = np.array([id in wanted for id in store.ids], dtype=bool)
    if not mask.any():
        raise UsageError(f"{store.root} has none of the {len(wanted)} crystals of {task} {part or ''}".rstrip())
    if mask.sum() < len(wanted):
        log.warning("%d of the list's %d crystals are not in %s", len(wanted) - mask.sum(), len(wanted), store.root)
    return mask


def _match_range(values: NDArray[np.int64], span: Span, what: str) -> Mask:
    least, most = span
    if least is not None and most is not None and least > most:
        raise UsageError(f"{what} from {least:g} to {most:g} is an empty range: give the smaller number first")
    mask: Mask = (values >= (-np.inf if least is None else least)) & (values <= (np.inf if most is None else most))
    return mask
