"""The files that a conversion finds: in folders, lists and archives."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from monty.json import MontyEncoder

from ecd_data import Store, convert, read, write
from ecd_data.conversion.sources import find_sources
from ecd_data.errors import FormatError, UsageError
from tests.conftest import smooth_density
from tests.data.conversion.conftest import IDS


def test_a_folder_is_searched_by_name_and_content(tmp_path, shared):
    runs = tmp_path / "runs"
    rho = smooth_density((6, 5, 4))
    for name in ("a/CHGCAR", "a/CHG", "a/AECCAR0_CHGCAR_not", "a/x.CHG", "b/CHG.gz", "c.cube"):
        (runs / name).parent.mkdir(parents=True, exist_ok=True)
        write(runs / name, rho, format=None if "cube" in name else "chgcar")
    (runs / "a" / "AECCAR0_CHGCAR_not").rename(runs / "a" / "AECCAR0")
    shutil.copy(runs / "c.cube", runs / "unnamed")
    for name in ("a/OUTCAR", "a/POSCAR", "a/notes.json", "a/._CHGCAR", "a/LOCPOT", "readme.txt"):
        (runs / name).write_text('{"a": 1}')
    shutil.copy(shared / "real" / "Si_AECCAR2.AECCAR2.gz", runs / "Si_AECCAR2.gz")
    found = {source.id: Path(source.path).name for source in find_sources(runs)}
    assert found == {"a": "CHGCAR", "x": "x.CHG", "b": "CHG.gz", "c": "c.cube", "unnamed": "unnamed"}
    report = convert(runs, tmp_path / "a.ecd")
    assert report.failed == {}
    assert sorted(report.added) == sorted(found)


def test_backups_are_left_out(tmp_path, caplog):
    for name in ("CHGCAR", "CHGCAR.orig.gz", "CHGCAR~", "CHGCAR.bak"):
        (tmp_path / "runs" / "a").mkdir(parents=True, exist_ok=True)
        write(tmp_path / "runs" / "a" / name, smooth_density((6, 5, 4)), format="chgcar")
    with caplog.at_level("INFO", "ecd_data"):
        (source,) = find_sources(tmp_path / "runs")
    assert Path(source.path).name == "CHGCAR"
    assert f"backups in {tmp_path / 'runs'} are left out, name those that you want: " in caplog.text
    assert len(find_sources(tmp_path / "runs" / "a" / "CHGCAR.bak")) == 1


def test_folders_that_a_search_leaves_out_are_named(files, tmp_path, monkeypatch, caplog):
    shutil.move(files / "deep", tmp_path / "elsewhere")
    (files / "link").symlink_to(tmp_path / "elsewhere")
    (files / "closed").mkdir()
    scan = os.scandir

    def scan_as_another_user(path):
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", scan_as_another_user)
    assert len(find_sources(files)) == 3
    assert f"{files / 'link'} is a link to a folder" in caplog.text
    assert f"{files / 'closed'} is left out" in caplog.text
    assert len(find_sources([files, files / "link"])) == 4


def test_files_of_a_run_that_hold_no_density_are_no_failures(tmp_path):
    rho = smooth_density((6, 5, 4))
    (tmp_path / "runs" / "a").mkdir(parents=True)
    write(tmp_path / "runs" / "a" / "CHGCAR", rho)
    (tmp_path / "runs" / "b.json").write_text(json.dumps(rho.to_pymatgen(), cls=MontyEncoder))
    for name in ("vaspout.h5", "wfc1.hdf5"):
        (tmp_path / "runs" / "a" / name).write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(600))
    (tmp_path / "runs" / "a" / "structure.json").write_text(json.dumps(rho.crystal.to_pymatgen().as_dict()))
    (tmp_path / "runs" / "a" / "FW.json").write_text('{"spec": {"@module": "atomate", "@class": "StaticFW"}}')
    with tarfile.open(tmp_path / "runs.tar", "w") as tar:
        tar.add(tmp_path / "runs", arcname="runs")
    for source in ("runs", "runs.tar"):
        report = convert(tmp_path / source, tmp_path / f"{source}.ecd")
        assert (sorted(report.added), report.failed) == (["a", "b"], {})


def test_lists_of_paths_with_and_without_ids(files, tmp_path, monkeypatch):
    (tmp_path / "list").write_text(f"# runs\n{files}/MgO/CHGCAR\n\n{files}/CHGCAR_mp-1.vasp\tthe first\n")
    report = convert(f"@{tmp_path}/list", tmp_path / "a.ecd")
    assert report.added == ["MgO", "the first"]
    (tmp_path / "list").write_text(f"{files}/MgO/CHGCAR\n", encoding="utf-8-sig")  # as Windows saves it
    assert convert(f"@{tmp_path}/list", tmp_path / "a.ecd").skipped == ["MgO"]
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{files}/mp-2.CHGCAR.xz\n"))
    assert convert("@-", tmp_path / "a.ecd").added == ["mp-2"]
    for bad in (f"@{tmp_path}/nothing", f"@{tmp_path}"):
        with pytest.raises(UsageError, match="cannot be read"):
            convert(bad, tmp_path / "b.ecd")
    (tmp_path / "list").write_text("nowhere/CHGCAR\n")
    with pytest.raises(UsageError, match="nowhere/CHGCAR does not exist"):
        convert(f"@{tmp_path}/list", tmp_path / "b.ecd")


@pytest.mark.parametrize("ending", ["tar", "tar.gz", "tar.xz", "tgz"])
def test_members_of_archives(files, tmp_path, ending):
    (files / "MgO" / "CHG").write_bytes((files / "MgO" / "CHGCAR").read_bytes())
    archive = tmp_path / f"runs.{ending}"
    with tarfile.open(archive, f"w:{ending.removeprefix('tar').lstrip('.').replace('tgz', 'gz')}") as tar:
        tar.add(files, arcname="runs")
        tar.add(files / "MgO" / "CHGCAR", arcname="CHGCAR")
    report = convert(archive, tmp_path / "a.ecd")
    assert sorted(report.added) == sorted([*IDS, "runs"])
    convert(files, tmp_path / "b.ecd")
    for id in IDS:
        np.testing.assert_array_equal(Store(tmp_path / "a.ecd")[id].values, Store(tmp_path / "b.ecd")[id].values)
    assert Store(tmp_path / "a.ecd")["MgO"].meta["source"] == f"runs.{ending}::runs/MgO/CHGCAR"
    assert convert([archive, files], tmp_path / "a.ecd").failed == {}
    assert convert(f"{archive}::runs/MgO/CHGCAR", tmp_path / "c.ecd").added == ["MgO"]
    report = convert(f"{archive}::runs/KCl/CHGCAR", tmp_path / "c.ecd")
    assert "has no file 'runs/KCl/CHGCAR'" in next(iter(report.failed.values()))
    archive.write_bytes(archive.read_bytes()[:-900] if ending != "tar" else archive.read_bytes()[:3000])
    report = convert(archive, tmp_path / "d.ecd")
    assert all("\n" not in reason for reason in report.failed.values())
    assert report.failed


def test_a_flipped_digit_is_found_by_the_checksum_of_an_archive_of_any_size(files, tmp_path):
    text = (files / "MgO" / "CHGCAR").read_bytes()
    for padding in range(0, tarfile.RECORDSIZE, tarfile.BLOCKSIZE):  # tarfile reads so many bytes at a time
        tar = io.BytesIO()
        with tarfile.open(fileobj=tar, mode="w") as archive:
            for name, content in (("notes", b" " * padding), ("MgO/CHGCAR", text)):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        data = bytearray(gzip.compress(tar.getvalue(), compresslevel=0))  # the digits stand in it as they are
        place = data.rfind(b"E+") - 1
        data[place] = ord("1") if data[place] != ord("1") else ord("2")
        (tmp_path / "MgO.tar.gz").write_bytes(data)
        report = convert(tmp_path / "MgO.tar.gz", tmp_path / "a.ecd")
        assert report.added == []
        assert "copy or download it again" in next(iter(report.failed.values()))


@pytest.mark.parametrize("damage", ["cut", "header"])
def test_an_archive_cut_or_damaged_between_two_files_is_refused(files, tmp_path, damage):
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        archive.add(files / "MgO" / "CHGCAR", arcname="MgO/CHGCAR")
        end = archive.offset
        archive.add(files / "mp-2.CHGCAR.xz", arcname="mp-2.CHGCAR.xz")
    data = tar.getvalue()
    content = data[:end] if damage == "cut" else data[:end] + b"?" * tarfile.BLOCKSIZE + data[end + tarfile.BLOCKSIZE :]
    (tmp_path / "runs.tar").write_bytes(content)
    report = convert(tmp_path / "runs.tar", tmp_path / "a.ecd")
    assert report.added == []
    assert "damaged or cut tar archive" in next(iter(report.failed.values()))
    with pytest.raises(FormatError, match="damaged or cut tar archive"):
        read(tmp_path / "runs.tar")


def test_an_archive_without_densities(tmp_path):
    (tmp_path / "notes").write_text("nothing")
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "notes")
    report = convert(tmp_path / "x.tar.gz", tmp_path / "a.ecd")
    assert "holds no density" in report.failed[str(tmp_path / "x.tar.gz")]
