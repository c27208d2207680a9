"""Structure files that are easily read as another crystal."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from ecd_data import Crystal
from ecd_data.errors import FormatError
from ecd_data.formats.structure import read_structure

CARTESIAN = """cell
{scale}
4.0 0.0 0.0
0.0 5.0 0.0
0.0 0.0 6.0
Ti O
1 2
Cartesian
0.0 0.0 0.0
{x} {x} 0.0
0.0 {x} {x}
"""


def test_a_volume_in_place_of_a_scale_moves_no_atom(tmp_path: Path) -> None:
    """A negative second line is the volume: 960 Å^3 are those of a cell that is twice as long."""
    pytest.importorskip("ase")
    (tmp_path / "POSCAR").write_text(CARTESIAN.format(scale=2.0, x=1.0))
    (tmp_path / "volume_POSCAR").write_text(CARTESIAN.format(scale=-960.0, x=1.0))
    scaled, by_volume = read_structure(tmp_path / "POSCAR"), read_structure(tmp_path / "volume_POSCAR")
    assert by_volume.symbols == scaled.symbols == ["Ti", "O", "O"]
    np.testing.assert_allclose(by_volume.lattice, scaled.lattice)
    np.testing.assert_allclose(by_volume.frac_coords, scaled.frac_coords, atol=1e-9)


def test_a_poscar_without_symbols_is_refused(tmp_path: Path) -> None:
    lines = CARTESIAN.format(scale=1.0, x=1.0).splitlines(keepends=True)
    (tmp_path / "POSCAR").write_text("".join(lines[:5] + lines[6:]))
    with pytest.raises(FormatError, match="POSCAR does not name its elements: write the symbols in a line"):
        read_structure(tmp_path / "POSCAR")


@pytest.mark.parametrize("symbol", ["Zz", "Qq"])
@pytest.mark.parametrize("name", ["a.vasp", "a.extxyz"])
def test_an_unknown_element_symbol_is_named(tmp_path, symbol, name):
    texts = {
        "a.vasp": f"x\n1.0\n4 0 0\n0 4 0\n0 0 4\n{symbol}\n1\nDirect\n0 0 0\n",
        "a.extxyz": f'1\nLattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3 pbc="T T T"\n{symbol} 0 0 0\n',
    }
    (tmp_path / name).write_text(texts[name])
    with pytest.raises(FormatError, match=rf"{symbol}.* is no element symbol"):
        read_structure(tmp_path / name)


def test_a_structure_whose_atoms_have_no_element_is_refused(tmp_path):
    (tmp_path / "CHGCAR").write_text("x\n1.0\n4 0 0\n0 4 0\n0 0 4\n1\nDirect\n0 0 0\n\n2 1 1\n1.0 1.0\n")
    with pytest.raises(FormatError, match="names no element for 1 of its 1 atoms: write the symbols"):
        read_structure(tmp_path / "CHGCAR")


def test_a_cif_of_several_structures_is_refused(tmp_path):
    crystals = [Crystal(np.eye(3) * side, [z], [[0, 0, 0]]) for side, z in ((2.9, 26), (3.6, 29))]
    blocks = [crystal.to_pymatgen().to(fmt="cif") for crystal in crystals]
    (tmp_path / "one.cif").write_text("data_global\n_audit_creation_method x\n" + blocks[1])
    assert read_structure(tmp_path / "one.cif").symbols == ["Cu"]
    for name, data in (("two.cif", "".join(blocks).encode()), ("two.cif.gz", gzip.compress("".join(blocks).encode()))):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(FormatError, match=r"two.cif.* has 2 structures: write the one that you want"):
            read_structure(tmp_path / name)
