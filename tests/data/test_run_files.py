"""OUTCAR, vasprun.xml and POTCAR into metadata: the published runs, files made here, cut ones and huge ones."""

from __future__ import annotations

import csv
import gzip
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from ecd_data import Crystal, Density, write
from ecd_data.errors import FormatError
from ecd_data.formats import read_run
from ecd_data.formats.bands import METAL, BandEdges, band_gaps
from ecd_data.formats.run_files import find_run_file
from ecd_data.formats.vasp.outcar import read_outcar
from ecd_data.formats.vasp.potcar import read_potcar
from ecd_data.formats.vasp.settings import name_functional
from ecd_data.formats.vasp.vasprun import read_vasprun

ZNO = Crystal((1 - np.eye(3)) * 2.2414140010214743, np.array([8, 30]), np.array([[0.75] * 3, [0.0] * 3]))
POTCAR = """  PAW_PBE {} 01Jan2000
   {}
   parameters from PSCTR are:
   VRHFIN ={}: made for a test
   LEXCH  = PE
   TITEL  = PAW_PBE {} 01Jan2000
   POMASS =   10.000; ZVAL   =   {:.3f}    mass and valenz
   ENMAX  =  400.000; ENMIN  =  300.000 eV
End of Dataset
"""


def potcar(*species: tuple[str, float]) -> str:
    return "".join(POTCAR.format(label, zval, label, label, zval) for label, zval in species)


def density(electrons: float = 18.0, shape: tuple[int, int, int] = (12, 12, 12), crystal: Crystal = ZNO) -> Density:
    return Density(crystal, np.full(shape, electrons / crystal.volume))


VASPRUN = """<?xml version="1.0" encoding="ISO-8859-1"?>
<modeling>
 <generator>
  <i name="program" type="string">vasp </i>
  <i name="version" type="string">6.4.2  </i>
 </generator>
 <incar>
  <i type="string" name="PREC">Accurate</i>
  <i type="string" name="METAGGA"> {metagga}</i>
 </incar>
 <structure name="primitive_cell" ><crystal>
   <varray name="basis" >
    <v>       0.00000000       2.24141400       2.24141400 </v>
    <v>       2.24141400       0.00000000       2.24141400 </v>
    <v>       2.24141400       2.24141400       0.00000000 </v>
   </varray>
 </crystal></structure>
 <parameters>
  <separator name="electronic" >
   <i type="string" name="PREC">accura</i>
   <i name="ENMAX">    520.00000000</i>
   <i name="EDIFF">      0.00010000</i>
   <i name="NELECT">     18.00000000</i>
   <i type="int" name="NELM">    60</i>
   <i type="int" name="ISPIN">     {ispin}</i>
   <i type="int" name="ICHARG">    {icharg}</i>
  </separator>
  <separator name="grids" >
   <i type="int" name="NGXF">    48</i>
   <i type="int" name="NGYF">    48</i>
   <i type="int" name="NGZF">    48</i>
  </separator>
  <i type="logical" name="LDAU"> {ldau}  </i>
  <v type="int" name="LDAUL">    -1     2</v>
  <v name="LDAUU">      0.00000000      7.50000000</v>
  <i type="string" name="GGA">--</i>
  <i type="logical" name="LHFCALC"> {hf}  </i>
  <i name="AEXX">      0.25000000</i>
  <i name="HFSCREEN">      0.20000000</i>
 </parameters>
 <atominfo>
  <array name="atomtypes" ><set>
    <rc><c>   1</c><c>O </c><c>     16.00000000</c><c>      6.00000000</c><c> PAW_PBE O 08Apr2002       </c></rc>
    <rc><c>   1</c><c>Zn</c><c>     65.39000000</c><c>     12.00000000</c><c> PAW_PBE Zn 06Sep2000      </c></rc>
  </set></array>
 </atominfo>
 <calculation>
  <scstep>
   <energy><i name="e_fr_energy">     -8.00000000 </i></energy>
  </scstep>
  <scstep>
   <energy><i name="e_fr_energy">     -9.00000000 </i></energy>
  </scstep>
  <energy>
   <i name="e_fr_energy">     -9.12500000 </i>
   <i name="e_0_energy">     -9.25000000 </i>
  </energy>
  <eigenvalues>
   <array><set>{bands}
   </set></array>
  </eigenvalues>
  <dos>
   <i name="efermi">      1.50000000 </i>
  </dos>
 </calculation>
</modeling>
"""
KPOINT = """
     <set comment="kpoint {k}">
      <r>   -5.0000    1.0000 </r>
      <r>    {top:.4f}    1.0000 </r>
      <r>    {bottom:.4f}    0.0000 </r>
     </set>"""


