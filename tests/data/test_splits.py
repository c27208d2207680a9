"""The manifests under splits/ are the release's lists, and what is said about their overlaps is true."""

import gzip
import json
import shutil
from pathlib import Path

import pytest

from ecd_data.errors import EcdError, UsageError
from ecd_data.release import split_files, tasks
from ecd_data.release.formula import formula_in_id, reduce_formula
from ecd_data.release.tasks import count_leakage, find_task, load_split, set_of, summarize_split, task_names

SHARED = Path(__file__).parents[3] / "shared"
OFFICIAL = SHARED / "ecd" / "official"
needs_lists = pytest.mark.skipif(not OFFICIAL.is_dir(), reason="the release's own lists are not at hand")

SIZES = {
    "ecd_pbe": (138134, 512, 2000),
    "ecd_mp": (0, 0, 2000),
    "ecd_hse": (5647, 500, 1000),
    "ecd_pbe_hse": (0, 0, 1000),
    "ecd_pbe_hse_tuning": (5647, 500, 1000),
    "exp": (0, 0, 54),
    "ood": (0, 0, 1996),
}
PAPER_NAMES = {
    "ECD-PBE-id": "ecd_pbe",
    "ECD-MP-id": "ecd_mp",
    "ECD-HSE-id": "ecd_hse",
    "ECD-PBE_HSE-id": "ecd_pbe_hse",
    "ECD-PBE_HSE_tuning-id": "ecd_pbe_hse_tuning",
    "EXP-id": "exp",
    "OOD-id": "ood",
}


def sizes(split):
    return tuple(len(split[part]) for part in ("train", "validation", "test"))


def test_the_seven_tasks():
    assert task_names() == list(SIZES)


@pytest.mark.parametrize("task", SIZES)
def test_sizes_are_the_release_s(task):
    split = load_split(task)
    assert list(split) == ["train", "validation", "test"]
    assert sizes(split) == SIZES[task] == find_task(task).sizes
    assert tuple(summarize_split(task).sizes.values()) == SIZES[task]


@pytest.mark.parametrize("task", SIZES)
def test_parts_are_disjoint_sorted_and_without_file_endings(task):
    split = load_split(task)
    everything = [id for ids in split.values() for id in ids]
    assert len(set(everything)) == len(everything)
    assert all(ids == sorted(ids) for ids in split.values())
    assert not any(".chgcar" in id or id.endswith(".gz") for id in everything)


@pytest.mark.parametrize(("alias", "task"), PAPER_NAMES.items())
def test_the_paper_s_names_are_aliases(alias, task):
    assert find_task(alias).name == task
    assert find_task(alias.lower()).name == task
    assert load_split(alias) == load_split(task)


@pytest.mark.parametrize(("asked", "near"), [("hse", "ecd_hse"), ("ecd_hsse", "ecd_hse"), ("ECD-PBE-idd", "ecd_pbe")])
def test_an_unknown_task_suggests_near_names(asked, near):
    with pytest.raises(KeyError, match=near) as caught:
        load_split(asked)
    assert isinstance(caught.value, UsageError)
    assert str(caught.value).startswith(repr(asked))


@pytest.mark.parametrize("document", ["docs/tasks.md", "dataset_card.md"])
def test_documents_state_the_sizes_of_the_lists(document):
    text = (Path(__file__).parents[2] / document).read_text(encoding="utf-8")
    rows = [
        [cell.strip(" `") for cell in line.split("|")]
        for line in text.splitlines()
        if line[:2] == "| " and "`ecd split" in line
    ]
    stated = {row[1]: [cell for cell in row if cell == "-" or cell.replace(",", "").isdigit()][:3] for row in rows}
    for task in SIZES:
        assert stated[task] == [f"{size:,}" if size else "-" for size in SIZES[task]]
    for task in ("ecd_pbe", "ecd_hse", "ecd_pbe_hse_tuning"):
        if f"{task}_strict" in stated:
            left, official = len(load_split(f"{task}_strict")["train"]), len(load_split(task)["train"])
            assert stated[f"{task}_strict"] == [f"{left:,}", f"{official - left:,}"]


def test_sets_hold_what_the_release_lists():
    counts = {name: sum(map(len, set_of(name).values())) for name in ("pbe", "hse", "mp", "ood", "exp")}
    assert counts == {"pbe": 140646, "hse": 7147, "mp": 122689, "ood": 1996, "exp": 54}
    assert {name: entry["count"] for name, entry in split_files.read_tasks()["sets"].items()} == counts
    pbe, hse = ({id for ids in set_of(name).values() for id in ids} for name in ("pbe", "hse"))
    assert len(pbe & hse) == 7126


def test_experimental_gaps():
    rows = split_files.read_gaps()
    assert [row["id"] for row in rows] == load_split("exp")["test"]
    gaps = {row["sample_id"]: float(row["gap_exp_eV"]) for row in rows}
    assert gaps["MgO_rs"] == 7.83
    assert gaps["Si_diamond"] == 1.17


def test_the_overlap_of_the_hse_test_set_with_pretraining():
    report = count_leakage("ecd_pbe_hse")
    assert report.pretrained_on == "ecd_pbe"
    assert report.pretraining == {"train": 975, "validation": 3, "test": 19, "none": 3}
    assert report.set_train_in_pretraining_test == 69
    assert report.seen == 975
    text = str(report)
    assert "975 of 1,000 in train, 3 in validation, 19 in test, 3 in none" in text
    assert "69 train crystals of this set are test crystals of ecd_pbe" in text
    assert count_leakage("ecd_pbe_hse_tuning").pretraining == report.pretraining


