"""Conversion: which files, under which ids, what becomes of bad ones, and going on after a stop."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ecd_data import Store, check, convert, read, write
from ecd_data.checks.verdicts import check_entries, find_entries
from ecd_data.conversion.sources import default_id, find_sources
from ecd_data.errors import StoreError, UsageError
from tests.conftest import smooth_density


@pytest.fixture
def files(tmp_path) -> Path:
    """A folder of CHGCARs as people have them."""
    root = tmp_path / "runs"
    for i, name in enumerate(["MgO/CHGCAR", "deep/er/NaCl/CHGCAR.gz", "CHGCAR_mp-1.vasp", "mp-2.CHGCAR.xz"]):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        write(
            root / name, smooth_density((6, 5, 4), seed=i, augmentation=("\naugmentation occupancies 1 2\n 0.1 0.2\n",))
        )
    (root / "MgO" / "OUTCAR").write_text("not a density")
    return root


IDS = ["MgO", "NaCl", "mp-1", "mp-2"]


def contents(path: Path) -> dict[str, tuple]:
    store = Store(path)
    return {id: (store.row(id)["sha256"], store.row(id)["source_sha256"]) for id in sorted(store)}


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


def test_ctrl_c_keeps_what_was_done_and_a_rerun_continues(files, tmp_path, monkeypatch):
    import ecd_data.conversion.convert_files as module

    calls = []

    def interrupted(file, unit=None):
        calls.append(file)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return read(file)

    monkeypatch.setattr(module, "read_run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        convert(files, tmp_path / "a.ecd")
    assert len(Store(tmp_path / "a.ecd")) == 2
    report = convert(files, tmp_path / "a.ecd")
    assert (len(report.skipped), len(report.added)) == (2, 2)
    convert(files, tmp_path / "whole.ecd")
    assert contents(tmp_path / "a.ecd") == contents(tmp_path / "whole.ecd")


CONVERT = "import sys; from ecd_data import convert; convert(sys.argv[1], sys.argv[2], workers=int(sys.argv[3]))"


@pytest.fixture
def many(tmp_path) -> Path:
    for i in range(24):
        write(
            tmp_path / "many" / f"{i:02d}_CHGCAR" if i else _made(tmp_path / "many"), smooth_density((8, 9, 7), seed=i)
        )
    return tmp_path / "many"


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder / "00_CHGCAR"


def written(store: Path) -> int:
    """How many crystals are in a store or its part under way."""
    journals = [p.read_bytes().count(b"\n") for p in (store / "parts").glob(".part-*.jsonl")]
    return sum(journals) + (len(Store(store)) if (store / "index.parquet").exists() else 0)


def stopped_at_random(many: Path, store: Path, stop: int, workers: int, wait: float) -> bool:
    """Whether a conversion was ended by a signal `wait` seconds after it wrote something; the store must be sound."""
    before = written(store)
    command = [sys.executable, "-c", CONVERT, str(many), str(store), str(workers)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while process.poll() is None and written(store) <= before:
        time.sleep(0.001)
    time.sleep(wait)
    process.send_signal(stop)
    ended = process.wait() != 0
    if (store / "index.parquet").exists():
        assert all(Store(store)[id].shape == (8, 9, 7) for id in Store(store))
    return ended


@pytest.mark.parametrize(("stop", "workers"), [(signal.SIGKILL, 2), (signal.SIGINT, 1)])
def test_a_stop_at_any_moment_leaves_a_store_that_a_rerun_completes(many, tmp_path, stop, workers):
    convert(many, tmp_path / "whole.ecd")
    rng = np.random.default_rng([stop, workers])
    assert stopped_at_random(many, tmp_path / "a.ecd", stop, workers, rng.random() * 0.03)
    convert(many, tmp_path / "a.ecd")
    assert contents(tmp_path / "a.ecd") == contents(tmp_path / "whole.ecd")
    assert [p.name for p in (tmp_path / "a.ecd").rglob(".*")] == []


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_many_kills_lose_nothing_that_was_written(many, tmp_path, workers):
    """Each run is killed after a random time and none may have fewer crystals than the one before."""
    convert(many, tmp_path / "whole.ecd")
    rng = np.random.default_rng(workers)
    kept, kills = 0, 0
    while kept < 24:
        kills += stopped_at_random(many, tmp_path / "a.ecd", signal.SIGKILL, workers, rng.random() * 0.1)
        assert written(tmp_path / "a.ecd") > kept
        kept = written(tmp_path / "a.ecd")
    assert kills >= 2
    convert(many, tmp_path / "a.ecd")
    assert contents(tmp_path / "a.ecd") == contents(tmp_path / "whole.ecd")


def test_a_full_disk_is_one_sentence_and_a_rerun_continues(many, tmp_path):
    """On a real file system of 40 kB, where the system lets us mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no right to mount a small disk")
    try:
        command = [sys.executable, "-m", "ecd_models.cli", "convert", "-q", str(many), str(disk / "a.ecd")]
        full = subprocess.run([*command[:4], "--bound", "1e-7", *command[4:]], capture_output=True, text=True)
        assert full.returncode == 1
        assert "free some space" in full.stderr
        assert "Traceback" not in full.stderr
        subprocess.run(["mount", "-o", "remount,size=9m", str(disk)], check=True)
        convert(many, disk / "a.ecd")
        assert len(Store(disk / "a.ecd")) == 24
    finally:
        subprocess.run(["umount", str(disk)], check=True)


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


