"""VASP inputs with the settings that the release's own OUTCARs show."""

from __future__ import annotations

import gzip
import re

import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.vasp import Incar, Kpoints, Poscar

from ecd_data import Crystal
from ecd_data.dft.vasp_inputs import incar, load_hubbard_u, mesh, potcar_labels, write_vasp_inputs
from ecd_data.errors import UsageError
from ecd_models.cli import _run

ZNO = Crystal.from_pymatgen(
    Structure.from_spacegroup(
        "F-43m", Lattice.cubic(4.48), ["O", "Zn"], [[0.75] * 3, [0, 0, 0]]
    ).get_primitive_structure()
)


def said(outcar: str, tag: str) -> str:
    return re.search(rf"(?:^|;)\s*{tag}\s*=\s*([^\s;]+)", outcar, re.MULTILINE)[1]


@pytest.mark.parametrize(("name", "step"), [("163383-O1Zn1_PBE", "static"), ("163383-O1Zn1_HSE", "hse")])
def test_tags_are_those_of_the_release(shared, name, step):
    outcar = gzip.decompress((shared / f"ecd/outcars/icsd-{name}/OUTCAR.gz").read_bytes()).decode(errors="replace")
    tags = incar(ZNO, step)
    for tag in ("ENCUT", "ISTART", "ICHARG", "ISPIN", "NELM", "NELMIN", "EDIFF", "NSW", "IBRION", "ISMEAR", "SIGMA"):
        assert float(said(outcar, tag)) == pytest.approx(float(tags[tag])), tag
    for tag in ("AMIX", "BMIX", "LORBIT"):
        assert float(said(outcar, tag)) == pytest.approx(float(tags[tag])), tag
    if step == "static":
        assert said(outcar, "LMAXMIX") == str(tags["LMAXMIX"])
        assert tags["LDAUU"][ZNO.symbols.index("Zn")] == 7.5
    else:
        assert tags["ALGO"] == "Damped"  # which is IALGO 53
        assert said(outcar, "IALGO") == "53"
        for tag in ("AEXX", "HFSCREEN", "TIME"):
            assert float(said(outcar, tag)) == tags[tag]
        assert "LDAU" not in tags


def test_what_is_written_is_read_by_pymatgen(tmp_path):
    folders = write_vasp_inputs({"ZnO": ZNO}, tmp_path / "vasp")
    assert [folder.name for folder in folders] == ["relax", "static", "hse"]
    for folder in folders:
        assert Incar.from_file(folder / "INCAR")["ENCUT"] == 520
        kpoints = Kpoints.from_file(folder / "KPOINTS")
        assert kpoints.style.name == "Gamma"
        assert tuple(kpoints.kpts[0]) == mesh(ZNO)
        structure = Poscar.from_file(folder / "POSCAR").structure
        assert structure.matches(ZNO.to_pymatgen())
        species = Poscar.from_file(folder / "POSCAR").site_symbols
        assert (folder / "POTCAR.spec").read_text().split() == potcar_labels(ZNO)
        assert [label.split("_")[0] for label in potcar_labels(ZNO)] == species


def test_species_are_together_in_the_order_of_the_potcar(tmp_path):
    mixed = Crystal(ZNO.lattice * 2, [8, 30, 8], [[0, 0, 0], [0.3, 0.3, 0.3], [0.6, 0.6, 0.6]])
    (folder,) = write_vasp_inputs({"mixed": mixed}, tmp_path, ("static",))
    assert Poscar.from_file(folder / "POSCAR").site_symbols == ["O", "Zn"]
    assert Incar.from_file(folder / "INCAR")["LDAUU"] == [0.0, 7.5]


def test_meshes_and_u():
    assert mesh(ZNO, 0.04) < mesh(ZNO, 0.02)
    assert "LDAU" not in incar(ZNO, "static", {})
    assert load_hubbard_u("Fe=4.6, Zn=7") == {"Fe": 4.6, "Zn": 7.0}
    assert load_hubbard_u("none") == {}
    with pytest.raises(UsageError, match="write Fe"):
        load_hubbard_u("Fe:4.6")
    praseodymium = Crystal(ZNO.lattice, [7, 59], ZNO.frac_coords)
    assert incar(praseodymium, "static")["LMAXMIX"] == 6
    assert incar(praseodymium, "static")["LDAUL"] == [-1, 3]
    with pytest.raises(UsageError, match="no PAW dataset for Fm"):
        potcar_labels(Crystal(ZNO.lattice, [100], [[0, 0, 0]]))


def test_the_verb(tmp_path, capsys):
    ZNO.to_pymatgen().to(str(tmp_path / "ZnO.cif"))
    assert _run(["dft", "vasp-inputs", str(tmp_path / "ZnO.cif"), str(tmp_path / "runs"), "--step", "hse"]) == 0
    assert "1 runs" in capsys.readouterr().out
    assert (tmp_path / "runs/ZnO/hse/INCAR").exists()
    assert _run(["dft", "vasp-inputs", str(tmp_path / "ZnO.cif"), str(tmp_path / "runs"), "--step", "bands"]) == 2
    assert "no step 'bands'" in capsys.readouterr().err