def vasprun(ispin: int = 1, icharg: int = 2, hf: str = "F", ldau: str = "F", metagga: str = "--") -> str:
    edges = [(1.0, 3.5), (0.5, 3.0)]
    one = "".join(KPOINT.format(k=k, top=t, bottom=b) for k, (t, b) in enumerate(edges, 1))
    bands = "".join(f'\n    <set comment="spin {s + 1}">{one}\n    </set>' for s in range(ispin))
    return VASPRUN.format(ispin=ispin, icharg=icharg, hf=hf, ldau=ldau, metagga=metagga, bands=bands)


@pytest.fixture(scope="session")
def outcars(shared) -> dict[str, Path]:
    return {path.parent.name: path for path in sorted(shared.glob("ecd/outcars/*/OUTCAR.gz"))}


def test_a_self_consistent_hse_run(outcars):
    said = read_outcar(outcars["icsd-163383-O1Zn1_HSE"])
    assert said["functional"] == "HSE06"
    wanted = {"encut_eV": 520, "prec": "accura", "istart": 1, "icharg": 1, "ispin": 1, "aexx": 0.25, "hfscreen": 0.2}
    wanted |= {"lhfcalc": True, "ldau": False, "ediff_eV": 1e-4, "nelect": 18, "zval": [6, 12], "counts": [1, 1]}
    wanted |= {"fine_grid": [48, 48, 48], "potcar": ["PAW_PBE O 08Apr2002", "PAW_PBE Zn 06Sep2000"]}
    assert {key: said["settings"][key] for key in wanted} == wanted
    provenance = said["provenance"]
    assert (provenance["frozen_density"], provenance["converged"], provenance["finished"]) == (False, True, True)
    assert provenance["engine_version"] == "5.4.1"
    assert said["properties"]["energy_eV"] == -11.3029938
    assert said["properties"]["gap_eV"] == pytest.approx(2.4748)  # VBM 0.7025 is the Fermi level of the file
    np.testing.assert_allclose(said["lattices"], [ZNO.lattice] * 2, atol=1e-8)


def test_a_frozen_hse_run_with_u(outcars):
    said = read_outcar(outcars["icsd-168642-N1Pr1_HSE"])
    assert said["functional"] == "HSE06+U"
    assert said["settings"]["icharg"] == 11
    assert said["settings"]["ldauu"] == [0.0, 5.5]
    assert said["settings"]["ldaul"] == [-1, 3]
    assert said["provenance"]["frozen_density"] is True


def test_steps_are_those_of_the_published_table(outcars, shared):
    with open(shared / "ecd" / "scf_steps_19.csv") as file:
        table = {row["material_id"]: row for row in csv.DictReader(file)}
    for name, path in outcars.items():
        id, _, functional = name.rpartition("_")
        said = read_outcar(path)
        assert said["properties"]["scf_steps"] == int(table[id][f"steps_{functional.lower()}"])
        assert said["functional"].startswith(functional)


def test_energies_and_fermi_levels_are_those_of_pymatgen(outcars, tmp_path):
    from pymatgen.io.vasp import Outcar

    for name, path in list(outcars.items())[1:2]:
        (tmp_path / "OUTCAR").write_bytes(gzip.decompress(path.read_bytes()))
        theirs, ours = Outcar(tmp_path / "OUTCAR"), read_outcar(path)
        assert ours["properties"]["energy_eV"] == pytest.approx(theirs.final_energy), name
        assert ours["properties"]["fermi_eV"] == pytest.approx(theirs.efermi), name


@pytest.mark.parametrize("share", [0.98, 0.8, 0.7])
def test_cut_outcars_give_what_is_there(outcars, tmp_path, share):
    text = gzip.decompress(outcars["icsd-163383-O1Zn1_HSE"].read_bytes())
    for variant in (text[: int(share * len(text))], gzip.compress(text)[: int(share * len(gzip.compress(text)))]):
        (tmp_path / "OUTCAR").write_bytes(variant)
        said = read_outcar(tmp_path / "OUTCAR")
        assert said["settings"]["encut_eV"] == 520
        assert said["functional"] == "HSE06"
        assert said["provenance"]["finished"] is False
        assert "cpu_seconds" not in said["properties"]


