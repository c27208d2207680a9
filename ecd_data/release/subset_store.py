"""Part of a store: chosen by task, id, elements, size, flags or functional, and copied byte for byte."""

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
from ecd_data.errors import UnknownIdError, UsageError
from ecd_data.release.tasks import load_split
from ecd_data.store.copy import CopyReport, copy_crystals
from ecd_data.store.data_root import open_store
from ecd_data.store.near_ids import suggest_ids
from ecd_data.store.reader import Store

log = logging.getLogger("ecd_data")

Span = tuple[float | None, float | None]
Mask = NDArray[np.bool_]
ALL: Span = (None, None)


def subset(store: str | Path | Store, dest: str | Path, *, progress: bool = False, **conditions: Any) -> CopyReport:
    """What was done in copying the crystals that meet all `conditions` of `select` into the store `dest`.

    Copied byte for byte; `store` may be a URL, where one request reads what lies side by side. A second call continues.
    Raises UsageError where no crystal meets the conditions.
    """
    opened = store if isinstance(store, Store) else open_store(store)
    chosen = select(opened, **conditions)
    if not len(chosen):
        raise UsageError(f"none of the {len(opened)} crystals of {opened.root} meets all conditions: drop one of them")
    return copy_crystals([(opened, pa.array(chosen))], dest, what="copying", progress=progress)


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
    """The numbers of the index rows that meet all conditions, in order [n].

    ids: ids and patterns with * ? []; task, part: of `load_split`; elements: it has each; only_elements: it has no
    other; natoms, points: least and most, None for no limit; flags: it has each; without_flags: it has none;
    functional: as in the index, without regard to case. Raises UnknownIdError for an id or pattern that matches
    nothing, UsageError for what is no element, part, or range.
    """
    mask = np.ones(len(store), dtype=bool)
    if ids:
        mask &= _named(store, ids)
    if task is not None:
        mask &= _of_task(store, task, part)
    elif part is not None:
        raise UsageError(f"a part such as {part!r} belongs to a task: name the task, too")
    for wanted in (elements, only_elements):
        if unknown := sorted(set(wanted) - set(ATOMIC_NUMBERS)):
            raise UsageError(f"{unknown[0]!r} is no element symbol: write it as in Fe")
    if elements or only_elements:
        held = [set(found) for found in store.columns("elements")["elements"].to_pylist()]
        needed, allowed = set(elements), set(only_elements)
        mask &= np.array([needed <= found and (not allowed or found <= allowed) for found in held], dtype=bool)
    if natoms != ALL:
        mask &= _within(store.columns("natoms")["natoms"].to_numpy(), natoms, "natoms")
    if points != ALL:
        shapes = pc.list_flatten(store.columns("shape")["shape"]).to_numpy().reshape(-1, 3).astype(np.int64)
        mask &= _within(shapes.prod(axis=1), points, "points")
    if flags or without_flags:
        raised = [set(found or ()) for found in store.columns("flags")["flags"].to_pylist()]
        wanted, unwanted = set(flags), set(without_flags)
        mask &= np.array([wanted <= found and not unwanted & found for found in raised], dtype=bool)
    if functional is not None:
        names = store.columns("functional")["functional"].to_pylist()
        mask &= np.array([(name or "").lower() == functional.lower() for name in names], dtype=bool)
    return np.flatnonzero(mask)


def _named(store: Store, words: Sequence[str]) -> Mask:
    chosen: set[str] = set()
    for word in words:
        found = [word] if word in store else fnmatch.filter(store.ids, word) if any(c in word for c in "*?[") else []
        if not found:
            alike = suggest_ids(word, store.ids)
            hint = f"; near: {', '.join(alike)}" if alike else ""
            raise UnknownIdError(f"{word} is not in {store.root}{hint}")
        chosen.update(found)
    return np.array([id in chosen for id in store.ids], dtype=bool)


def _of_task(store: Store, task: str, part: str | None) -> Mask:
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


def _within(values: NDArray[np.int64], span: Span, what: str) -> Mask:
    least, most = span
    if least is not None and most is not None and least > most:
        raise UsageError(f"{what} from {least:g} to {most:g} is an empty range: give the smaller number first")
    mask: Mask = (values >= (-np.inf if least is None else least)) & (values <= (np.inf if most is None else most))
    return mask
