"""Structures in folders: one file of each VASP run, ids that differ, and what is left out and said."""

from __future__ import annotations

import gzip
import logging
from pathlib import Path

import numpy as np
import pytest

from ecd_data import Crystal, Density
from ecd_data.errors import UsageError
from ecd_data.formats import write
from ecd_data.formats.structure_files import read_structures, structure_files

ORDER = ("CONTCAR", "CHGCAR", "POSCAR")


def write_file(path: Path, length: float = 4.0, comment: str = "") -> Path:
    """A file of VASP for one atom in a cube of this length in Å; compressed where the name ends in .gz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    crystal = Crystal(length * np.eye(3), [14], [[0, 0, 0]])
    plain = path.with_name(path.name.removesuffix(".gz"))
    if "CHGCAR" in path.name:
        write(plain, Density(crystal, np.full((4, 4, 4), 0.1), meta={"comment": comment} if comment else {}))
    else:
        crystal.to_pymatgen().to(str(plain), fmt="poscar")
    if plain != path:
        path.write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
    return path


@pytest.mark.parametrize("pattern", ["{}", "{}.gz", "{}_Si", "Si.{}", "{}.vasp", "{}.relax1.gz"])
@pytest.mark.parametrize("number", [0, 1])
def test_a_run_gives_its_relaxed_structure_once_and_says_so(tmp_path, caplog, pattern, number):
    names = [pattern.format(name) for name in ORDER[number:]]
    for length, name in enumerate(names, 4):
        write_file(tmp_path / "a" / name, length)
    with caplog.at_level(logging.INFO, "ecd_data"):
        found = read_structures(tmp_path)
    (crystal,) = found.crystals.values()
    assert crystal.lattice[0, 0] == pytest.approx(4.0)
    assert not found.failed
    assert f"{tmp_path / 'a'}: {names[0]} is taken; {names[1]} is not" in caplog.text


@pytest.mark.parametrize("text", [b"", b"\n \n", gzip.compress(b"", mtime=0)])
def test_an_empty_file_of_a_run_is_not_taken(tmp_path, caplog, text):
    (tmp_path / "CONTCAR").write_bytes(text)
    write_file(tmp_path / "POSCAR")
    with caplog.at_level(logging.INFO, "ecd_data"):
        assert structure_files(tmp_path) == {tmp_path.name: tmp_path / "POSCAR"}
    assert "POSCAR is taken; CONTCAR is not, since it is empty" in caplog.text
    (tmp_path / "POSCAR").write_text("")
    assert len(read_structures(tmp_path).failed) == 1


def test_many_runs_give_one_line(tmp_path, caplog):
    for number in range(6):
        for name in ("POSCAR", "CONTCAR"):
            write_file(tmp_path / f"run{number}" / name)
    with caplog.at_level(logging.INFO, "ecd_data"):
        assert len(structure_files(tmp_path)) == 6
    assert len(caplog.records) == 1
    assert "and 3 more: CONTCAR is taken; POSCAR is not" in caplog.text


@pytest.mark.parametrize(
    "name", ["POSCAR.orig", "POSCAR.orig.gz", "POSCAR~", "CONTCAR.bak", "CHGCAR_old", "POSCAR.bak2"]
)
def test_backups_are_no_second_material(tmp_path, caplog, name):
    run, backup = write_file(tmp_path / "a" / "POSCAR"), write_file(tmp_path / "a" / name, 5.0)
    with caplog.at_level(logging.INFO, "ecd_data"):
        assert structure_files(tmp_path) == {"a": run}
    assert f"backups in {tmp_path} are left out, name those that you want: {backup}" in caplog.text
    assert list(structure_files([backup]).values()) == [backup]
    run.unlink()
    with pytest.raises(UsageError, match="holds only backups of structure files"):
        structure_files(tmp_path)


def test_files_given_by_name_still_clash(tmp_path):
    both = [write_file(tmp_path / "a" / name) for name in ("POSCAR", "CONTCAR")]
    for sources in (both, [tmp_path, both[0]], [both[0], tmp_path]):
        with pytest.raises(UsageError, match="would both have the id 'a'"):
            structure_files(sources)
    assert structure_files([both[1], tmp_path]) == {"a": both[1]}


def test_files_of_one_folder_that_are_not_of_one_run_clash(tmp_path):
    write_file(tmp_path / "POSCAR_Si")
    Crystal(5 * np.eye(3), [14], [[0, 0, 0]]).to_pymatgen().to(str(tmp_path / "Si.cif"))
    with pytest.raises(UsageError, match="would both have the id 'Si'"):
        structure_files(tmp_path)


def test_ids_of_several_runs_get_the_names_of_their_folders(tmp_path, caplog):
    for crystal in ("Si", "MgO"):
        for step in ("relax", "static"):
            write_file(tmp_path / crystal / step / "POSCAR")
    with caplog.at_level(logging.INFO, "ecd_data"):
        found = structure_files(tmp_path)
    assert set(found) == {"Si_relax", "Si_static", "MgO_relax", "MgO_static"}
    assert "2 files would be 'relax', so that their folders go into their ids" in caplog.text
    assert structure_files([tmp_path / "Si", tmp_path / "MgO"]) == found


def test_densities_that_repeat_a_crystal_are_left_out_and_named(tmp_path, caplog):
    write_file(tmp_path / "a" / "POSCAR")
    write_file(tmp_path / "a" / "CHGCAR_sum")
    write_file(tmp_path / "a" / "AECCAR0.vasp")
    write_file(tmp_path / "predictions" / "a_CHGCAR", comment="predicted by fourier_density")
    with caplog.at_level(logging.INFO, "ecd_data"):
        assert structure_files(tmp_path) == {"a": tmp_path / "a" / "POSCAR"}
    for name in ("CHGCAR_sum", "AECCAR0.vasp", "a_CHGCAR"):
        assert name in caplog.text
    with pytest.raises(UsageError, match=r"a_CHGCAR: derived or predicted densities, name those that you want"):
        structure_files(tmp_path / "predictions")
