"""Files that are no density of a crystal: another quantity, or made from densities; and odd names."""

from __future__ import annotations

import json
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ecd_data import Store, convert, read, write
from ecd_data.checks.verdicts import check_entries, find_entries
from ecd_data.conversion.sources import default_id, find_sources
from ecd_data.errors import FormatError, UsageError
from ecd_data.io.density_names import find_other_quantity, is_derived, is_predicted
from tests.conftest import smooth_density

RHO = smooth_density((6, 5, 7))
RHO = replace(RHO, values=RHO.values * (20 / RHO.nelect))


def place(path: Path, rho=RHO) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, rho, format=None if ".cube" in path.name else "chgcar")
    return path


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("LOCPOT", "potential in eV"),
        ("MgO_LOCPOT.gz", "potential in eV"),
        ("LOCPOT_dipol", "potential in eV"),
        ("si.locpot.xz", "potential in eV"),
        ("CHGCAR_LOCPOT", "potential in eV"),
        ("ELFCAR", "localization"),
        ("ELFCAR.vasp.bz2", "localization"),
        ("TAUCAR", "kinetic energy density"),
        ("POT", "potential"),
        ("x-v_hartree-1_0.cube", "potential"),
        ("x-ELF_S1-1_0.cube", "localization"),
        ("homo.cube", "orbital"),
        ("BN_orthorhombic_elf.cube", "localization"),
        ("rhodium-vhartree.cube", "potential"),
        ("discharged_esp.cube", "potential"),
    ],
)
def test_another_quantity_is_refused_by_its_name(tmp_path, name, word):
    file = place(tmp_path / "runs" / "a" / name)
    place(tmp_path / "runs" / "a" / "CHGCAR")
    with pytest.raises(FormatError, match=f"by its name .*{word}.*not a density"):
        read(file)
    assert convert(tmp_path / "runs", tmp_path / "x.ecd").added == ["a"]
    (tmp_path / "list").write_text(f"{file}\tMgO\n")
    for number, source in enumerate((file, str(tmp_path / "runs" / "*" / name), f"@{tmp_path}/list")):
        report = convert(source, tmp_path / f"{number}.ecd")
        assert report.added == []
        assert word in report.failed[str(file)]
    with tarfile.open(tmp_path / "runs.tar", "w") as tar:
        tar.add(tmp_path / "runs", arcname="runs")
    with pytest.raises(FormatError, match=word):
        read(f"{tmp_path}/runs.tar::runs/a/{name}")
    assert convert(tmp_path / "runs.tar", tmp_path / "tar.ecd").added == ["a"]


def test_a_potential_as_pymatgen_writes_it(tmp_path):
    (tmp_path / "x.json").write_text(json.dumps({"@module": "pymatgen.io.vasp.outputs", "@class": "Locpot"}))
    with pytest.raises(FormatError, match="by its content a potential"):
        read(tmp_path / "x.json")


@pytest.mark.parametrize(
    "name",
    [
        "CHGCAR",
        "POTCAR_CHGCAR",
        "pot_CHGCAR",
        "total_density.cube",
        "rho.xsf",
        "pot_rho2.cube",
        "x.tar::b/CHGCAR",
        "LOCPOT.tar::CHGCAR",
    ],
)
def test_names_of_densities(name):
    assert find_other_quantity(name) is None
    assert not is_derived(name)
    assert not is_predicted(name)


def test_the_shared_cases_of_other_quantities(shared, tmp_path):
    folder = shared / "cases" / "files"
    if not folder.is_dir():
        pytest.skip("the shared cases are not here")
    for name in ("ELFCAR", "LOCPOT"):
        with pytest.raises(FormatError, match="not a density"):
            read(folder / "elfcar_locpot_as_density" / name)
    assert sorted(convert(folder / "bader_folder_stops_convert" / "runs", tmp_path / "x.ecd").added) == ["a", "b"]


DERIVED = ("CHGCAR_sum", "CHGCAR_diff.gz", "CHGCAR_ref", "mag_CHGCAR", "CHGCAR.tot.vasp", "PARCHG", "AECCAR0")
PREDICTED = ("predicted_CHGCAR", "CHGCAR_pred.xz", "MgO_predicted.cube")


