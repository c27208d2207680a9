"""Structure files that are easily read as another crystal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

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
