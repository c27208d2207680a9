"""An input of pw.x: its atoms as pw.x reads them, and runs that a density does not start are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ecd_data.errors import EcdError, FormatError, UsageError
from ecd_data.formats.units import BOHR
from ecd_models.scf.espresso_input import PwInput, is_pw_input

TEXT = """&control
  prefix = 'lih' ! name
/
&system
  ibrav = 0, nat = 2, ntyp = 2, ecutwfc = 30
/
&electrons
/
ATOMIC_SPECIES
Li1 6.9 Li.upf
H 1.0 H.upf
CELL_PARAMETERS angstrom
0.0 2.04 2.04
2.04 0.0 2.04
2.04 2.04 0.0
ATOMIC_POSITIONS crystal
Li1 0 0 0 ! lithium
H 1/2 0.5d0 2*0.25 0 0 1
K_POINTS automatic
2 2 2 0 0 0
"""
CELL = TEXT[TEXT.index("CELL_PARAMETERS") : TEXT.index("ATOMIC_POSITIONS")]
ATOMS = TEXT[TEXT.index("ATOMIC_POSITIONS") : TEXT.index("K_POINTS")]


def read(folder: Path, *changes: tuple[str, str]) -> PwInput:
    """The input above with parts of its text replaced."""
    text = TEXT
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "pw.in").write_text(text, encoding="utf-8")
    return PwInput.read(folder / "pw.in")


def test_what_decides_the_density_is_read(tmp_path):
    run = read(tmp_path)
    assert run.crystal.symbols == ["Li", "H"]
    np.testing.assert_allclose(run.crystal.lattice, (1 - np.eye(3)) * 2.04)
    np.testing.assert_allclose(run.crystal.frac_coords, [[0.0] * 3, [0.5] * 3])
    assert run.geometry.labels == ("Li1", "H")
    assert run.geometry.species == {"Li1": "Li.upf", "H": "H.upf"}
    assert run.ecutrho == 120
    assert (run.prefix, run.spin, run.gamma_only, run.grid, run.total_charge) == ("lih", False, False, (0, 0, 0), 0.0)
    spin = "ecutwfc = 30, nspin = 2, starting_magnetization(2) = 0.4, ecutrho = 200 nr1=24 nr2=24 nr3=24 tot_charge=-1"
    run = read(tmp_path, ("ecutwfc = 30", spin), ("prefix = 'lih' ! name", ""), ("automatic\n2 2 2 0 0 0", "{gamma}"))
    assert run.starting_magnetizations == {"Li1": 0.0, "H": 0.4}
    assert (run.prefix, run.spin, run.gamma_only, run.grid) == ("pwscf", True, True, (24, 24, 24))
    assert (run.ecutrho, run.total_charge) == (200, -1.0)


def test_a_mesh_of_one_point_keeps_all_waves(tmp_path):
    assert not read(tmp_path, ("2 2 2", "1 1 1")).gamma_only


@pytest.mark.parametrize(
    ("cell", "system", "atoms", "alat"),
    [
        ("bohr\n0 4 4\n4 0 4\n4 4 0\n", "", "bohr\nLi1 0 0 0\nH 4 4 4\n", 4 * 2**0.5 * BOHR),
        ("{alat}\n0 .5 .5\n.5 0 .5\n.5 .5 0\n", ", celldm(1) = 8", "\nLi1 0 0 0\nH .5 .5 .5\n", 8 * BOHR),
        ("\n0 .5 .5\n.5 0 .5\n.5 .5 0\n", ", A = 4.2", "(alat)\nLi1 0 0 0\nH .5 .5 .5\n", 4.2),
        ("angstrom\n0 3 3\n3 0 3\n3 3 0\n", "", "{angstrom}\nLi1 0 0 0\nH 3 3 3\n", 3 * 2**0.5),
        ("\n0 4 4\n4 0 4\n4 4 0\n", "", "alat\nLi1 0 0 0\nH 1/2^0.5 1/2^0.5 1/2^0.5\n", 4 * 2**0.5 * BOHR),
    ],
)
def test_lengths_have_the_unit_that_pwx_takes(cell, system, atoms, alat, tmp_path):
    changes = ((CELL, f"CELL_PARAMETERS {cell}"), (ATOMS, f"ATOMIC_POSITIONS {atoms}"), ("= 30", f"= 30{system}"))
    run = read(tmp_path, *changes)
    assert run.geometry.alat == pytest.approx(alat, rel=1e-12)
    np.testing.assert_allclose(run.crystal.frac_coords, [[0.0] * 3, [0.5] * 3], atol=1e-12)
    assert np.linalg.norm(run.crystal.lattice[0]) in (pytest.approx(alat), pytest.approx(alat / 2**0.5))


REFUSED = {
    "card CELL_PARAMETERS too": ("ibrav = 0", "ibrav = 2, celldm(1) = 7.7"),
    "has no ibrav": ("ibrav = 0, ", ""),
    "no card ATOMIC_POSITIONS": (ATOMS, ""),
    "card atomic_positions, .*capitals": ("ATOMIC_POSITIONS", "atomic_positions"),
    "capitals with a blank": ("K_POINTS automatic", "K_POINTS{automatic}"),
    "space group": ("POSITIONS crystal", "POSITIONS crystal_sg"),
    "2 lines in ATOMIC_POSITIONS where nat is 3": ("nat = 2", "nat = 3"),
    "lines in ATOMIC_SPECIES where ntyp is 1": ("ntyp = 2", "ntyp = 1"),
    "H2 is not in ATOMIC_SPECIES": ("H 1/2", "H2 1/2"),
    "is no number": ("1/2", "1/x"),
    "division by zero": ("1/2", "1/0"),
    "no volume": ("2.04 2.04 0.0", "2.04 0.0 2.04"),
    "without three numbers": ("0.0 2.04 2.04", "0.0 2.04"),
    "in alat: give": ("CELL_PARAMETERS angstrom", "CELL_PARAMETERS alat"),
    "and celldm or A too": ("ecutwfc", "A = 4.0, ecutwfc"),
    "needs ecutwfc": ("ecutwfc = 30", ""),
    "the card K_POINTS": ("K_POINTS automatic\n2 2 2 0 0 0\n", ""),
    "no namelist &electrons": ("&electrons\n/\n", ""),
    "names no element": ("Li1", "Q1"),
    "keeps the density that it reads": ("prefix", "calculation = 'nscf', prefix"),
    "none of pw.x's self-consistent runs": ("prefix", "calculation = 'vc_relax', prefix"),
    "byte-order mark": ("&control", "\ufeff&control"),
    "which continues a run": ("prefix", "restart_mode = 'restart', prefix"),
    "non-collinear": ("ecutwfc", "noncolin = .true., ecutwfc"),
    "another nspin": ("ecutwfc", "nspin = 4, ecutwfc"),
    "kinetic energy": ("ecutwfc", "input_dft = 'SCAN', ecutwfc"),
    "no name of a file": ("'lih'", "'../lih'"),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_cannot_be_started_is_refused_in_one_sentence(words, tmp_path):
    with pytest.raises(EcdError, match=words) as error:
        read(tmp_path, REFUSED[words])
    assert isinstance(error.value, FormatError | UsageError)
    assert "\n" not in str(error.value)


def test_inputs_are_recognised_by_their_content(tmp_path):
    names = {"any.name": TEXT, "POSCAR": "MgO\n1.0\n", "no": "a &control b\n", "commented": "! x\n &SYSTEM\n/"}
    for name, text in names.items():
        (tmp_path / name).write_text(text)
    assert [is_pw_input(tmp_path / name) for name in names] == [True, False, False, True]
    (tmp_path / "binary").write_bytes(b"\0\1\n&control\n")
    assert not is_pw_input(tmp_path / "binary")


def test_the_input_is_kept_but_for_the_start(tmp_path):
    text = read(tmp_path, ("&electrons\n", "&ELECTRONS conv_thr = 1d-9 ! tight\n")).start_from_file(None)
    again = PwInput.read(_write(tmp_path / "new.in", text))
    assert again.namelists.word("electrons", "startingpot") == "file"
    assert again.namelists.word("control", "outdir") == "."
    assert again.namelists.number("electrons", "diago_thr_init") == 1e-4
    assert not again.namelists.has("control", "pseudo_dir")
    kept = [line for line in text.splitlines() if line not in ("&ELECTRONS", " conv_thr = 1d-9 ! tight")]
    added = {"  startingpot = 'file'", "  diago_thr_init = 1.0e-04", "  outdir = '.'"}
    assert [line for line in kept if line not in added] == [line for line in TEXT.splitlines() if line != "&electrons"]
    own = read(tmp_path, ("&electrons\n", "&electrons diago_thr_init = 1d-2, startingpot = 'atomic'\n"))
    text = own.start_from_file(Path("/pseudo"))
    assert "diago_thr_init = 1d-2, startingpot = 'file'" in text
    assert "pseudo_dir = '/pseudo'" in text


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path
