"""The leaderboard: each entry of the package is checked, faults of an entry are named, the page is safe."""

from __future__ import annotations

import datetime
import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from ecd_data.errors import EcdError, FormatError, UsageError
from ecd_data.io.file_bytes import hash_file
from ecd_models import cli, evaluate, load_model
from ecd_models.evaluation.paper import read_paper
from ecd_models.evaluation.results import Results, read_results, write_results
from ecd_models.leaderboard import entry as schema
from ecd_models.leaderboard.board import ENTRIES, make_tables, read_board, render_board, render_board_as_markdown
from ecd_models.leaderboard.checks import check_entry, read_checked
from ecd_models.leaderboard.entry import read_entry
from ecd_models.report.shipped import STORED
from ecd_models.weights.catalogue import PRETRAINED

PATHS = sorted(ENTRIES.glob("*.yaml"))
MODEL = "pair_density"


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_each_entry_of_the_package_passes(path):
    entry, results = read_checked(path)
    assert (entry.kind == "measured") == bool(results)
    if entry.kind == "measured" and (PRETRAINED / entry.checkpoint.name).exists():
        assert hash_file(PRETRAINED / entry.checkpoint.name) == entry.checkpoint.sha256


def test_every_results_file_of_the_package_belongs_to_an_entry():
    named = {one.file for path in PATHS for one in read_entry(path).results}
    assert named == {path.name for path in (ENTRIES.parent / "results").iterdir()}


def test_the_paper_s_numbers_are_entries():
    reported = {(one.task, one.eps_mae_percent) for path in PATHS for one in read_entry(path).reported}
    for _, task, _, error, *_ in read_paper()["table2"]["rows"]:
        assert (task or None, error) in reported


def test_the_board_is_ranked_and_marks_what_is_reported():
    rows = read_board()
    for origin in ("release", "sample", "other"):
        for table in make_tables(rows, origin):
            means = [row[1].value for row in table.rows if row[1].value is not None]
            assert means == sorted(means)
    text = render_board_as_markdown(rows)
    assert "| ChargE3Net (ECD paper) | 0.685 ± 0.03 |" in text
    assert "reported: ECD paper, Table 2" in text


@pytest.fixture(scope="module")
def results() -> Results:
    """The results of a model that ships."""
    return read_results(STORED / f"{MODEL}_test_geometries.json.gz")


@pytest.fixture
def mine(results, tmp_path, monkeypatch) -> Path:
    """A valid entry with its results, as the commands make it."""
    write_results(results, tmp_path / "r.json")
    monkeypatch.chdir(tmp_path)
    checkpoint = str(PRETRAINED / f"{MODEL}.safetensors")
    assert cli._run(["submit", "r.json", "-o", "mine.yaml", "--checkpoint", checkpoint]) == 0
    return tmp_path / "mine.yaml"


def fill_in(path: Path, **changes: object) -> None:
    record = yaml.safe_load(path.read_text())
    record["idea"], record["authors"] = "an idea", [{"name": "somebody"}]
    record["code"]["licence"] = record["checkpoint"]["licence"] = "MIT"
    record["hardware"]["training"] = "one core"
    for key, value in changes.items():
        part, _, name = key.rpartition("__")
        target = record[part] if part else record
        target[name] = value
    path.write_text(yaml.safe_dump(record))


