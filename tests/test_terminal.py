"""What is printed: file names, ids and comments are text, whatever control characters they have."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

import pytest

from ecd_data import write
from ecd_data.safe_text import PrintableFormatter, printable
from ecd_models import cli
from tests.conftest import smooth_density


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("MgO in Å^3, 10 %", "MgO in Å^3, 10 %"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("a\nb\rc", "a\\nb\\rc"),
        ("\x9b31m\x07\x7f", "\\x9b31m\\x07\\x7f"),
        ("\u202efdp", "\\u202efdp"),
        ("Mg\udcff", "Mg\\xff"),
        ("a\tb", "a\tb"),
    ],
)
def test_control_characters_are_escaped(text, shown):
    assert printable(text) == shown


@pytest.mark.parametrize("name", ["Mg\x1b]0;owned\x07_CHGCAR", "x\nmy.ecd: 100 added_CHGCAR", "\u202eO_CHGCAR"])
def test_hostile_file_names_are_printed_as_text(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    write("CHGCAR_good", smooth_density((4, 4, 4)))
    os.rename("CHGCAR_good", name)
    Path("CHGCAR_cut\x1b[31m").write_text("\x1b[2Jcut")
    for arguments in (
        ("check", "."),
        ("check", name),
        ("info", name),
        ("convert", "-q", ".", "my.ecd"),
        ("info", name + "x"),
    ):
        cli._run(list(arguments))
        out, err = capsys.readouterr()
        assert (out + err).replace("\n", "").isprintable()
        assert "\nmy.ecd: 100 added" not in out + err


def test_log_lines_are_printable():
    record = logging.LogRecord("ecd_data", logging.INFO, "", 0, "%s is left out", ("\x1b[31m\nx",), None)
    assert PrintableFormatter("%(message)s").format(record) == "\\x1b[31m\\nx is left out"


def test_every_verb_prints_through_the_terminal():
    for file in Path(cli.__file__).parent.glob("*.py"):
        text = file.read_text()
        if file.name != "terminal.py" and re.search(r"(?<![\w.])print\(", text):
            assert re.search(r"from ecd_models.cli.terminal import .*\bprint\b", text), file