def bytes_of(path: Path) -> dict[str, bytes]:
    """Every file that readers of a store see."""
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file() and p.suffix != ".jsonl"}


def test_the_store_does_not_depend_on_the_number_of_workers(many, tmp_path, monkeypatch):
    """Bytes and order included, with a bad file among the good and parts that fill up."""
    monkeypatch.setattr("ecd_data.store.writer.PART_SIZE", 10)
    (many / "05b_CHGCAR").write_text("bad")
    one, three = convert(many, tmp_path / "1.ecd"), convert(many, tmp_path / "3.ecd", workers=3)
    assert list(one.failed) == list(three.failed) == [str(many / "05b_CHGCAR")]
    assert one.added == three.added
    assert bytes_of(tmp_path / "1.ecd") == bytes_of(tmp_path / "3.ecd")


def test_the_store_does_not_depend_on_a_dask_cluster(files, tmp_path, monkeypatch):
    pytest.importorskip("dask.distributed", reason="pip install 'ecd-data[cluster]'")
    from ecd_data.work.process_pool import connect_cluster

    monkeypatch.chdir(files)
    convert(".", tmp_path / "1.ecd")
    with connect_cluster("local", 1) as cluster:
        report = convert(".", tmp_path / "dask.ecd", cluster=cluster)
    assert len(report.added) == 4
    assert bytes_of(tmp_path / "1.ecd") == bytes_of(tmp_path / "dask.ecd")


def test_no_scheduler_is_one_sentence():
    pytest.importorskip("dask.distributed", reason="pip install 'ecd-data[cluster]'")
    from ecd_data.work.process_pool import connect_cluster

    with pytest.raises(UsageError, match="no Dask scheduler answers at nonsense"), connect_cluster("nonsense", 1):
        pass


def test_a_job_that_ends_its_process_is_lost_alone():
    from ecd_data.work.process_pool import LostJob, run_jobs

    jobs = ["0", "1", "__import__('os').kill(__import__('os').getpid(), 9)", "3"]  # as the system kills for memory
    results = list(run_jobs(eval, jobs, workers=2))
    assert [job for job, _ in results] == jobs
    assert [r for _, r in results if not isinstance(r, LostJob)] == [0, 1, 3]
    assert isinstance(results[2][1], LostJob)


