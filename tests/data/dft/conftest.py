"""Stand-ins for pw.x and its pseudopotentials."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecd_data.dft.espresso_output import CHARGE_DENSITY, XML
from tests.data.dft.espresso_files import (
    BANDS,
    SCHEMA,
    random_density,
    write_charge_density,
)

TELL_VERSION = 'if [ "$2" != pw.in ]; then echo "     Program PWSCF v.6.7MaX starts on 1Jan"; exit 1; fi'


@pytest.fixture
def pseudo(tmp_path: Path) -> Path:
    """A folder of stand-ins for pseudopotentials."""
    folder = tmp_path / "pseudo"
    folder.mkdir()
    for symbol, valence in (("Si", 4), ("Ge", 14), ("Fe", 16)):
        (folder / f"{symbol}.upf").write_text(f'<UPF version="2.0.1"><PP_HEADER z_valence="  {valence}.00"/></UPF>')
    return folder


@pytest.fixture
def engine(tmp_path: Path):
    """Makes a fake pw.x from shell lines; `$GOOD` is a folder with the files of a finished run."""
    good = tmp_path / "good"
    (good / XML).parent.mkdir(parents=True)
    (good / XML).write_text(SCHEMA.format(bands=BANDS))
    write_charge_density(good / CHARGE_DENSITY, [random_density(8)])

    def make(lines: str) -> str:
        path = tmp_path / "pw.x"
        path.write_text(f"#!/bin/sh\nGOOD={good}\n{TELL_VERSION}\necho run >> {tmp_path}/count\n{lines}\n")
        path.chmod(0o755)
        return str(path)

    return make
