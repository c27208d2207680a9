"""Suggestions of ids for an id that does not exist."""

from __future__ import annotations

import difflib
from bisect import bisect_left
from collections.abc import Sequence

MAX_COMPARED = 2000  # ids that difflib can compare in a moment: of more, only some are compared
NEIGHBOURS = 300  # ids before and after the word in alphabetical order that are compared


def suggest_ids(word: str, ids: Sequence[str]) -> list[str]:
    """Up to three ids that begin with `word` or resemble it; upper and lower case do not matter.

    Of many ids only those near `word` in alphabetical order and those with the same end are compared.
    """
    folded = word.casefold()
    begins = sorted((id for id in ids if id.casefold().startswith(folded)), key=len)[:3] if word else []
    if len(ids) > MAX_COMPARED:
        ordered = sorted(ids)
        position = bisect_left(ordered, word)
        tail = word[-max(3, len(word) // 3) :]
        alike = [id for id in ordered if id.endswith(tail)][:NEIGHBOURS]
        ids = [*ordered[max(0, position - NEIGHBOURS) : position + NEIGHBOURS], *alike]
    names = {id.casefold(): id for id in ids}
    close = [names[name] for name in difflib.get_close_matches(folded, names, n=3, cutoff=0.5)]
    return list(dict.fromkeys([*begins, *close]))[:3]