def test_sets_with_names_of_their_own_claim_no_overlap_by_id():
    for task in ("ecd_mp", "ood", "exp"):
        assert "ids cannot show an overlap" in str(count_leakage(task))
    assert count_leakage("ood").same_formula is None
    assert count_leakage("exp").same_formula == 54


@pytest.mark.parametrize("task", SIZES)
def test_a_strict_twin_drops_only_from_train(task):
    official, strict = load_split(task), load_split(f"{task}_strict")
    assert strict["test"] == official["test"]
    assert strict["validation"] == official["validation"]
    assert set(strict["train"]) <= set(official["train"])
    assert bool(strict["train"]) == bool(official["train"])
    report = count_leakage(f"{task}_strict")
    assert report.seen == 0
    assert not report.same_formula
    assert report.set_train_in_pretraining_test == 0


def test_strict_train_lists_are_clean_for_every_task():
    tested = {id for task in ("ecd_pbe", "ecd_hse") for id in load_split(task)["test"]}
    formulas = {formula_in_id(id) for id in tested} | {
        reduce_formula(row["formula"]) for row in split_files.read_gaps()
    }
    for task, left in (("ecd_pbe_strict", 132102), ("ecd_hse_strict", 4839)):
        train = load_split(task)["train"]
        assert len(train) == left
        assert not tested.intersection(train)
        assert not (formulas - {None}).intersection(formula_in_id(id) for id in train)


@pytest.mark.parametrize(
    ("id", "formula"),
    [
        ("icsd-237213-Li2H4N2", "H2LiN"),
        ("cod-1000051-K1N1O3", "KNO3"),
        ("oqmd-4117303-Pm1", "Pm"),
        ("hmat_143510", None),
        ("mp-20998", None),
        ("00139449c9", None),
    ],
)
def test_formulas_in_names(id, formula):
    assert formula_in_id(id) == formula


def test_the_manifests_are_what_their_hashes_say():
    names = split_files.verify_splits()
    assert "tasks.toml" in names
    assert len([name for name in names if name.endswith(".gz")]) == 13


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(split_files.splits_folder(), tmp_path / "splits")
    yield tmp_path / "splits"
    split_files._read_sums.cache_clear()


def test_an_altered_list_is_named(copy):
    path = copy / "hse" / "test.txt.gz"
    path.write_bytes(gzip.compress(b"icsd-1-Na1Cl1\n", mtime=0))
    with pytest.raises(EcdError, match=r"hse/test.txt.gz was altered"):
        split_files.verify_splits(copy)
    with pytest.raises(EcdError, match=r"hse/test.txt.gz was altered"):
        split_files.read_manifest("hse/test.txt.gz", copy)
    path.unlink()
    with pytest.raises(EcdError, match=r"hse/test.txt.gz is missing"):
        split_files.verify_splits(copy)


def test_a_file_without_hash_is_named(copy):
    (copy / "hse" / "extra.txt").write_text("x")
    with pytest.raises(EcdError, match=r"extra.txt is not listed"):
        split_files.verify_splits(copy)


@needs_lists
def test_a_rebuild_gives_the_same_bytes(copy):
    for path in copy.rglob("*"):
        if path.suffix in (".gz", ".csv") or path.name == split_files.SUMS:
            path.unlink()
    split_files.main([str(OFFICIAL), str(copy), "--gaps", str(SHARED / "dft")])
    assert (copy / split_files.SUMS).read_bytes() == (split_files.splits_folder() / split_files.SUMS).read_bytes()


@needs_lists
@pytest.mark.parametrize("name", ["pbe", "hse", "mp"])
def test_lists_equal_the_release_s_positions(name):
    lines = gzip.decompress((OFFICIAL / f"{name}_filelist.txt.gz").read_bytes()).decode().split()
    positions = json.loads(gzip.decompress((OFFICIAL / f"{name}_split.json.gz").read_bytes()))
    ours = set_of(name)
    for part, wanted in positions.items():
        assert {lines[i].removesuffix(".chgcar") for i in wanted} == set(ours[part])


def test_the_sample_s_split(tmp_path, monkeypatch):
    path = tmp_path / "splits.json"
    parts = {"train": ["A"], "validation": [], "test": ["B"], "test_geometries": [], "test_compositions": ["B"]}
    monkeypatch.setattr(tasks, "SAMPLE_SPLIT_FILE", path)
    with pytest.raises(EcdError, match=r"reinstall ecd-data"):
        load_split("sample_pbe")
    path.write_text(json.dumps({"rule": "by hand", "pbe": parts}))
    assert load_split("sample_pbe") == parts
    with pytest.raises(EcdError, match="hse"):
        load_split("sample_hse")


@pytest.mark.skipif(not tasks.SAMPLE_SPLIT_FILE.is_file(), reason="the embedded sample is not built")
@pytest.mark.parametrize("name", ["sample_pbe", "sample_hse", "sample_ood"])
def test_the_embedded_sample_s_parts_are_disjoint(name):
    split = load_split(name)
    parts = [split[part] for part in ("train", "validation", "test")]
    assert len({id for ids in parts for id in ids}) == sum(map(len, parts))
    for whole in ("validation", "test"):
        kinds = [id for part, ids in split.items() if part.startswith(f"{whole}_") for id in ids]
        assert sorted(kinds) == sorted(split[whole])
