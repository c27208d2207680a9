"""VASP inputs with the settings that the release's own OUTCARs show."""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections import Counter

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.vasp import Incar, Kpoints, Poscar

from ecd_data import Crystal
from ecd_data.crystal import ATOMIC_NUMBERS
from ecd_data.dft.open_shells import HUBBARD_U, load_hubbard_u
from ecd_data.dft.vasp_inputs import incar, mesh, nearest_mesh, potcar_labels, write_vasp_inputs
from ecd_data.errors import UsageError
from ecd_models.cli import _run

ZNO = Crystal.from_pymatgen(
    Structure.from_spacegroup(
        "F-43m", Lattice.cubic(4.48), ["O", "Zn"], [[0.75] * 3, [0, 0, 0]]
    ).get_primitive_structure()
)


# What the 38 OUTCARs of the release have on U (eV) and PAW datasets; ../shared/chemistry.md, its last section, says so.
SHOWN_U = {"Ti": 4.4, "Fe": 4.6, "Co": 5.0, "Zn": 7.5, "Pr": 5.5, "Cd": 2.1, "Mo": 2.4, "W": 2.2, "La": 7.5}
SHOWN_DATASETS = {"Ti": "Ti_sv", "Fe": "Fe", "W": "W", "Mo": "Mo_sv", "Am": "Am", "Pr": "Pr_3", "O": "O", "Zn": "Zn"}
# The electrons of the datasets in VASP's lists; with the right datasets they add up to NELECT of every OUTCAR.
ELECTRONS = {
    "H": 1, "Li_sv": 3, "C": 4, "N": 5, "O": 6, "F": 7, "Si": 4, "S": 6, "Cl": 7, "K_sv": 9, "Ti_sv": 12, "Fe": 8,
    "Co": 9, "Zn": 12, "As": 5, "Se": 6, "Sr_sv": 10, "Mo_sv": 14, "Cd": 12, "Te": 6, "I": 7, "Cs_sv": 9, "La": 11,
    "Pr_3": 11, "W": 6, "Pb_d": 14, "Th": 12, "Am": 17,
}  # fmt: skip
# ISPIN of these is not what the rule of open shells gives: metallic ThN has 1, KZnAs with its closed shells 2.
UNEXPLAINED = {"icsd-61764-N1Th1": 2, "icsd-43985-K1Zn1As1": 1}


def crystal_of(**counts: int) -> Crystal:
    """A crystal of these elements; where its atoms are means nothing."""
    numbers = [ATOMIC_NUMBERS[symbol] for symbol, count in counts.items() for _ in range(count)]
    return Crystal(np.eye(3) * 9, numbers, np.arange(3 * len(numbers)).reshape(-1, 3) * 0.37 % 1)


def shown_crystals(shared) -> dict[str, tuple[Crystal, dict[str, str]]]:
    """The 19 crystals whose OUTCARs the release has, with what `scf_steps_19.csv` says of the two runs of each."""
    rows = csv.DictReader((shared / "ecd/scf_steps_19.csv").open())
    found = {}
    for row in rows:
        formula = re.findall(r"([A-Z][a-z]?)(\d+)", row["material_id"].rpartition("-")[2])
        found[row["material_id"]] = crystal_of(**{symbol: int(count) for symbol, count in formula}), row
    assert len(found) == 19
    return found


def read_release(shared, name: str) -> str:
    return gzip.decompress((shared / f"ecd/outcars/icsd-{name}/OUTCAR.gz").read_bytes()).decode(errors="replace")


def said(outcar: str, tag: str) -> str:
    return re.search(rf"(?:^|;)\s*{tag}\s*=\s*([^\s;]+)", outcar, re.MULTILINE)[1]


@pytest.mark.parametrize(("name", "step"), [("163383-O1Zn1_PBE", "static"), ("163383-O1Zn1_HSE", "hse")])
def test_tags_are_those_of_the_release(shared, name, step):
    outcar = read_release(shared, name)
    tags = incar(ZNO, step)
    for tag in ("ENCUT", "ISTART", "ICHARG", "ISPIN", "NELM", "NELMIN", "EDIFF", "NSW", "IBRION", "ISMEAR", "SIGMA"):
        assert float(said(outcar, tag)) == pytest.approx(float(tags[tag])), tag
    assert said(outcar, "LWAVE") == str(tags["LWAVE"])[0] == "F"
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
        assert "LMAXMIX" not in tags
        assert said(outcar, "LMAXMIX") == "2"  # VASP's default


def test_datasets_give_the_electrons_of_the_release(shared):
    for name, (crystal, row) in shown_crystals(shared).items():
        labels = dict(zip(dict.fromkeys(crystal.symbols), potcar_labels(crystal), strict=True))
        electrons = sum(ELECTRONS[labels[symbol]] for symbol in crystal.symbols)
        assert electrons == float(row["nelect_pbe"]) == float(row["nelect_hse"]), name


