from __future__ import annotations

from pathlib import Path

import pytest

from ecd_data.errors import UsageError
from ecd_models.leaderboard.shipped_table import make_table, read_summaries, write_table
from ecd_models.report.shipped import list_shipped

ROOT = Path(__file__).parents[3]


def test_the_pages_have_the_table_of_the_stored_results():
    summaries = read_summaries()
    assert set(list_shipped()) < set(summaries)
    for page, intervals in (("README.md", False), ("docs/results.md", True)):
        assert "\n".join(make_table(summaries, intervals)) in (ROOT / page).read_text(encoding="utf-8"), page


def test_a_page_without_a_place_is_left_alone(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("nothing")
    with pytest.raises(UsageError, match="no place for the table"):
        write_table(page, intervals=True)
    assert page.read_text() == "nothing"