def test_what_is_under_way_does_not_grow_with_the_number_of_jobs():
    from concurrent.futures import ThreadPoolExecutor

    from ecd_data.work.process_pool import run_in_order

    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield taken

    with ThreadPoolExecutor(2) as threads:
        results = run_in_order(lambda: threads, float, endless(), 5, lambda: False)
        for number in range(1, 50):
            assert next(results) == (number, number)
            assert taken <= number + 5
        results.close()


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


def test_lists_of_paths_with_and_without_ids(files, tmp_path, monkeypatch):
    (tmp_path / "list").write_text(f"# runs\n{files}/MgO/CHGCAR\n\n{files}/CHGCAR_mp-1.vasp\tthe first\n")
    report = convert(f"@{tmp_path}/list", tmp_path / "a.ecd")
    assert report.added == ["MgO", "the first"]
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


def test_an_archive_without_densities(tmp_path):
    (tmp_path / "notes").write_text("nothing")
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "notes")
    report = convert(tmp_path / "x.tar.gz", tmp_path / "a.ecd")
    assert "holds no density" in report.failed[str(tmp_path / "x.tar.gz")]


def test_the_journal_names_failures_and_spares_reading_again(files, tmp_path, monkeypatch):
    (files / "cut_CHGCAR").write_text("cut")
    report = convert(files, tmp_path / "a.ecd")
    lines = [json.loads(line) for line in (tmp_path / "a.ecd" / "conversion.jsonl").read_text().splitlines()]
    assert {key: reason for line in lines for key, reason in line["failed"].items()} == report.failed
    assert sorted(id for line in lines for id in line["ids"]) == IDS
    read_again = []
    monkeypatch.setattr(
        "ecd_data.conversion.convert_files._convert_file", lambda job: read_again.append(job.source.id) or iter(())
    )
    convert(files, tmp_path / "a.ecd")
    assert read_again == ["cut"]
    monkeypatch.undo()
    write(files / "cut_CHGCAR", smooth_density((4, 4, 4)))
    assert convert(files, tmp_path / "a.ecd").added == ["cut"]
    os.utime(files / "MgO" / "CHGCAR")
    assert len(convert(files, tmp_path / "a.ecd").skipped) == 5
    with open(tmp_path / "a.ecd" / "conversion.jsonl", "a") as journal:
        journal.write('{"file": "cu')
    assert len(convert(files, tmp_path / "a.ecd").skipped) == 5


def test_flags_of_the_check_and_settings_beside_land_in_the_index(tmp_path):
    rho = smooth_density((6, 5, 4))
    write(tmp_path / "good_CHGCAR", rho)
    write(tmp_path / "bad_CHGCAR", replace(rho, values=rho.values - 0.9 * rho.values.mean()))
    convert([tmp_path / "good_CHGCAR", tmp_path / "bad_CHGCAR"], tmp_path / "a.ecd")
    flags = Store(tmp_path / "a.ecd").index.set_index("id")["flags"]
    report = check(read(tmp_path / "bad_CHGCAR"))
    assert "negative-charge" in flags["bad"]
    assert set(flags["bad"]) == {*report.flags, *(problem.name for problem in report.problems)}
    assert "negative-charge" in Store(tmp_path / "a.ecd")["bad"].meta["problems"]
    report = check(read(tmp_path / "good_CHGCAR"))
    assert set(flags["good"]) == {*report.flags, *(problem.name for problem in report.problems)}


def test_a_part_that_was_complete_but_not_in_the_index_is_taken_up(many, tmp_path, monkeypatch):
    """As after a kill between the two."""
    import ecd_data.store.writer as module

    monkeypatch.setattr(module, "save_index", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        convert(many, tmp_path / "a.ecd")
    monkeypatch.undo()
    assert [p.name for p in (tmp_path / "a.ecd" / "parts").glob("part-*")] == ["part-00000.zarr.zip"]
    report = convert(many, tmp_path / "a.ecd")
    assert (len(report.skipped), report.added) == (24, [])
    convert(many, tmp_path / "whole.ecd")
    assert bytes_of(tmp_path / "a.ecd") == bytes_of(tmp_path / "whole.ecd")