@pytest.mark.parametrize("name", [*DERIVED, *PREDICTED])
def test_derived_and_predicted_files_are_taken_where_they_are_named(tmp_path, name):
    named = [place(tmp_path / "runs" / run / name) for run in ("a", "b")]
    with pytest.raises(UsageError, match="derived or predicted"):
        convert(tmp_path / "runs", tmp_path / "none.ecd")
    for run in ("a", "b"):
        place(tmp_path / "runs" / run / "CHGCAR", smooth_density((4, 4, 4)))
    for number, source in enumerate((tmp_path / "runs", str(tmp_path / "runs" / "?"))):
        assert sorted(convert(source, tmp_path / f"{number}.ecd").added) == ["a", "b"]
    with tarfile.open(tmp_path / "runs.tar", "w") as tar:
        tar.add(tmp_path / "runs", arcname="runs")
    assert sorted(convert(tmp_path / "runs.tar", tmp_path / "tar.ecd").added) == ["a", "b"]
    report = convert([*named, tmp_path / "runs"], tmp_path / "named.ecd")
    assert report.failed == {}
    assert len(set(report.added)) == 4
    assert sum(id.startswith("a") for id in report.added) == 2


def test_a_prediction_under_another_name_is_known_by_its_comment(tmp_path, caplog):
    caplog.set_level("INFO")
    predicted = replace(RHO, meta={"comment": "predicted by charge3net"})
    for name in ("x/CHGCAR", "Si_CHGCAR.gz", "NaCl.cube", "KCl_CHGCAR.xz"):
        place(tmp_path / name, predicted)
    place(tmp_path / "MgO_CHGCAR")
    assert [source.id for source in find_sources(tmp_path)] == ["MgO"]
    assert "name those that you want" in caplog.text
    with tarfile.open(tmp_path / "runs.tar", "w") as tar:
        for name in ("MgO_CHGCAR", "Si_CHGCAR.gz", "NaCl.cube", "KCl_CHGCAR.xz"):
            tar.add(tmp_path / name, arcname=name)
    assert convert(tmp_path / "runs.tar", tmp_path / "tar.ecd").added == ["MgO"]
    assert convert(f"{tmp_path}/runs.tar::Si_CHGCAR.gz", tmp_path / "one.ecd").added == ["Si"]
    (tmp_path / "runs.tar").unlink()
    report = convert(tmp_path / "NaCl.cube", tmp_path / "x.ecd")
    assert "predicted" in Store(tmp_path / "x.ecd").row("NaCl")["flags"]
    assert report.added == ["NaCl"]
    assert len(find_entries([tmp_path / "KCl_CHGCAR.xz", tmp_path / "x"])) == 2  # a verdict is given on predictions too
    assert all(report.ok for _, report in check_entries(find_entries([tmp_path / "x"])))


@pytest.mark.parametrize(
    ("name", "id"),
    [
        ("CHGCAR_sum", "run_sum"),
        ("predicted_CHGCAR", "run_predicted"),
        ("PARCHG", "run_PARCHG"),
        ("Fe_up_CHGCAR", "Fe_up"),
    ],
)
def test_ids_of_derived_files_keep_their_folder(name, id):
    assert default_id(Path("run") / name) == id


def test_a_pattern_of_folders_means_their_densities(tmp_path):
    for name in ("run1a/CHGCAR", "run1b/x/CHGCAR.gz", "run1c/Si.cube", "run2/CHGCAR"):
        place(tmp_path / name, replace(RHO, values=RHO.values * len(name)))
    (tmp_path / "run1d").mkdir()
    assert sorted(convert(str(tmp_path / "run1?"), tmp_path / "my.ecd").added) == ["Si", "run1a", "x"]
    for pattern in ("run1d*", "run3?"):
        with pytest.raises(UsageError, match=r"holds no file|does not exist"):
            convert(str(tmp_path / pattern), tmp_path / "none.ecd")
    assert len(find_entries([str(tmp_path / "run1[a-c]")])) == 3