def test_datasets_and_u_are_those_of_the_release(shared):
    for symbol, label in SHOWN_DATASETS.items():
        assert potcar_labels(crystal_of(**{symbol: 1})) == [label]
    for symbol, u in SHOWN_U.items():
        assert incar(crystal_of(**{symbol: 1}), "static")["LDAUU"] == [u]
    for name, (crystal, _) in shown_crystals(shared).items():
        assert set(crystal.symbols) & set(HUBBARD_U) == set(crystal.symbols) & set(SHOWN_U), name


def test_spin_is_that_of_the_release_but_for_two_crystals(shared):
    for name, (crystal, row) in shown_crystals(shared).items():
        for step, of_release in (("static", row["ispin_pbe"]), ("hse", row["ispin_hse"])):
            assert incar(crystal, step)["ISPIN"] == UNEXPLAINED.get(name, int(of_release)), name
            assert (incar(crystal, step)["ISPIN"] != int(of_release)) == (name in UNEXPLAINED)


def test_spin_is_what_one_asks_for():
    for spin, tag in ((True, 2), (False, 1)):
        assert incar(ZNO, "static", spin=spin)["ISPIN"] == incar(crystal_of(Fe=2), "hse", spin=spin)["ISPIN"] == tag


def test_meshes_are_those_of_the_release(shared):
    for name, step in (("163383-O1Zn1_HSE", 0.03), ("168642-N1Pr1_HSE", 0.04)):
        crystal = Crystal.from_pymatgen(Poscar.from_file(shared / f"ecd/outcars/icsd-{name}/POSCAR").structure)
        told = re.search(r"KPOINTS: +([\d.]+) +(\d+) +(\d+) +(\d+)", read_release(shared, name))
        assert float(told[1]) == step
        assert nearest_mesh(crystal, step) == tuple(map(int, told.groups()[1:]))
    first = re.search(r"2pi/SCALE.*\n.*\n +(\S+)", read_release(shared, "163383-O1Zn1_PBE"))
    assert nearest_mesh(ZNO) == (round(0.223073470 / abs(float(first[1]))),) * 3 == (19, 19, 19)


def test_meshes_round_to_the_nearest():
    for length, spacing, points in ((4.0, 0.1, 3), (3.9, 0.1, 3), (4.1, 0.1, 2), (30.0, 0.1, 1), (10 / 3, 0.02, 15)):
        crystal = Crystal(np.diag([length, length * (1 + 1e-9), 50]), [6], [[0, 0, 0]])
        assert nearest_mesh(crystal, spacing)[:2] == (points, points)  # an axis does not differ from its equal
        assert nearest_mesh(crystal, spacing) <= mesh(crystal, spacing)


def test_what_is_written_is_read_by_pymatgen(tmp_path):
    folders = write_vasp_inputs({"ZnO": ZNO}, tmp_path / "vasp")
    assert [folder.name for folder in folders] == ["relax", "static", "hse"]
    for folder in folders:
        assert Incar.from_file(folder / "INCAR")["ENCUT"] == 520
        structure = Poscar.from_file(folder / "POSCAR").structure
        assert structure.matches(ZNO.to_pymatgen())
        species = Poscar.from_file(folder / "POSCAR").site_symbols
        assert (folder / "POTCAR.spec").read_text().split() == potcar_labels(ZNO)
        assert [label.split("_")[0] for label in potcar_labels(ZNO)] == species
    for folder in folders[:2]:
        kpoints = Kpoints.from_file(folder / "KPOINTS")
        assert kpoints.style.name == "Gamma"
        assert tuple(kpoints.kpts[0]) == nearest_mesh(ZNO)
    kpoints = Kpoints.from_file(folders[2] / "KPOINTS")
    assert kpoints.style.name == "Reciprocal"
    assert kpoints.num_kpts == len(kpoints.kpts)
    assert Counter(weight > 0 for weight in kpoints.kpts_weights)[True] == 84  # as the OUTCAR of its HSE06 run has
    assert sum(kpoints.kpts_weights) == 13**3
    assert not any(kpoints.kpts_weights[84:])


def test_what_the_release_does_not_show_is_said(tmp_path):
    manganese, niobium = crystal_of(Mn=1, O=1), crystal_of(Nb=1, Mg=1)
    write_vasp_inputs({"ZnO": ZNO, "MnO": manganese, "NbMg": niobium}, tmp_path, ("static",))
    assert "Not shown" not in (tmp_path / "ZnO/ORDER.txt").read_text()
    assert "U = 4.0 eV on Mn is AFLOW's value" in (tmp_path / "MnO/ORDER.txt").read_text()
    told = (tmp_path / "NbMg/ORDER.txt").read_text()
    assert "Nb_sv: the dataset of Nb" in told
    assert "Nb is given no U" in told
    assert "Mg is given no U" not in told
    write_vasp_inputs({"MnO": manganese}, tmp_path, ("static",), hubbard_u={"Mn": 3.9})
    assert "AFLOW" not in (tmp_path / "MnO/ORDER.txt").read_text()


