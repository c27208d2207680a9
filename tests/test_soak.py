"""The soak in its short form: `python -m tests.soak` is the long one."""

from __future__ import annotations

import pytest

from tests.soak import soak


@pytest.mark.slow
def test_nothing_is_lost():
    rows = list(soak(seed=1, rounds=1, flips=60))
    assert {row.name: row.losses for row in rows if row.losses} == {}
    assert all(row.tried for row in rows)
