"""The writer: ids, locks, compaction, interruptions and full disks."""

from __future__ import annotations

import errno
import shutil
import zipfile

import pytest

from ecd_data import Store
from ecd_data.errors import StoreError, UsageError
from ecd_data.store import StoreWriter
from ecd_data.store.parts import PartWriter
from tests.conftest import smooth_density
from tests.data.store.conftest import IDS, contents, densities, one_sentence, part_of


@pytest.mark.parametrize(
    "id", ["", ".", "..", ".hidden", "a/b", "a\\b", "a\nb", "a\0b", " a", "zarr.json", "x" * 201, "\udce9", 7]
)
def test_unsafe_ids_are_refused_and_nothing_is_written(tmp_path, id):
    with StoreWriter(tmp_path / "s.ecd") as writer, pytest.raises(UsageError) as error:
        writer.add(id, smooth_density())
    one_sentence(error, "cannot be an id")
    assert len(Store(tmp_path / "s.ecd")) == 0


@pytest.mark.parametrize("id", ["mp-1", "ä b.c", "日本", "a:b%20", "density", "c", "__x"])
def test_other_ids_work_everywhere(tmp_path, id):
    with StoreWriter(tmp_path / "s.ecd") as writer:
        writer.add(id, smooth_density())
    assert Store(tmp_path / "s.ecd")[id].shape == (12, 10, 15)


def test_an_id_is_taken_once(path):
    with StoreWriter(path) as writer, pytest.raises(StoreError, match=r"MgO_rs is in .* already"):
        writer.add("MgO_rs", smooth_density())
    assert len(Store(path)) == 3


def test_bad_settings_and_places_for_a_writer(tmp_path):
    file = tmp_path / "file"
    file.write_text("x")
    for options in ({"bound": 0}, {"bound": -1e-5}, {"bound": 2}, {"bound": float("nan")}, {"pipeline": "zip"}):
        with pytest.raises(UsageError):
            StoreWriter(tmp_path / "s.ecd", **options)
    for place in (file, tmp_path, "s3://bucket/s.ecd"):
        with pytest.raises(UsageError) as error:
            StoreWriter(place)
        one_sentence(error, place)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert file.read_text() == "x"


def test_one_process_writes_at_a_time(path):
    with StoreWriter(path), pytest.raises(StoreError, match="another process writes"):
        StoreWriter(path)
    StoreWriter(path)


def test_compaction_keeps_every_byte_and_removes_what_is_not_named(path):
    before = contents(path)
    for seed in (7, 8):
        with StoreWriter(path) as writer:
            writer.add(f"more-{seed}", smooth_density(seed=seed))
        assert len(list((path / "parts").iterdir())) == 1
    after = contents(path)
    assert {id: after[id] for id in before} == before
    assert sorted(after) == sorted([*IDS, "more-7", "more-8"])
    shutil.copy(part_of(path), path / "parts" / "part-00077.zarr.zip")
    with StoreWriter(path):
        pass
    assert part_of(path).name != "part-00077.zarr.zip"
    assert contents(path) == after


def test_full_parts_stay_as_they_are(tmp_path):
    with StoreWriter(tmp_path / "s.ecd", part_size=2) as writer:
        for seed in range(5):
            writer.add(f"x{seed}", smooth_density((4, 4, 4), seed))
    counts = Store(tmp_path / "s.ecd").index["part"].value_counts()
    assert sorted(counts) == [1, 2, 2]


def test_the_same_crystals_give_the_same_bytes(path, tmp_path):
    with StoreWriter(tmp_path / "again.ecd") as writer:
        for id, rho in densities().items():
            writer.add(id, rho)
    assert part_of(tmp_path / "again.ecd").read_bytes() == part_of(path).read_bytes()


def test_a_missing_old_part_does_not_stop_new_crystals(path, caplog):
    part_of(path).unlink()
    with StoreWriter(path) as writer:
        writer.add("new", smooth_density())
    assert Store(path)["new"].shape == (12, 10, 15)
    assert "not merged" in caplog.text


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ValueError])
def test_what_was_added_before_an_interruption_is_kept(tmp_path, stop):
    def run() -> None:
        with StoreWriter(tmp_path / "s.ecd") as writer:
            writer.add("a", smooth_density())
            raise stop

    with pytest.raises(stop):
        run()
    assert Store(tmp_path / "s.ecd").ids == ["a"]


def test_an_interruption_while_a_crystal_is_written_leaves_a_sound_part(tmp_path, monkeypatch):
    whole = zipfile.ZipInfo.FileHeader

    def interrupted(self, *args):
        if self.filename.startswith("b/density/c"):
            raise KeyboardInterrupt
        return whole(self, *args)

    monkeypatch.setattr(zipfile.ZipInfo, "FileHeader", interrupted)
    with pytest.raises(KeyboardInterrupt), StoreWriter(tmp_path / "s.ecd") as writer:  # noqa: PT012
        for id in "abc":
            writer.add(id, smooth_density())
    with zipfile.ZipFile(part_of(tmp_path / "s.ecd")) as archive:
        assert {n.partition("/")[0] for n in archive.namelist()} == {"zarr.json", "a"}
        assert archive.testzip() is None


def test_a_full_disk_keeps_completed_parts_and_the_rerun_continues(tmp_path, monkeypatch):
    path = tmp_path / "s.ecd"
    close = PartWriter.close

    def full(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def run() -> None:
        with StoreWriter(path) as writer:
            for id, rho in densities().items():
                if id not in writer:
                    writer.add(id, rho)
                    writer.flush()
                    monkeypatch.setattr(PartWriter, "close", full)

    with pytest.raises(OSError, match="No space"):
        run()
    assert Store(path).ids == IDS[:1]
    assert [p.name for p in (path / "parts").glob("part-*")] == ["part-00000.zarr.zip"]
    monkeypatch.setattr(PartWriter, "close", close)
    with StoreWriter(path) as writer:
        assert len(writer) == 2  # what was written when the disk was full is there
        for id in IDS[2:]:
            writer.add(id, densities()[id])
    assert Store(path).ids == IDS
    assert len(list((path / "parts").iterdir())) == 1


def test_what_a_killed_process_leaves_is_swept(path):
    (path / "parts" / ".part-00001.zarr.zip.writing").write_bytes(b"half")
    (path / ".index.parquet-abc.writing").write_bytes(b"half")
    before = contents(path)
    with StoreWriter(path):
        pass
    assert contents(path) == before
    assert not list(path.rglob(".*"))
