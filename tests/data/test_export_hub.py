"""A folder for the Hugging Face Hub: read without our code, bounded files, resumed, honest about its licence."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from ecd_data.errors import StoreError, UsageError
from ecd_data.hub import export as hub_export
from ecd_data.hub import parquet_files as hub_files
from ecd_data.hub.export import export_hub
from ecd_data.hub.parquet_files import density_of_row
from ecd_data.release import tasks
from ecd_data.store import Store, StoreWriter
from tests.conftest import smooth_density

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("release")
    for name, count in (("pbe", 8), ("hse", 3)):
        parts = tasks.set_of(name)
        with StoreWriter(root / f"{name}.ecd", bound=1e-4) as store:
            restricted = [id for id in parts["train"] if id.startswith("icsd-")][:2]
            for seed, id in enumerate(restricted + parts["train"][: count - 2] + parts["test"][:2]):
                properties = {"gap_eV": 0.5 * seed} if seed % 2 else {}
                rho = smooth_density((8, 9, 10 + seed), seed, spin=seed % 3 == 1, meta={"properties": properties})
                store.add(id, rho)
    return root


@pytest.fixture
def folder(root, tmp_path):
    export_hub(tmp_path / "hub", data_dir=str(root))
    return tmp_path / "hub"


WITHOUT_US = """
import sys, json
sys.modules["ecd_data"] = sys.modules["ecd_models"] = None
import datasets, numpy as np
datasets.disable_progress_bars()
sums = {}
for name in datasets.get_dataset_config_names(sys.argv[1]):
    for split, rows in datasets.load_dataset(sys.argv[1], name).items():
        for row in rows.with_format("numpy"):
            grid = row["density"].reshape(row["shape"])
            spin = row["magnetization"]
            electrons = grid.mean(dtype=float) * abs(np.linalg.det(row["lattice"]))
            sums[f"{name}/{split}/{row['id']}"] = [
                float(grid[1, 2, 3]), electrons, float(row["nelect"]), None if spin is None else float(spin[-1]),
                len(row["payload"]), row["numbers"].tolist(), row["frac_coords"].tolist(),
            ]
