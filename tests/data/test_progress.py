"""Progress of long work: a line an item in a log, a bar that reaches its end on a terminal, nothing where unwanted."""

from __future__ import annotations

import re
import sys

import pytest

from ecd_data import convert, merge, reencode, subset, verify, write
from ecd_data.hub.export import export_hub
from ecd_data.store.probes.extract import extract_probes
from ecd_data.work import progress as module
from ecd_data.work.progress import show_progress, track_progress
from ecd_models.training.progress_display import evaluation_progress, show_point_count
from tests.conftest import smooth_density


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        write(f"CHGCAR_{number}", smooth_density((8, 8, 10), seed=number))
    convert("CHGCAR_*", "my.ecd")
    return tmp_path


WORK = {
    "converting": lambda wanted: convert("CHGCAR_*", "new.ecd", progress=wanted),
    "verifying": lambda wanted: verify("my.ecd", progress=wanted),
    "encoding": lambda wanted: reencode("my.ecd", "loose.ecd", 1e-3, progress=wanted),
    "drawing probes": lambda wanted: extract_probes("my.ecd", per_crystal=8, progress=wanted),
    "merging": lambda wanted: merge(["my.ecd"], "all.ecd", progress=wanted),
    "copying": lambda wanted: subset("my.ecd", "some.ecd", progress=wanted),
}


@pytest.mark.parametrize("what", WORK)
def test_a_log_gets_a_line_for_each_crystal(files, capsys, what):
    capsys.readouterr()
    WORK[what](True)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert lines[0].endswith(": 0 of 3")
    assert [re.search(r": (\d) of 3, .*(\d)$", line).groups() for line in lines[1:]] == [
        ("1", "0"),
        ("2", "1"),
        ("3", "2"),
    ]


@pytest.mark.parametrize("what", WORK)
def test_a_terminal_gets_a_bar_that_reaches_its_end(files, capsys, monkeypatch, what):
    capsys.readouterr()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    WORK[what](True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "3/3" in err


@pytest.mark.parametrize("what", WORK)
def test_a_quiet_call_shows_nothing(files, capsys, what):
    capsys.readouterr()
    WORK[what](False)
    assert capsys.readouterr() == ("", "")


def test_files_of_an_export_are_named(files, capsys):
    capsys.readouterr()
    export_hub("hub", store="my.ecd", progress=True)
    assert re.search(r"writing Parquet files: 1 of 1, hub/.*parquet", capsys.readouterr().err)


def test_of_very_many_items_a_log_stays_short_and_tells_the_end(capsys):
    for _ in track_progress(range(50_000), 50_000, "counting", True, str):
        pass
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) < 100
    assert lines[-1] == "counting: 50,000 of 50,000, 49999"


def test_silence_is_broken_although_no_item_ends(capsys, monkeypatch):
    monkeypatch.setattr(module, "SILENCE_SECONDS", 0.0)
    with show_progress("fetching", 2) as shown:
        shown.show(0, "3.0 MB")
    assert capsys.readouterr().err.splitlines() == ["fetching: 0 of 2", "fetching: 0 of 2, 3.0 MB"]


def test_an_evaluation_and_a_prediction_have_their_lines(capsys):
    with evaluation_progress() as report:
        report(1, 2, "Si", 0.01)
        report(2, 2, "Al", 0.02)
    with show_point_count("Si.cif", 4096) as advance:
        assert advance is None
    assert capsys.readouterr().err.splitlines() == [
        "evaluating: 1 of 2, Si: 1.000 %",
        "evaluating: 2 of 2, Al: 2.000 %",
        "Si.cif: 4,096 grid points predicted",
    ]


def test_names_with_brackets_do_not_disturb_the_bar(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with show_progress("[red]run[/blue]", 1) as shown:
        shown.advance("[/b]Si[1]")
        shown.say("left out: [x]: [/nothing]")
    assert "left out: [x]: [/nothing]" in capsys.readouterr().err