@pytest.mark.parametrize(
    "name", ["out.cube", "out.cube.gz", "new_CHGCAR", "x.xsf", "x.tar", "a.JSON", "x.zip", "POSCAR", "a::b"]
)
def test_a_store_is_not_written_under_the_name_of_a_file(tmp_path, name):
    file = place(tmp_path / "CHGCAR")
    with pytest.raises(UsageError, match=r"ecd export|without it"):
        convert(file, tmp_path / name)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("name", ["my.ecd", "store", "pbe.v1.2", "2026.11"])
def test_names_of_stores(tmp_path, name):
    assert len(convert(place(tmp_path / "MgO_CHGCAR"), tmp_path / name).added) == 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Mg\x1b[31mO_CHGCAR", "cannot be printed"),
        ("Mg\nO_CHGCAR", "cannot be printed"),
        ("Mg\u202eO_CHGCAR", "cannot be printed"),
        ("y" * 210 + "_CHGCAR", "it has 210 bytes, and an id at most 200"),
        ("Å" * 110 + "_CHGCAR", "it has 220 bytes"),
    ],
)
def test_names_that_make_no_id_are_left_out_with_the_reason(tmp_path, name, words):
    place(tmp_path / "runs" / "MgO_CHGCAR")
    file = str(tmp_path / "runs" / name)
    os.rename(place(tmp_path / "y_CHGCAR"), file)
    report = convert(tmp_path / "runs", tmp_path / "my.ecd")
    assert report.added == ["MgO"]
    assert words in report.failed[file]
    assert report.failed[file].isprintable()


def test_paths_with_two_colons(tmp_path):
    file = place(tmp_path / "a::b" / "Mg::O_CHGCAR")
    (tmp_path / "a::b" / "Mg::O_OUTCAR").write_text("nothing")
    np.testing.assert_array_equal(read(file).values, read(place(tmp_path / "CHGCAR")).values)
    with tarfile.open(tmp_path / "a::b" / "x::y.tar", "w") as tar:
        tar.add(file, arcname="in/CHGCAR")
    assert read(f"{tmp_path}/a::b/x::y.tar::in/CHGCAR").shape == RHO.shape
    report = convert([file, f"{tmp_path}/a::b/x::y.tar::in/CHGCAR"], tmp_path / "my.ecd")
    assert (report.added, report.failed) == (["Mg::O", "in"], {})
    assert [entry.id for entry in find_entries([file, f"{tmp_path}/my.ecd::in"])] == ["Mg::O", "in"]
    assert all(report.ok for _, report in check_entries(find_entries([file, f"{tmp_path}/a::b/x::y.tar::in/CHGCAR"])))


def test_one_file_under_two_ids_is_said(tmp_path, caplog):
    file = place(tmp_path / "MgO_CHGCAR")
    (tmp_path / "again_CHGCAR").write_bytes(file.read_bytes())
    place(tmp_path / "other_CHGCAR", smooth_density((4, 4, 4)))
    report = convert(tmp_path, tmp_path / "my.ecd")
    assert report.repeated == {"again": "MgO"}
    assert "again is the same file as that of MgO" in caplog.text
    (tmp_path / "third_CHGCAR").write_bytes(file.read_bytes())
    assert convert(tmp_path, tmp_path / "my.ecd").repeated.keys() == {"third"}


def test_hidden_folders_keep_their_dot(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place(tmp_path / ".hidden" / "cut_CHGCAR").write_text("cut")
    (tmp_path / ".empty").mkdir()
    [(entry, report)] = check_entries(find_entries(["."]))
    assert entry.name == "./.hidden/cut_CHGCAR"
    [(_, report)] = check_entries(find_entries([".empty"]))
    assert "holds no file" in report.problems[0]
    with tarfile.open("x.tar", "w") as tar:
        tar.add(place(tmp_path / "CHGCAR"), arcname=".hidden/CHGCAR")
    assert "'.hidden' cannot be an id" in str(convert("x.tar", "my.ecd").failed)