first = next(iter(datasets.load_dataset(sys.argv[1], "hse", split="test", streaming=True)))
print(json.dumps([sums, len(first["density"])]))
"""


def without_us(code, folder, tmp_path):
    env = {**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", code, str(folder)]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_plain_datasets_reads_it_without_our_code(root, folder, tmp_path):
    code = WITHOUT_US + BLOCK.findall((folder / "README.md").read_text())[0].replace("path/of/this/folder", str(folder))
    lines = without_us(code, folder, tmp_path).splitlines()
    found, streamed = json.loads(lines[0])
    assert lines[1:], "the card's example prints"
    expected = {}
    for name in ("pbe", "hse"):
        store, parts = Store(root / f"{name}.ecd"), tasks.set_of(name)
        for id in store:
            expected[f"{name}/{'train' if id in parts['train'] else 'test'}/{id}"] = store[id], store.row(id)
    assert set(found) == set(expected)
    for key, (value, electrons, nelect, spin, size, numbers, frac_coords) in found.items():
        rho, row = expected[key]
        assert value == np.float32(rho.values[1, 2, 3])
        assert electrons == pytest.approx(rho.nelect, rel=1e-6)
        assert nelect == row["nelect"]
        assert spin == (None if rho.magnetization is None else np.float32(rho.magnetization[-1, -1, -1]))
        assert size == row["length"]
        assert numbers == rho.numbers.tolist()
        assert np.allclose(frac_coords, rho.frac_coords, rtol=1e-6)
    assert streamed in {rho.values.size for rho, _ in expected.values()}


def tables(folder, name):
    return [pq.read_table(path) for path in sorted((folder / "data" / name).glob("*.parquet"))]


def test_the_payload_gives_the_density_back(root, folder):
    store = Store(root / "pbe.ecd")
    rows = [row for table in tables(folder, "pbe") for row in table.to_pylist()]
    assert sorted(row["id"] for row in rows) == sorted(store.ids)
    for row in rows:
        rho, stored = density_of_row(row), store[row["id"]]
        assert np.array_equal(rho.values, stored.values)
        assert (rho.magnetization is None) == (stored.magnetization is None)
        assert row["gap_eV"] == stored.meta["properties"].get("gap_eV")
    with pytest.raises(StoreError, match="altered"):
        density_of_row(rows[0] | {"payload": rows[1]["payload"]})


def test_bytes_alone(root, tmp_path):
    export_hub(tmp_path / "hub", data_dir=str(root), decoded="none")
    table = tables(tmp_path / "hub", "hse")[0]
    assert {"payload", "sha256"} <= set(table.column_names)
    assert not {"density", "magnetization"} & set(table.column_names)
    assert "reshape" not in (tmp_path / "hub/README.md").read_text()


def test_files_are_bounded(root, tmp_path, monkeypatch):
    monkeypatch.setattr(hub_files, "GROUP_BYTES", 8000)
    monkeypatch.setattr(hub_export, "MB", 12000)
    export_hub(tmp_path / "hub", data_dir=str(root), shard_mb=1)
    sizes = {path.name: pq.read_table(path).nbytes for path in (tmp_path / "hub/data/pbe").iterdir()}
    assert len(sizes) > 4
    assert sorted(sizes)[0].endswith(f"-of-{sum(n.startswith('test') for n in sizes):05d}.parquet")
    assert max(sizes.values()) < 16000
    ids = [id for table in tables(tmp_path / "hub", "pbe") for id in table["id"].to_pylist()]
    assert sorted(ids) == sorted(Store(root / "pbe.ecd").ids)


def test_a_second_call_continues(root, folder, tmp_path):
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*.parquet")}
    lost = next(iter(before))
    lost.unlink()
    (lost.parent / f".{lost.name}").write_bytes(b"half")
    again = export_hub(folder, data_dir=str(root))
    assert (again.written, again.skipped) == (1, len(before) - 1)
    assert lost.read_bytes() == before[lost][1]
    assert all(path.stat().st_mtime_ns == time for path, (time, _) in before.items() if path != lost)
    assert not list(folder.rglob(".*"))


@pytest.mark.slow
def test_processes_write_the_same(root, folder, tmp_path):
    export_hub(tmp_path / "other", data_dir=str(root), workers=2)
    for path in folder.rglob("*.parquet"):
        assert (tmp_path / "other" / path.relative_to(folder)).read_bytes() == path.read_bytes()


def test_other_exports_are_not_overwritten(root, folder, tmp_path):
    with pytest.raises(UsageError, match="of another export"):
        export_hub(folder, data_dir=str(root), limit=1)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        export_hub(tmp_path / "file", data_dir=str(root))
    changed = (folder / "README.md").read_text() + "mine\n"
    (folder / "README.md").write_text(changed)
    export_hub(folder, data_dir=str(root))
    assert (folder / "README.md").read_text() == changed


def front_matter(folder):
    return yaml.safe_load((folder / "README.md").read_text().split("---\n")[1])


def test_subsets_and_splits(root, tmp_path):
    options = {"configurations": ["hse", "ecd_pbe_hse_strict"], "data_dir": str(root)}
    done = export_hub(tmp_path / "hub", splits=["test"], limit=1, **options)
    assert done.crystals == {"hse": 1, "ecd_pbe_hse_strict": 1}
    matter = front_matter(tmp_path / "hub")
    assert [config["config_name"] for config in matter["configs"]] == ["hse", "ecd_pbe_hse_strict"]
    assert [file["split"] for config in matter["configs"] for file in config["data_files"]] == ["test", "test"]


def test_an_export_that_was_made_again_is_read_anew(tmp_path):
    """`datasets` must not take the former rows of the same folder from its cache."""
    datasets = pytest.importorskip("datasets")
    for seed in (1, 2):
        shutil.rmtree(tmp_path / "hub", ignore_errors=True)
        shutil.rmtree(tmp_path / "my.ecd", ignore_errors=True)
        with StoreWriter(tmp_path / "my.ecd") as store:
            store.add("a", smooth_density((4, 5, 6), seed))
        export_hub(tmp_path / "hub", store=tmp_path / "my.ecd")
        row = datasets.load_dataset(str(tmp_path / "hub"), split="train", cache_dir=str(tmp_path / "cache"))[0]
        assert row["sha256"] == Store(tmp_path / "my.ecd").row("a")["sha256"]


def test_the_licence_is_honest(root, folder, tmp_path):
    matter, text = front_matter(folder), (folder / "README.md").read_text()
    ids = [id for name in ("pbe", "hse") for id in Store(root / f"{name}.ecd").ids]
    restricted = sum(id.startswith("icsd-") for id in ids)
    assert 0 < restricted
    assert (matter["license"], matter["license_name"]) == ("other", "not-stated")
    assert f"{restricted:,} of the {len(ids):,} crystals here have ids of the ICSD" in text
    free = export_hub(tmp_path / "free", data_dir=str(root), exclude=["icsd-*"])
    assert free.restricted == 0
    assert sum(free.crystals.values()) == len(ids) - restricted


def test_the_sample_is_ours_to_give(tmp_path, monkeypatch):
    monkeypatch.delenv("ECD_ROOT", raising=False)
    export_hub(tmp_path / "hub", configurations=["pbe"], limit=1)
    assert front_matter(tmp_path / "hub")["license"] == "mit"


def test_a_store_of_one_s_own(root, tmp_path):
    done = export_hub(tmp_path / "hub", store=root / "hse.ecd", license="cc-by-4.0")
    assert done.crystals == {"hse": 5}
    assert front_matter(tmp_path / "hub")["license"] == "cc-by-4.0"
    assert "As stated by who made this folder: cc-by-4.0" in (tmp_path / "hub/README.md").read_text()
    assert json.loads((tmp_path / "hub/croissant.json").read_text())["license"] == "cc-by-4.0"


def test_a_store_of_one_s_own_is_divided_by_its_split_file_or_a_warning_says_that_it_is_not(root, tmp_path, caplog):
    store = Store(root / "hse.ecd")
    split = {"train": store.ids[:2], "validation": store.ids[2:3], "test": store.ids[3:]}
    (tmp_path / "split.json").write_text(json.dumps(split))
    done = export_hub(tmp_path / "hub", store=root / "hse.ecd", split_file=tmp_path / "split.json")
    assert (done.crystals, caplog.text) == ({"hse": 5}, "")
    for part, ids in split.items():
        assert pq.read_table(next(tmp_path.glob(f"hub/data/hse/{part}-*")), columns=["id"])["id"].to_pylist() == ids
    export_hub(tmp_path / "all", store=root / "hse.ecd")
    assert "exported as the split train" in caplog.text
    with pytest.raises(UsageError, match="have their own splits"):
        export_hub(tmp_path / "hub", data_dir=str(root), split_file=tmp_path / "split.json")


def test_properties_that_are_called_like_a_column_keep_their_values(tmp_path):
    properties = {"density": 1.5, "payload": 2, "split": 3.5, "energy_eV": -4.0}
    with StoreWriter(tmp_path / "my.ecd") as store:
        store.add("a", smooth_density((4, 5, 6), meta={"properties": properties}))
    export_hub(tmp_path / "hub", store=tmp_path / "my.ecd")
    rows = pq.read_table(next(tmp_path.glob("hub/data/my/*.parquet")), partitioning=None).to_pylist()
    assert [rows[0][name] for name in ("property_density", "property_payload", "split", "energy_eV")] == [
        1.5,
        2,
        3.5,
        -4,
    ]
    assert len(rows[0]["density"]) == 4 * 5 * 6
    assert density_of_row(rows[0]).meta["properties"] == properties


def test_croissant_describes_the_files(folder):
    described = json.loads((folder / "croissant.json").read_text())
    files = {d["contentUrl"]: d for d in described["distribution"] if d["@type"] == "cr:FileObject"}
    sets = {d["@id"]: d["includes"] for d in described["distribution"] if d["@type"] == "cr:FileSet"}
    assert set(files) == {path.relative_to(folder).as_posix() for path in folder.rglob("*.parquet")}
    for name, file in files.items():
        assert file["sha256"] == hashlib.sha256((folder / name).read_bytes()).hexdigest()
    for records in described["recordSet"]:
        source = records["field"][0]["source"]["fileSet"]["@id"]
        path = next(folder.glob(sets[source]))
        assert [field["source"]["extract"]["column"] for field in records["field"]] == pq.read_schema(path).names
        grid = next(field for field in records["field"] if field["name"] == "density")
        assert (grid["dataType"], grid["repeated"]) == ("sc:Float", True)


def test_wrong_use_is_told(root, tmp_path, monkeypatch):
    monkeypatch.setenv("ECD_ROOT", str(tmp_path / "nothing"))
    with pytest.raises(UsageError, match="no store of pbe"):
        export_hub(tmp_path / "hub")
    with pytest.raises(UsageError, match="export pbe"):
        export_hub(tmp_path / "hub", configurations=["probes-pbe"])
    with pytest.raises(UsageError, match="not both"):
        export_hub(tmp_path / "hub", configurations=["pbe"], store=root / "pbe.ecd")
    with pytest.raises(UsageError, match="'float16'"):
        export_hub(tmp_path / "hub", data_dir=str(root), decoded="float16")
    with pytest.raises(UsageError, match="no split"):
        export_hub(tmp_path / "hub", data_dir=str(root), splits=["tests"])
    with pytest.raises(UsageError, match="no crystal of pbe is left"):
        export_hub(tmp_path / "hub", data_dir=str(root), exclude=["*"])
    monkeypatch.setattr(hub_export.shutil, "disk_usage", lambda path: type("usage", (), {"free": 10}))
    with pytest.raises(UsageError, match="--decoded none writes"):
        export_hub(tmp_path / "hub", data_dir=str(root))


def test_a_damaged_part_is_named(root, tmp_path):
    with StoreWriter(tmp_path / "some.ecd") as writer:
        writer.add("one", smooth_density())
    part = next((tmp_path / "some.ecd/parts").iterdir())
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    with pytest.raises(StoreError, match=r"one: the part .* is cut or altered"):
        export_hub(tmp_path / "hub", store=tmp_path / "some.ecd")
    assert not list((tmp_path / "hub").rglob("*.parquet"))


def test_the_verb_says_what_it_did(root, tmp_path, capsys):
    from ecd_models.cli import _run

    assert _run(["export-hub", str(tmp_path / "hub"), "--data", str(root), "--config", "hse", "--quiet"]) == 0
    told = capsys.readouterr()
    assert "hse 5; 2 files written" in told.out
    assert "--exclude 'icsd-*'" in told.err
    assert _run(["export-hub", str(tmp_path / "hub"), "--data", str(root), "--config", "hsee"]) == 2