def test_a_new_entry_is_refused_until_it_is_filled_in(mine, capsys):
    assert cli._run(["submit", "mine.yaml"]) == 1
    assert "idea" in capsys.readouterr().err
    fill_in(mine)
    assert cli._run(["submit", "mine.yaml"]) == 0
    assert "is ready" in capsys.readouterr().out
    text = render_board(read_board(mine.parent))
    assert "an idea" in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": ""}, "model"),
        ({"extra": 1}, "extra"),
        ({"kind": "reported"}, "reported"),
        ({"code__url": "javascript:alert(1)"}, "code.url"),
        ({"hardware__memory_GB": None}, "memory_GB"),
        ({"checkpoint": None}, "checkpoint"),
        ({"results": [{"file": "../../etc/passwd", "sha256": "0" * 64, "size": 3}]}, "results.0.file"),
        ({"weights": "many"}, "weights has to be a valid integer.*not 'many'"),
        ({"notes": "x" * 301, "extra": 1, "model": ""}, "notes .*extra is no key|model .*extra is no key"),
    ],
)
def test_what_the_schema_refuses_is_named(changes, message, mine):
    fill_in(mine, **changes)
    with pytest.raises(FormatError, match=message):
        read_entry(mine)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"checkpoint__sha256": "0" * 64}, "its model card has another SHA-256"),
        ({"hardware__memory_GB": 0.001}, "state at least that"),
        ({"hardware__points_per_second": 1e12}, "state that"),
        ({"results": [{"file": "r.json", "sha256": "0" * 64, "size": 7}]}, "bytes, the entry says 7"),
        ({"results": [{"file": "none.json", "sha256": "0" * 64, "size": 7}]}, "is neither beside"),
    ],
)
def test_what_the_results_contradict_is_named(changes, message, mine, capsys):
    fill_in(mine, **changes)
    assert cli._run(["submit", "mine.yaml"]) == 1
    assert message in capsys.readouterr().out
    with pytest.raises(EcdError, match=message):
        read_checked(mine)


def test_a_day_to_come_is_named(mine):
    fill_in(mine, date=datetime.date(2999, 1, 1))
    assert [check.fault for check in check_entry(mine)[2] if check.fault] == [
        "it says 2999-01-01: write the day of writing"
    ]


def test_two_results_of_one_part_begin_no_entry(mine, capsys):
    Path("again.json").write_bytes(Path("r.json").read_bytes())
    assert cli._run(["submit", "r.json", "again.json", "-o", "two.yaml"]) == 2
    assert "two results files are of pbe test_geometries" in capsys.readouterr().err


def test_two_entries_of_one_name_are_refused(mine):
    fill_in(mine)
    mine.with_name("other.yaml").write_text(mine.read_text())
    with pytest.raises(EcdError, match=r"other\.yaml: another entry is of a model"):
        read_board(mine.parent)


def test_the_board_has_the_atoms_that_a_network_has_to_beat():
    for table in make_tables(read_board(), "sample"):
        assert table.rows[-1][0].text == "superposed atoms, fitted"
        means = [row[1].value for row in table.rows]
        assert means[-1] > min(means[:-1])


def test_a_publication_s_percentiles_are_shown():
    (table,) = (table for table in make_tables(read_board(), "other") if "electrai" in table.title)
    assert [cell.text for cell in table.rows[0]][1:6] == ["0.481", "–", "0.379", "0.890", "1.830"]


def test_a_results_file_that_was_edited_is_named(mine):
    fill_in(mine)
    record = json.loads(Path("r.json").read_text())
    record["summary"]["mean_percent"] = 0.001
    text = json.dumps(record, indent=1)
    Path("r.json").write_text(text)
    fill_in(mine, results=[{"file": "r.json", "sha256": hash_file(Path("r.json")), "size": len(text.encode())}])
    faults = [check for check in check_entry(mine)[2] if check.fault]
    assert "was changed after it was written" in faults[0].fault