@pytest.mark.parametrize("content", [b"", b"nothing\n", bytes(range(256)), b"vasp.5.4.4\n Dimension of arrays:\n"])
def test_what_is_no_outcar_is_named(tmp_path, content):
    for name, reader in (("OUTCAR", read_outcar), ("vasprun.xml", read_vasprun), ("POTCAR", read_potcar)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(FormatError, match=name):
            reader(tmp_path / name)


def test_an_outcar_of_a_hundred_megabytes_takes_little_memory(outcars, tmp_path):
    text = gzip.decompress(outcars["icsd-163383-O1Zn1_HSE"].read_bytes())
    place = text.index(b"\n", text.index(b"Iteration")) + 1
    body = text[text.index(b" E-fermi") : text.index(b"aborting loop") - 24]
    with open(tmp_path / "OUTCAR", "wb") as file:
        file.write(text[:place])
        for _ in range(480):
            file.write(body)
        file.write(text[place:])
    assert (tmp_path / "OUTCAR").stat().st_size > 80e6
    tracemalloc.start()
    said = read_outcar(tmp_path / "OUTCAR")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 << 20
    assert said["properties"]["gap_eV"] == pytest.approx(2.4748)


def test_vasprun(tmp_path):
    (tmp_path / "vasprun.xml").write_text(vasprun(hf="T", ldau="T", icharg=11, ispin=2))
    said = read_vasprun(tmp_path / "vasprun.xml")
    assert said["functional"] == "HSE06+U"
    assert said["settings"]["zval"] == [6, 12]
    assert said["settings"]["fine_grid"] == [48, 48, 48]
    assert said["settings"]["ldauu"] == [0, 7.5]
    assert said["provenance"]["frozen_density"]
    assert said["provenance"]["converged"]
    assert said["provenance"]["engine_version"] == "6.4.2"
    wanted = {"energy_eV": -9.25, "free_energy_eV": -9.125, "scf_steps": 2, "fermi_eV": 1.5, "gap_eV": 2.0}
    assert said["properties"] == {**wanted, "gap_direct_eV": 2.5}


@pytest.mark.parametrize("mark", ["<calculation>", "<eigenvalues>", "kpoint 2", "</modeling>"])
def test_cut_vaspruns_give_what_is_there(tmp_path, mark):
    text = vasprun()
    (tmp_path / "vasprun.xml.gz").write_bytes(gzip.compress(text[: text.index(mark)].encode()))
    said = read_vasprun(tmp_path / "vasprun.xml.gz")
    assert said["functional"] == "PBE"
    assert said["provenance"]["finished"] is False
    assert ("gap_eV" in said["properties"]) == (mark == "</modeling>")


def test_vasprun_is_read_as_pymatgen_reads_it(tmp_path):
    text = vasprun(metagga="R2SCAN")
    (tmp_path / "vasprun.xml").write_text(text)
    assert read_vasprun(tmp_path / "vasprun.xml")["functional"] == "r2SCAN"


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"gga": "--", "lexch": "8"}, "PBE"),
        ({"gga": "PS"}, "PBEsol"),
        ({"gga": "--", "lexch": "8", "ldau": True, "ldauu": [0.0, 0.0]}, "PBE"),
        ({"gga": "--", "lexch": "8", "ldau": True, "ldauu": [0.0, 4.0]}, "PBE+U"),
        ({"gga": "PE", "lhfcalc": True, "aexx": 0.25, "hfscreen": 0.207}, "HSE06"),
        ({"gga": "PE", "lhfcalc": True, "aexx": 0.25, "hfscreen": 0.3}, "HSE03"),
        ({"gga": "PE", "lhfcalc": True, "aexx": 0.25, "hfscreen": 0.0}, "PBE0"),
        ({"gga": "PE", "lhfcalc": True, "aexx": 0.32, "hfscreen": 0.2}, "PBE(AEXX=0.32, HFSCREEN=0.2)"),
        ({"gga": "PE", "lhfcalc": True, "aexx": 1.0}, "HF"),
        ({"gga": "--", "lexch": "8", "metagga": "SCAN"}, "SCAN"),
        ({"gga": "--"}, None),
    ],
)
def test_functionals(settings, name):
    assert name_functional(settings) == name