def test_species_are_together_in_the_order_of_the_potcar(tmp_path):
    mixed = Crystal(ZNO.lattice * 2, [8, 30, 8], [[0, 0, 0], [0.3, 0.3, 0.3], [0.6, 0.6, 0.6]])
    (folder,) = write_vasp_inputs({"mixed": mixed}, tmp_path, ("static",))
    assert Poscar.from_file(folder / "POSCAR").site_symbols == ["O", "Zn"]
    assert Incar.from_file(folder / "INCAR")["LDAUU"] == [0.0, 7.5]


def test_meshes_and_u():
    assert nearest_mesh(ZNO, 0.04) < nearest_mesh(ZNO, 0.02)
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


def test_u_acts_on_the_outermost_localised_shell():
    for symbol, shell in (("Fe", 2), ("La", 3), ("Lu", 3), ("Dy", 3), ("U", 3), ("In", 2), ("O", 1), ("Hf", 2)):
        tags = incar(crystal_of(**{symbol: 1, "Na": 1}), "static", {symbol: 3.0})
        assert tags["LDAUL"] == [shell, -1]
        assert tags["LMAXMIX"] == (6 if shell == 3 else 4)
    with pytest.raises(UsageError, match="Na has no p, d or f electrons"):
        incar(crystal_of(Na=1), "static", {"Na": 1.0})


@pytest.mark.parametrize("text", ["Xx=3", "fe=4.6", "Fe=nan", "Fe=inf", "Fe=", "Fe=4.6,Fe", "Fe=4.6,Fe=5", "none.json"])
def test_what_is_no_table_of_u_is_refused(text):
    with pytest.raises(UsageError):
        load_hubbard_u(text)


def test_hse_starts_from_orbitals_on_its_own_points(tmp_path):
    (folder,) = write_vasp_inputs({"ZnO": ZNO}, tmp_path, ("hse",))
    before, after = Incar.from_file(folder / "INCAR.orbitals"), Incar.from_file(folder / "INCAR")
    assert before["LDAUU"] == incar(ZNO, "static")["LDAUU"]
    assert (before["ICHARG"], before["LWAVE"], before["LCHARG"]) == (11, True, False)
    assert "LHFCALC" not in before
    assert (after["ISTART"], after["ICHARG"]) == (1, 1)
    assert before["ISPIN"] == after["ISPIN"]
    assert "INCAR.orbitals" in (tmp_path / "ZnO/ORDER.txt").read_text()


def test_the_verb(tmp_path, capsys):
    ZNO.to_pymatgen().to(str(tmp_path / "ZnO.cif"))
    assert _run(["dft", "vasp-inputs", str(tmp_path / "ZnO.cif"), str(tmp_path / "runs"), "--step", "hse"]) == 0
    assert "1 runs" in capsys.readouterr().out
    assert (tmp_path / "runs/ZnO/hse/INCAR").exists()
    coarse = ["--step", "hse", "--hse-spacing", "0.1", "--spin"]
    assert _run(["dft", "vasp-inputs", str(tmp_path / "ZnO.cif"), str(tmp_path / "coarse"), *coarse]) == 0
    assert "4x4x4 mesh" in (tmp_path / "coarse/ZnO/hse/KPOINTS").read_text()
    assert Incar.from_file(tmp_path / "coarse/ZnO/hse/INCAR")["ISPIN"] == 2
    coarse[3] = "0"
    assert _run(["dft", "vasp-inputs", str(tmp_path / "ZnO.cif"), str(tmp_path / "coarse"), *coarse]) == 2
    assert "a k spacing lies between 0 and 1" in capsys.readouterr().err
    assert _run(["dft", "vasp-inputs", str(tmp_path / "ZnO.cif"), str(tmp_path / "runs"), "--step", "bands"]) == 2
    assert "no step 'bands'" in capsys.readouterr().err


def test_two_structures_of_one_id_are_refused(tmp_path, capsys):
    (tmp_path / "a.json").write_text(json.dumps({"ZnO": ZNO.to_record()}))
    ZNO.to_pymatgen().to(str(tmp_path / "ZnO.cif"))
    assert _run(["dft", "vasp-inputs", *(str(tmp_path / name) for name in ("a.json", "ZnO.cif", "runs"))]) == 2
    assert "two structures are called ZnO" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
