"""Chromium opens the report and the leaderboard without errors, sorts, draws and prints them."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from ecd_data.errors import EcdError, MissingDependencyError
from ecd_models import cli
from ecd_models.evaluation.results import write_results
from ecd_models.report import chromium
from ecd_models.report.inputs import read_inputs
from ecd_models.report.report import make_report
from ecd_models.report.shipped import STORED
from tests.chromium import open_page

needs_chromium = pytest.mark.skipif(chromium.find_chromium() is None, reason="Chromium is not installed")


def test_pdf_without_chromium_says_what_is_missing(results, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(chromium, "PROGRAMS", ("no-such-browser",))
    write_results(results[0], tmp_path / "a.json")
    with pytest.raises(MissingDependencyError, match="need Chromium"):
        chromium.print_page(tmp_path / "a.html", tmp_path / "a.pdf")
    assert cli._run(["report", str(tmp_path / "a.json"), "-o", str(tmp_path / "a.pdf")]) == 1
    assert "apt install chromium" in capsys.readouterr().err


def test_an_earlier_pdf_is_not_taken_for_the_new_one(tmp_path, monkeypatch):
    monkeypatch.setattr(chromium, "PROGRAMS", ("true",))  # a browser that prints nothing
    page, output = tmp_path / "a.html", tmp_path / "a.pdf"
    page.write_text("<p>new</p>")
    output.write_bytes(b"earlier")
    with pytest.raises(EcdError, match="wrote nothing"):
        chromium.print_page(page, output)
    assert output.read_bytes() == b"earlier"


def run_chromium(page: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [str(chromium.find_chromium()), *chromium.list_options(), *options, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@needs_chromium
def test_the_page_opens_in_chromium_without_errors_and_draws(page, tmp_path):
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    done = run_chromium(page, profile, "--enable-logging=stderr", "--v=0", "--dump-dom")
    assert not [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert done.stdout.count("<svg") >= 8
    assert "A title with &lt;script&gt;" in done.stdout


@needs_chromium
def test_tables_sort_in_chromium(page, tmp_path):
    """The page's own script, in a copy that may run a second one, which clicks and writes down what it sees."""
    probe = """<script>
      const table = document.querySelector("table"), button = table.querySelectorAll("th button")[2];
      const see = () => Array.from(table.tBodies[0].rows).map((row) => row.cells[2].dataset.value).join(" ");
      button.click(); const up = see(); button.click(); const down = see();
      const drawn = (svg) => svg.getBoundingClientRect().height > 50;
      const figures = Array.from(document.querySelectorAll("svg")).every(drawn);
      document.body.dataset.seen = JSON.stringify({up, down, figures});
    </script></body>"""
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text()).replace("</body>", probe)
    copy = tmp_path / "copy.html"
    copy.write_text(text)
    done = run_chromium(copy, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom")
    seen = json.loads(re.search(r'data-seen="([^"]*)"', done.stdout)[1].replace("&quot;", '"'))
    up, down = ([float(value) for value in seen[way].split()] for way in ("up", "down"))
    assert up == sorted(up)
    assert down == sorted(up, reverse=True)
    assert len(set(up)) > 1
    assert seen["figures"]


@needs_chromium
def test_the_page_is_printed(page, tmp_path):
    chromium.print_page(page, tmp_path / "r.pdf")
    assert (tmp_path / "r.pdf").read_bytes().startswith(b"%PDF")


@needs_chromium
def test_the_leaderboard_opens_in_chromium_without_errors(tmp_path):
    from ecd_models.leaderboard.board import read_board, render_board

    page = tmp_path / "board.html"
    page.write_text(render_board(read_board()), encoding="utf-8")
    done = run_chromium(page, f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--dump-dom")
    assert not [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert "ChargE3Net (ECD paper)" in done.stdout


PROBE = """
const outside = [];
for (const svg of document.querySelectorAll("figure > svg")) {
  const frame = svg.getBoundingClientRect();
  for (const word of svg.querySelectorAll("text")) {
    const box = word.getBoundingClientRect();
    const far = Math.max(frame.left - box.left, box.right - frame.right, frame.top - box.top);
    if (far > 2) outside.push(word.textContent);
  }
}
for (const part of document.querySelectorAll("details")) part.open = true;
const cut = Array.from(document.querySelectorAll(".scroll")).filter((e) => e.scrollWidth > e.clientWidth + 1);
return [...outside, ...cut.map((e) => e.closest("figure").querySelector("h3").textContent)];
"""


@needs_chromium
@pytest.mark.parametrize("name", ["report", "leaderboard"])
def test_no_text_of_a_figure_and_no_table_is_cut_off(name, tmp_path):
    """Of the shipped models on a screen of usual width."""
    from ecd_models.leaderboard.board import read_board, render_board

    if name == "report":
        html = make_report(read_inputs(sorted(STORED.glob("*_test_[gt]*.json.gz"))), pictures=False)
    else:
        html = render_board(read_board())
    page = tmp_path / "page.html"
    page.write_text(re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html), encoding="utf-8")
    assert open_page(page, PROBE, width=1280).answer == []
