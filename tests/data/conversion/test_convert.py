"""Conversion of files: their ids, files that are left out, and converting again."""

from __future__ import annotations

import gzip
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ecd_data import Store, convert, read, write
from ecd_data.checks.verdicts import check_entries, find_entries
from ecd_data.conversion.sources import default_id
from ecd_data.errors import StoreError, UsageError
from tests.conftest import smooth_density
from tests.data.conversion.conftest import IDS, contents


@pytest.mark.parametrize(
    ("name", "id"),
    [
        ("run/CHGCAR", "run"),
        ("run/CHGCAR.gz", "run"),
        ("run/chgcar.bz2", "run"),
        ("run/CHGCAR.vasp", "run"),
        ("run/CHGCAR_MgO.gz", "MgO"),
        ("run/MgO_CHGCAR", "MgO"),
        ("run/MgO.CHGCAR.XZ", "MgO"),
        ("run/mp-1.CHGCAR.vasp.gz", "mp-1"),
        ("run/MgO-CHGCAR-v1.2", "MgO--v1.2"),
        ("run/Si.CHG.gz", "Si"),
        ("run/Si.AECCAR2", "Si"),
        ("run/Si", "Si"),
    ],
)
def test_default_ids(name, id):
    assert default_id(Path(name)) == id


def test_folders_globs_and_files(files, tmp_path):
    report = convert(files, tmp_path / "a.ecd")
    assert sorted(report.added) == IDS
    assert sorted(Store(tmp_path / "a.ecd").ids) == IDS
    report = convert([str(files / "*" / "CHGCAR*"), files / "mp-2.CHGCAR.xz"], tmp_path / "b.ecd")
    assert sorted(report.added) == ["MgO", "mp-2"]
    report = convert([str(files / "**" / "*CHGCAR*")], tmp_path / "c.ecd")
    assert contents(tmp_path / "c.ecd") == contents(tmp_path / "a.ecd")


def test_a_converted_file_is_written_again_as_it_was(files, tmp_path):
    convert(files, tmp_path / "a.ecd", bound=1e-6)
    rho, again = read(files / "MgO" / "CHGCAR"), Store(tmp_path / "a.ecd")["MgO"]
    assert again.augmentation == rho.augmentation
    assert again.meta["source"] == "CHGCAR"
    write(tmp_path / "CHGCAR", again)
    np.testing.assert_allclose(read(tmp_path / "CHGCAR").values, rho.values, rtol=1e-4)


def test_converting_again_skips_and_adds_what_is_new(files, tmp_path):
    convert([files / "MgO" / "CHGCAR"], tmp_path / "a.ecd")
    report = convert(files, tmp_path / "a.ecd")
    assert report.skipped == ["MgO"]
    assert sorted(report.added) == IDS[1:]
    before = contents(tmp_path / "a.ecd")
    report = convert(files, tmp_path / "a.ecd")
    assert (sorted(report.skipped), report.added, report.failed) == (IDS, [], {})
    assert contents(tmp_path / "a.ecd") == before


def test_crystals_that_keep_another_bound_are_told(files, tmp_path, caplog):
    convert(files, tmp_path / "a.ecd", bound=1e-3)
    convert(files, tmp_path / "a.ecd", bound=1e-3)
    assert caplog.text == ""
    for options, wanted in (
        ({"bound": 1e-5}, "for 1e-05 write"),
        ({"pipeline": "real"}, "for the lossless form write"),
    ):
        caplog.clear()
        report = convert(files, tmp_path / "a.ecd", **options)
        assert sorted(report.skipped) == IDS
        assert f"{len(IDS)} crystals keep the bound" in caplog.text
        assert "with 0.001" in caplog.text
        assert wanted in caplog.text
    caplog.clear()
    convert(files, tmp_path / "b.ecd", pipeline="real")
    convert(files, tmp_path / "b.ecd")
    assert caplog.text == ""


def test_bad_files_are_left_out_and_named(files, tmp_path):
    (files / "cut_CHGCAR").write_bytes((files / "MgO" / "CHGCAR").read_bytes()[:700])
    (files / "empty_CHGCAR").write_bytes(b"")
    (files / "binary_CHGCAR.gz").write_bytes(os.urandom(999))
    (files / "cut2_CHGCAR.gz").write_bytes(gzip.compress(b"x" * 9999)[:30])
    (files / ("y" * 210 + "CHGCAR")).write_bytes((files / "MgO" / "CHGCAR").read_bytes())
    report = convert(files, tmp_path / "a.ecd")
    assert sorted(report.added) == IDS
    assert len(report.failed) == 5
    for file, reason in report.failed.items():
        assert Path(file).exists()
        assert "\n" not in reason
    assert sorted(Store(tmp_path / "a.ecd").ids) == IDS


def test_two_files_of_one_id_that_nothing_tells_apart_are_left_out_and_the_rest_goes_on(files, tmp_path):
    write(files / "MgO_CHGCAR", smooth_density((4, 4, 4)))
    report = convert(files, tmp_path / "a.ecd")
    assert sorted(report.added) == IDS[1:]
    assert set(report.failed) == {str(files / "MgO_CHGCAR"), str(files / "MgO" / "CHGCAR")}
    assert all("would both be 'MgO'" in reason for reason in report.failed.values())
    twice = [files / "MgO" / "CHGCAR", files / "MgO"]
    assert convert(twice, tmp_path / "b.ecd").added == ["MgO"]