def test_crystals_that_trained_the_model_are_named(small_root, tmp_path, mine):
    result = evaluate(load_model(MODEL), "pbe", part="train", data_dir=str(small_root)).results
    write_results(result.model_copy(update={"data_origin": "sample"}), "r.json")
    size = Path("r.json").stat().st_size
    fill_in(mine, results=[{"file": "r.json", "sha256": hash_file(Path("r.json")), "size": size}])
    assert any("trained it: test it on others" in check.fault for check in check_entry(mine)[2])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &x [1]\nb: *x\n", "aliases"),
        ("[1, 2", "no YAML"),
        ("just text", "no entry"),
        ("!!python/object/apply:os.system ['true']", "no YAML"),
        ("a" * 300_000, "larger than an entry"),
        ("\x00", "no YAML"),
        ("model: a\nmodel: b\n", "the key model is written twice"),
        ("code: {licence: MIT, url: null, licence: GPL}\n", "the key licence is written twice"),
        ("model: a\n", "format is missing; kind is missing.*and 5 more"),
    ],
)
def test_other_files_are_no_entries(text, message, tmp_path):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(FormatError, match=message):
        read_entry(tmp_path / "x.yaml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"store_hash": "0" * 16}, "the sample has changed since"),
        ({"split_hash": "0" * 16}, "the sample has changed since"),
        ({"part": "ids"}, "without --id"),
        ({"part": "test_compositions"}, "has other crystals"),
        ({"data_origin": "release", "task": "ecd_pbe", "part": "test"}, "has other crystals"),
        ({"data_origin": "release", "task": "ecd_xyz"}, "ecd_xyz"),
    ],
)
def test_results_of_other_data_than_those_of_the_other_entries_are_named(change, message, results, mine):
    """They would be ranked with results that do not compare with them."""
    write_results(results.model_copy(update=change), "r.json")
    size = Path("r.json").stat().st_size
    fill_in(mine, results=[{"file": "r.json", "sha256": hash_file(Path("r.json")), "size": size}])
    with pytest.raises(EcdError, match=message):
        read_checked(mine)


def test_a_publication_may_name_a_task_as_the_paper_does():
    path = ENTRIES / "aiden.yaml"
    (row, *_) = [row for row in read_board() if row.entry.model == read_entry(path).model]
    assert row.reported is not None
    assert row.reported.task == "ecd_pbe"
    renamed = row.reported.model_copy(update={"task": "ECD-PBE-id"})
    assert replace(row, reported=renamed).board == row.board


def test_a_name_of_an_entry_is_shown_and_not_run(mine):
    fill_in(mine, model="<script>alert(1)</script>", idea="<img src=x onerror=alert(1)>")
    rows = read_board(mine.parent)
    text = render_board(rows)
    assert "<script>alert" not in text
    assert "<img" not in text
    assert "<script>" not in render_board_as_markdown(rows)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["submit", "none.yaml"], 2, "does not exist"),
        (["submit", "a.json"], 2, "name one entry"),
        (["submit", "a.yaml", "-o", "b.yaml"], 2, "is an entry"),
        (["submit", "a.json", "-o", "b.txt"], 2, "end in .yaml"),
        (["leaderboard", "-o", "x.pdf"], 2, "tells no format"),
        (["leaderboard", "--entries", ".", "-o", "x.md"], 2, "has no entries"),
    ],
)
def test_wrong_arguments_are_named(arguments, code, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli._run(arguments) == code
    assert message in capsys.readouterr().err


def test_the_page_of_the_package_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("x.html", "x.md"):
        assert cli._run(["leaderboard", "-o", name]) == 0
        assert "ChargE3Net (ECD paper)" in Path(name).read_text()
    with pytest.raises(UsageError, match="has no entries"):
        read_board(tmp_path)


def test_the_schema_is_printed(capsys):
    schema.main()
    printed = json.loads(capsys.readouterr().out)
    assert {"code", "checkpoint", "hardware", "training"} <= set(printed["required"])


def test_compressed_results_read_back(mine, tmp_path):
    results = read_results("r.json")
    for name in ("a.json.gz", "b.json.gz"):
        write_results(results, tmp_path / name)
    assert (tmp_path / "a.json.gz").read_bytes() == (tmp_path / "b.json.gz").read_bytes()
    assert read_results(tmp_path / "a.json.gz") == results
    (tmp_path / "a.json.gz").write_bytes((tmp_path / "b.json.gz").read_bytes()[:-40])
    with pytest.raises(FormatError, match="no JSON"):
        read_results(tmp_path / "a.json.gz")