def test_gaps_of_metals_spins_and_full_bands():
    energies = np.array([[[0.0, 1.0, 3.0], [0.0, 2.0, 4.0]]])
    assert band_gaps(energies, np.array([[[2.0, 2.0, 0.0], [2.0, 2.0, 0.0]]])) == (1.0, 2.0)
    assert band_gaps(energies, np.array([[[2.0, 2.0, 0.0], [2.0, 0.0, 0.0]]]))[0] == 0.0
    assert band_gaps(energies, np.full((1, 2, 3), 2.0)) is None
    two = np.concatenate([energies, energies + 0.25])
    assert band_gaps(two, np.array([[[1.0, 1.0, 0.0]] * 2] * 2)) == (0.75, 1.75)


def test_edges_of_further_points_can_only_close_a_gap():
    joined = BandEdges(0.0, 3.0, 3.5).join(BandEdges(-1.0, 2.0, 3.25))
    assert (joined.gap, joined.direct_gap) == (2.0, 3.25)
    assert BandEdges(0.0, 3.0, 3.5).join(BandEdges(4.0, 5.0, 1.0)).gap == 0
    assert METAL.join(joined).gap == METAL.join(joined).direct_gap == 0


@pytest.mark.parametrize(
    ("file", "beside"),
    [
        ("CHGCAR", "OUTCAR"),
        ("CHGCAR.gz", "OUTCAR.xz"),
        ("ZnO_CHGCAR", "ZnO_OUTCAR.gz"),
        ("CHGCAR_ZnO", "OUTCAR_ZnO"),
        ("x.chgcar", "x.outcar"),
        ("CHG", "OUTCAR"),
        ("AECCAR2.bz2", "OUTCAR"),
        ("CHGCAR.vasp", "OUTCAR"),
        ("ZnO.cube", "ZnO.OUTCAR"),
        ("vaspwave.h5", "OUTCAR"),
    ],
)
def test_neighbours_are_found_by_name(tmp_path, file, beside):
    (tmp_path / beside).touch()
    assert find_run_file(tmp_path / file, "OUTCAR") == tmp_path / beside


def test_a_neighbour_of_another_file_is_not_taken(tmp_path):
    (tmp_path / "OUTCAR").touch()
    (tmp_path / "MgO_OUTCAR").touch()
    assert find_run_file(tmp_path / "ZnO_CHGCAR", "OUTCAR") is None
    for name in ("CHGCAR_pbe", "CHGCAR.static.gz", "CHGCAR_predicted"):  # of an earlier run, or of a model
        assert find_run_file(tmp_path / name, "OUTCAR") is None
    (tmp_path / "POTCAR").touch()
    assert find_run_file(tmp_path / "CHGCAR_pbe", "POTCAR") == tmp_path / "POTCAR"


def test_a_density_with_its_run(outcars, tmp_path):
    write(tmp_path / "ZnO_CHGCAR", density())
    (tmp_path / "ZnO_OUTCAR.gz").write_bytes(outcars["icsd-163383-O1Zn1_HSE"].read_bytes())
    meta = read_run(tmp_path / "ZnO_CHGCAR").meta
    assert meta["functional"] == "HSE06"
    assert meta["settings"]["encut_eV"] == 520
    assert meta["properties"]["gap_eV"] == pytest.approx(2.4748)
    assert "lattices" not in meta


def test_vasprun_and_potcar_supply_what_is_known_without_an_outcar(tmp_path):
    write(tmp_path / "CHGCAR", density())
    assert "settings" not in read_run(tmp_path / "CHGCAR").meta
    (tmp_path / "POTCAR").write_text(potcar(("O", 6), ("Zn", 12)))
    settings = read_run(tmp_path / "CHGCAR").meta["settings"]
    assert settings == {"potcar": ["PAW_PBE O 01Jan2000", "PAW_PBE Zn 01Jan2000"], "zval": [6, 12], "counts": [1, 1]}
    (tmp_path / "vasprun.xml").write_text(vasprun())
    assert read_run(tmp_path / "CHGCAR").meta["functional"] == "PBE"


def test_run_files_of_other_crystals_and_damaged_ones_are_named_and_not_used(outcars, tmp_path):
    write(tmp_path / "CHGCAR", density())
    (tmp_path / "OUTCAR.gz").write_bytes(outcars["icsd-168642-N1Pr1_HSE"].read_bytes())
    (tmp_path / "POTCAR").write_text(potcar(("Mg_pv", 8), ("O", 6)))
    (tmp_path / "vasprun.xml").write_text("<modeling>")
    meta = read_run(tmp_path / "CHGCAR").meta
    assert set(meta["provenance"]["not_used"]) == {"OUTCAR.gz", "POTCAR", "vasprun.xml"}
    assert "functional" not in meta
    assert "settings" not in meta