def test_files_of_one_id_keep_their_folders(tmp_path, caplog):
    rho = smooth_density((6, 5, 4))
    names = ("MgO/pbe/relax/CHGCAR", "MgO/hse/relax/CHGCAR.gz", "x/scf/Si_CHGCAR", "y/scf/Si.cube", "KCl/CHGCAR")
    for number, name in enumerate(names):
        (tmp_path / "runs" / name).parent.mkdir(parents=True, exist_ok=True)
        write(tmp_path / "runs" / name, replace(rho, values=rho.values * (1 + number)))
    report = convert(tmp_path / "runs", tmp_path / "a.ecd")
    assert report.failed == {}
    assert sorted(report.added) == ["KCl", "hse_relax", "pbe_relax", "x_scf_Si", "y_scf_Si"]
    assert "their folders go into their ids: hse_relax, pbe_relax" in caplog.text
    assert sorted(convert(tmp_path / "runs", tmp_path / "a.ecd").skipped) == sorted(report.added)
    with tarfile.open(tmp_path / "all.tar", "w") as tar:
        tar.add(tmp_path / "runs", arcname=".")
    report = convert(tmp_path / "all.tar", tmp_path / "b.ecd")
    assert sorted(report.added) == ["KCl", "hse_relax", "pbe_relax", "x_scf_Si", "y_scf_Si"]


@pytest.mark.parametrize("names", [("CHGCAR", "CHGCAR.gz"), ("Si_CHGCAR.xz", "Si_CHGCAR.bz2"), ("x.cube", "x.cube.gz")])
def test_a_file_and_its_compressed_copy_are_one(tmp_path, caplog, names):
    rho = smooth_density((6, 5, 4))
    (tmp_path / "runs").mkdir()
    write(tmp_path / "runs" / "other_CHGCAR", smooth_density((4, 4, 4)))
    for name in names:
        write(tmp_path / "runs" / name, rho)
    report = convert(tmp_path / "runs", tmp_path / "a.ecd")
    assert (len(report.added), report.failed) == (2, {})
    assert "hold the same density" in caplog.text
    results = list(check_entries(find_entries([tmp_path / "runs"])))
    assert len(results) == 2
    write(tmp_path / "runs" / names[1], replace(rho, values=2 * rho.values))
    report = convert(tmp_path / "runs", tmp_path / "b.ecd")
    assert report.added == ["other"]
    assert set(report.failed) == {str(tmp_path / "runs" / name) for name in names}
    (tmp_path / "runs" / names[1]).write_bytes((tmp_path / "runs" / names[1]).read_bytes()[:60])
    report = convert(tmp_path / "runs", tmp_path / "c.ecd")
    assert len(report.added) == 2
    assert list(report.failed) == [str(tmp_path / "runs" / names[1])]


def test_other_content_under_a_known_id_is_named_and_the_store_stays(files, tmp_path):
    convert(files, tmp_path / "a.ecd")
    before = contents(tmp_path / "a.ecd")
    write(files / "MgO" / "CHGCAR", smooth_density((4, 4, 4)))
    report = convert(files, tmp_path / "a.ecd")
    assert "other content" in report.failed[str(files / "MgO" / "CHGCAR")]
    assert contents(tmp_path / "a.ecd") == before


def test_nothing_to_convert(tmp_path):
    (tmp_path / "empty").mkdir()
    for source in (tmp_path / "empty", tmp_path / "none", str(tmp_path / "*" / "CHGCAR")):
        with pytest.raises(UsageError, match=r"no file|does not exist"):
            convert(source, tmp_path / "a.ecd")
    assert not (tmp_path / "a.ecd").exists()


def test_a_store_path_that_is_a_file_or_another_folder(files, tmp_path):
    before = (files / "MgO" / "CHGCAR").read_bytes()
    for place in (files / "MgO" / "CHGCAR", files):
        with pytest.raises(UsageError, match="give a"):
            convert(files, place)
    assert (files / "MgO" / "CHGCAR").read_bytes() == before
    assert not (files / "parts").exists()


def test_a_damaged_store_stops_a_conversion_and_stays(files, tmp_path):
    convert(files / "MgO", tmp_path / "a.ecd")
    (tmp_path / "a.ecd" / "index.parquet").write_bytes(b"junk")
    with pytest.raises(StoreError, match="damaged"):
        convert(files, tmp_path / "a.ecd")
    (tmp_path / "a.ecd" / "index.parquet").unlink()
    assert convert(files, tmp_path / "a.ecd").skipped == ["MgO"]


def test_real_files_shrink(shared, tmp_path):
    report = convert(
        [shared / "real" / "Al_atomate.CHGCAR.gz", shared / "real" / "NaMgF3_CHG.CHG.gz"], tmp_path / "a.ecd"
    )
    assert report.added == ["Al_atomate", "NaMgF3_CHG"]
    assert report.bytes_out < 0.1 * report.bytes_in
    assert report.real == []
