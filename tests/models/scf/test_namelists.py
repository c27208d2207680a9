"""Namelists: every way to write them that Fortran takes is read, and a changed value leaves the rest as it was."""

from __future__ import annotations

import pytest

from ecd_data.errors import FormatError
from ecd_models.scf.namelists import Namelists, quote

TEXT = """! &control in a comment
 &CONTROL calculation = 'scf', prefix="a/b" outdir='./it''s' / behind the end
&System ibrav=0 NAT = 2, ecutwfc = 3.0D1 ! ecutwfc = 99
  starting_magnetization( 2 ) = -0.5, lda_plus_u = T
  celldm = 10.2, 2*1.5
&END
&electrons
/
"""


def test_all_spellings_are_read():
    read = Namelists(TEXT, "pw.in")
    assert list(read.groups) == ["control", "system", "electrons"]
    assert read.word("control", "calculation") == "scf"
    assert read.word("control", "prefix") == "a/b"
    assert read.word("control", "outdir") == "./it's"
    assert read.number("system", "ecutwfc") == 30
    assert read.whole_number("system", "nat") == 2
    assert read.flag("system", "lda_plus_u")
    assert not read.flag("system", "noncolin")
    assert read.numbers("system", "starting_magnetization") == {2: -0.5}
    assert read.numbers("system", "celldm") == {1: 10.2, 2: 1.5, 3: 1.5}
    assert read.number("system", "tot_charge") is None
    assert read.text[read.end :] == "\n"


@pytest.mark.parametrize("section", ["( 2 : 3 )", "(2:)", "(2:10)"])
def test_sections_of_arrays_are_read(section):
    read = Namelists(
        f"&system\n starting_magnetization(1) = 0.1\n starting_magnetization{section} = 0.5, -0.5\n/", "pw.in"
    )
    assert read.numbers("system", "starting_magnetization") == {1: 0.1, 2: 0.5, 3: -0.5}
    assert Namelists("&system celldm(:) = 10.2, 0 /", "pw.in").numbers("system", "celldm") == {1: 10.2, 2: 0.0}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("&control\n outdir = './a' ! outdir = 'b'\n/\n", "&control\n outdir = '.' ! outdir = 'b'\n/\n"),
        ('&CONTROL OUTDIR="x/y", nstep=3 /\ncard\n', "&CONTROL OUTDIR='.', nstep=3 /\ncard\n"),
        ("&control nstep=3 outdir='a' title='outdir=''b''' /", "&control nstep=3 outdir='.' title='outdir=''b''' /"),
        ("&control\n outdir='a'\n outdir='b' /", "&control\n outdir='.'\n outdir='.' /"),
        ("&control\n outdir=,\n nstep=3 /", "&control\n outdir= '.',\n nstep=3 /"),
        ("  &control ! note\n nstep=3\n/", "  &control\n  outdir = '.'\n ! note\n nstep=3\n/"),
        ("&control /\n&system outdir='a' /", "&control\n  outdir = '.'\n /\n&system outdir='a' /"),
    ],
)
def test_a_value_is_set_where_it_stands_or_added(before, after, end):
    before, after = before.replace("\n", end), after.replace("\n", end)
    changed = Namelists(before, "pw.in").set_value("control", "outdir", "'.'")
    assert changed.text == after
    assert changed.word("control", "outdir") == "."
    assert changed.set_value("control", "outdir", "'.'").text == after


def test_a_quoted_path_is_read_again():
    path = "/data/o'brien/pseudo"
    changed = Namelists("&control\n/", "pw.in").set_value("control", "pseudo_dir", quote(path))
    assert changed.word("control", "pseudo_dir") == path


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("&control nstep = 3\n", "has no / at its end"),
        ("&control title = 'open\n/\n", "cannot be read at"),
        ("&control 'scf' /", "which has no name"),
        ("&control /\n&CONTROL /", "twice"),
    ],
)
def test_damaged_ones_are_refused_in_one_sentence(text, words):
    with pytest.raises(FormatError, match=words) as error:
        Namelists(text, "pw.in")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("abc", lambda n: n.number("system", "x")),
        ("nan", lambda n: n.number("system", "x")),
        ("1.5", lambda n: n.whole_number("system", "x")),
        ("1, 2", lambda n: n.number("system", "x")),
        ("maybe", lambda n: n.flag("system", "x")),
        ("bare", lambda n: n.word("system", "x")),
    ],
)
def test_values_of_another_kind_are_refused(value, read):
    with pytest.raises(FormatError, match=r"pw\.in has x = "):
        read(Namelists(f"&system x = {value} /", "pw.in"))
