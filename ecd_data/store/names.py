"""Near names: what somebody may have meant who asked for an id that does not exist."""

from __future__ import annotations

import difflib
from bisect import bisect_left
from collections.abc import Sequence

FEW = 2000  # ids that can be compared in a moment
NEIGHBOURS = 300


def near(word: str, ids: Sequence[str]) -> list[str]:
    """Up to three ids that resemble `word`; of many, among its neighbours in order and those of the same ending."""
    if len(ids) > FEW:
        ordered = sorted(ids)
        place = bisect_left(ordered, word)
        tail = word[-max(3, len(word) // 3) :]
        alike = [id for id in ordered if id.endswith(tail)][:NEIGHBOURS]
        ids = list(dict.fromkeys([*ordered[max(0, place - NEIGHBOURS) : place + NEIGHBOURS], *alike]))
    return difflib.get_close_matches(word, ids, n=3, cutoff=0.5)
