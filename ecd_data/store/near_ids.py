"""Near names: what somebody may have meant who asked for an id that does not exist."""

from __future__ import annotations

import difflib
from bisect import bisect_left
from collections.abc import Sequence

FEW = 2000  # ids that can be compared in a moment
NEIGHBOURS = 300


def near(word: str, ids: Sequence[str]) -> list[str]:
    """Up to three ids that begin with `word` or resemble it, in whatever case.

    Of many ids, those that resemble it are looked for among its neighbours in order and those of the same ending.
    """
    folded = word.casefold()
    begins = sorted((id for id in ids if id.casefold().startswith(folded)), key=len)[:3] if word else []
    if len(ids) > FEW:
        ordered = sorted(ids)
        place = bisect_left(ordered, word)
        tail = word[-max(3, len(word) // 3) :]
        alike = [id for id in ordered if id.endswith(tail)][:NEIGHBOURS]
        ids = [*ordered[max(0, place - NEIGHBOURS) : place + NEIGHBOURS], *alike]
    names = {id.casefold(): id for id in ids}
    close = [names[name] for name in difflib.get_close_matches(folded, names, n=3, cutoff=0.5)]
    return list(dict.fromkeys([*begins, *close]))[:3]
