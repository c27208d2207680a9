"""Splits of any store into training, validation and test crystals, and the JSON files that keep them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ecd_data.arguments import real_number, whole_number
from ecd_data.errors import UsageError
from ecd_data.fixed_order import order_key
from ecd_data.io.atomic_write import write_json
from ecd_data.release.formula import reduce_formula

if TYPE_CHECKING:
    from ecd_data.store.reader import Store

PARTS = ("train", "validation", "test")
FRACTIONS = {"train": 0.8, "validation": 0.1, "test": 0.1}
RULES = ("composition", "random")

Split = dict[str, list[str]]


def make_split(
    store: Store, fractions: Mapping[str, float] | None = None, *, rule: str = "composition", seed: int = 0
) -> Split:
    """The sorted ids of each part of a store, the same for the same ids, rule and seed.

    Each part with a fraction above 0 gets at least one crystal (one formula).

    Parameters
    ----------
    store : the store whose crystals are divided.
    fractions : the share of the crystals by part; they add up to 1. By default 0.8 train, 0.1 validation, 0.1 test.
    rule : "composition" keeps all crystals of one reduced formula in one part, so that the test part has compounds that
        training never saw; "random" draws crystals one by one.
    seed : seed of the draw.

    Raises
    ------
    UsageError : the fractions do not add up to 1, there is no such rule, or the store has too few crystals (formulas).
    """
    shares = _check_fractions(FRACTIONS if fractions is None else fractions)
    seed = whole_number(seed, "seed")
    if rule not in RULES:
        raise UsageError(f"there is no split rule {rule!r}: take {' or '.join(RULES)}")
    groups: dict[str, list[str]] = defaultdict(list)
    columns = store.columns("id", "formula").to_pydict()
    for id, formula in zip(columns["id"], columns["formula"], strict=True):
        groups[reduce_formula(formula) if rule == "composition" else id].append(id)
    if len(groups) < len(shares):
        kind = "formula" if rule == "composition" else "crystal"
        plural = "" if len(groups) == 1 else "s"
        raise UsageError(
            f"{store.root} has {len(groups)} {kind}{plural}, too few for {len(shares)} parts: add crystals, or ask for"
            " fewer parts"
        )
    ordered = sorted(groups, key=partial(order_key, seed=seed))
    return _fill_parts([groups[name] for name in ordered], shares)


def _check_fractions(fractions: Mapping[str, float]) -> dict[str, float]:
    unknown = sorted(set(fractions) - set(PARTS))
    if unknown:
        raise UsageError(f"there is no part {unknown[0]!r}: the parts are {', '.join(PARTS)}")
    fractions = {part: real_number(share, f"the fraction of {part}", "0.8") for part, share in fractions.items()}
    if any(not 0 <= share <= 1 for share in fractions.values()) or abs(sum(fractions.values()) - 1) > 1e-6:
        shown = ", ".join(f"{part} {share:g}" for part, share in fractions.items())
        raise UsageError(f"the fractions of a split lie between 0 and 1 and add up to 1, not: {shown}")
    return {part: fractions[part] for part in PARTS if fractions.get(part, 0) > 0}


def _fill_parts(groups: list[list[str]], shares: dict[str, float]) -> Split:
    """The split that gives each group to the part whose size it brings nearest to the wanted share.

    Each part gets at least one group. Groups larger than the smallest part come first, while the others have room.
    """
    total = sum(map(len, groups))
    room = min(shares.values()) * total
    groups = sorted(groups, key=lambda group: -len(group) if len(group) > room else 0)
    split: Split = {part: [] for part in PARTS}
    for taken, group in enumerate(groups):
        empty = [part for part in shares if not split[part]]
        left = len(groups) - taken
        waiting = empty if len(empty) == left else list(shares)
        lacking = {name: shares[name] * total - len(split[name]) for name in waiting}
        gains = {name: abs(lack) - abs(lack - len(group)) for name, lack in lacking.items()}
        split[max(waiting, key=lambda name: (round(gains[name], 9), lacking[name]))] += group
    return {part: sorted(ids) for part, ids in split.items()}


def elements_only_outside_train(store: Store, split: Split) -> dict[str, list[str]]:
    """The elements by part that no training crystal has; a part without such elements has no entry.

    A model knows nothing of these elements, and superposed atoms fitted to the training crystals have no density for
    them.
    """
    columns = store.columns("id", "elements").to_pydict()
    elements = dict(zip(columns["id"], map(set, columns["elements"]), strict=True))
    known = set().union(*(elements[id] for id in split.get("train", ())))
    others = {part: set().union(*(elements[id] for id in ids)) - known for part, ids in split.items()}
    return {part: sorted(unknown) for part, unknown in others.items() if unknown}


def write_split(split: Split, path: str | Path, **about: object) -> None:
    """Write a split as JSON: the ids by part, and under "about" how it was made."""
    write_json(path, {"about": about, **split} if about else split)


def read_split(path: str | Path, store: Store | None = None) -> Split:
    """The ids by part of a JSON file, as `write_split` writes it; it may have further parts.

    Parameters
    ----------
    path : the JSON file.
    store : if given, every id must be one of its crystals.

    Raises
    ------
    UsageError : the file is missing or is no split, an id is in train and in another part too, or an id is not in the
        store.
    """
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist: make it with `ecd split make STORE -o {path}`") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read as a split ({error}): it is JSON with lists of ids by part") from None
    if not isinstance(record, dict):
        raise UsageError(f"{path} is no split: it is a JSON object with lists of ids by part")
    split: Split = {part: ids for part, ids in record.items() if part != "about"}
    for part, ids in split.items():
        if not isinstance(ids, list) or not all(isinstance(id, str) for id in ids):
            raise UsageError(f"{path}: {part!r} is not a list of ids")
        if len(set(ids)) < len(ids):
            twice = next(id for id in ids if ids.count(id) > 1)
            raise UsageError(f"{path}: {twice!r} stands twice in {part!r}: remove one")
    _refuse_leaks(split, path)
    if store is not None:
        _refuse_unknown(split, path, store)
    return {part: split.get(part, []) for part in (*PARTS, *(part for part in split if part not in PARTS))}


def _refuse_leaks(split: Split, path: str | Path) -> None:
    """Raise UsageError if a crystal of train is in another part too."""
    train = set(split.get("train", ()))
    for part, ids in split.items():
        if part != "train" and (both := sorted(train.intersection(ids))):
            raise UsageError(f"{path}: {both[0]!r} stands in 'train' and in {part!r}: remove it from one of them")


def _refuse_unknown(split: Split, path: str | Path, store: Store) -> None:
    known = set(store.ids)
    for part, ids in split.items():
        unknown = [id for id in ids if id not in known]
        if unknown:
            near = get_close_matches(unknown[0], known, n=1)
            hint = f"; did you mean {near[0]!r}" if near else ""
            raise UsageError(
                f"{path}: {len(unknown)} ids of {part!r} are not in {store.root}, such as {unknown[0]!r}{hint}"
            )
