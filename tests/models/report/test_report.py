"""The report: one safe HTML file that Chromium opens without errors, whose tables sort and whose figures draw."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ecd_data.errors import FormatError, UsageError
from ecd_data.release.composition import count_compositions
from ecd_models import cli, evaluate, load_model
from ecd_models.evaluation.paper import read_paper
from ecd_models.evaluation.results import Results, compute_statistics, read_results, write_results
from ecd_models.report.data_figures import collect_training_sizes, draw_share_figure, draw_time_figure
from ecd_models.report.failures import find_worst, make_failure_section
from ecd_models.report.inputs import Inputs, ScfGain, read_inputs
from ecd_models.report.page import Picture, keep_units, mark_code, number
from ecd_models.report.periodic_table import place_element
from ecd_models.report.reference_numbers import read_stored_curve, read_stored_gains, read_stored_gaps
from ecd_models.report.report import make_report, name_models
from ecd_models.report.result_tables import make_difference_table, make_error_table, make_overview
from ecd_models.report.shipped import PARTS, STORED, evaluate_shipped
from ecd_models.weights.catalogue import shipped_checkpoints
from tests.models.report.conftest import SCRIPT


def test_names_are_shown_and_not_run(page):
    text = page.read_text()
    assert SCRIPT not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert text.count("<script") == 1
    assert "default-src 'none'" in text


def test_the_page_needs_no_network(page):
    text = page.read_text()
    found = re.findall(r'(?:src|href|url)\s*[=(]\s*["\']?((?:https?:)?//[^"\')\s]+)', text)
    assert [link for link in found if "www.w3.org" not in link] == []
    assert len(text) < 3_000_000


def test_every_table_of_the_paper_is_there(page):
    text = page.read_text()
    for n in range(1, 6):
        assert f"Table {n}" in text
        assert read_paper()[f"table{n}"]["source"].startswith(f"Table {n}")
    for value in ("0.685 ± 0.03", "1.085 ± 0.03", "0.061 ± 0.016", "2.057 ± 0.07", "228.1 min", "64,024"):
        assert value in text


def test_the_composition_of_the_lists_is_that_of_the_release():
    found = count_compositions("hse")
    assert (found.crystals, found.named, len(found.elements)) == (7147, 7147, 94)
    assert found.components == {1: 398, 2: 2735, 3: 4014}
    assert max(found.sizes) == 20
    pbe = count_compositions("pbe")
    assert pbe.crystals - pbe.named == 64024
    assert count_compositions("ood").named == 0


PLACES = {
    1: (1, 1),
    2: (1, 18),
    5: (2, 13),
    26: (4, 8),
    57: (9, 3),
    72: (6, 4),
    86: (6, 18),
    103: (10, 17),
    104: (7, 4),
}


@pytest.mark.parametrize(("number", "place"), PLACES.items())
def test_elements_have_their_places(number, place):
    assert place_element(number) == place


def test_no_two_elements_share_a_place():
    places = [place_element(number) for number in range(1, 119)]
    assert len(set(places)) == 118


def test_crystals_of_one_compound_make_no_sure_difference(results, small_root):
    first = results[0].crystals[0]
    ids = [one.id for one in results[0].crystals if one.compound == first.compound][:2]
    names = ("invdeepdft-sample", "deepdft-sample")
    pair = [evaluate(load_model(name), small_root / "pbe.ecd", ids=ids).rename(name).results for name in names]
    table = make_difference_table("pbe train", pair)
    assert table is not None
    (row,) = table.rows
    assert row[-1].text == "–"
    assert not any("[" in cell.text for cell in row)


def test_a_report_without_results_has_the_paper_and_the_data():
    text = make_report(Inputs([]))
    assert "No results are given" in text
    assert "Table 5" in text


def test_files_are_told_apart_by_their_content(results, tmp_path):
    write_results(results[0], tmp_path / "a.json")
    gain = {"name": "mine", "ids": ["a", "b"], "achieved": {"mean": 0.7, "std": 0.1}}
    (tmp_path / "scf.json").write_text(json.dumps({"settings": {}, "crystals": {}, "gains": {"wall": [gain]}}))
    log = tmp_path / "log.csv"
    log.write_text(
        "step,lr,train_loss,train_error_percent,validation_error_percent,seconds\n10,1,1,5,4.5,1\n20,1,1,4,3.5,2\n"
    )
    found = read_inputs([tmp_path / "a.json", tmp_path / "scf.json", log])
    assert [one.model for one in found.results] == [results[0].model]
    assert found.gains == [ScfGain("2 of scf", "mine", 0.7, 0.1)]
    assert found.curves[0].validation == [4.5, 3.5]
    text = make_report(found, pictures=False)
    assert "Learning curves" in text
    assert "2 of scf: mine" in text


def test_logs_of_equal_folders_have_names_of_their_own(tmp_path):
    logs = [tmp_path / run / "seed-42" / "log.csv" for run in ("small", "large")]
    for log in logs:
        log.parent.mkdir(parents=True)
        log.write_text("step,validation_error_percent\n10,4.5\n")
    assert [curve.name for curve in read_inputs(logs).curves] == ["small/seed-42", "large/seed-42"]
    assert [curve.name for curve in read_inputs(logs[:1]).curves] == ["seed-42"]


def test_models_of_fewer_and_more_training_crystals_make_a_curve(results):
    def with_crystals(count: int, name: str, complete: bool = True) -> Results:
        trained = {**(results[0].model_card.trained_on or {}), "crystals": count, "complete": complete}
        card = results[0].model_card.model_copy(update={"trained_on": trained})
        return results[0].model_copy(update={"model": name, "model_card": card})

    few, many = with_crystals(20, "few"), with_crystals(40, "many")
    mean = results[0].summary.mean_percent
    (curve,) = collect_training_sizes([few, with_crystals(20, "few, other seed"), many]).values()
    assert curve == {20: pytest.approx(mean), 40: pytest.approx(mean)}
    assert collect_training_sizes([few, with_crystals(40, "unknown", complete=False)]) == {}
    other_densities = many.model_copy(update={"store_hash": "0" * 16})
    larger = many.model_card.model_copy(update={"settings": many.model_card.settings | {"cutoff": 9.0}})
    for other in (other_densities, many.model_copy(update={"model_card": larger})):
        assert collect_training_sizes([few, other]) == {}
        assert list(collect_training_sizes([few, many, other]).values()) == [{20: curve[20], 40: curve[40]}]
    fewer = other_densities.model_copy(update={"model_card": few.model_card})
    assert len(collect_training_sizes([few, many, fewer, other_densities])) == 2  # with a name for each


def test_every_report_draws_the_stored_learning_curve(results):
    curve = collect_training_sizes(read_stored_curve())["PairDensity, ood test_pairs"]
    assert len(curve) >= 2
    assert list(curve.values()) == sorted(curve.values(), reverse=True)  # more crystals, smaller errors
    assert "number of training crystals" in make_report(Inputs([results[0]]), pictures=False)


def test_the_steps_saved_are_those_of_the_page_of_scf():
    page = (Path(__file__).parents[3] / "docs" / "scf.md").read_text()
    gains = read_stored_gains()
    assert gains
    for gain in gains:
        count = gain.crystals.partition(" ")[0]
        assert f"| {gain.start} | {count} | {gain.mean:.3f} ± {gain.std:.3f} |" in page


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("x.json", "{", FormatError, "no JSON"),
        ("x.json", '{"gains": {"wall": [{}]}}', FormatError, "no JSON of `ecd scf run`"),
        ("x.json", '{"gains": []}', FormatError, "no JSON of `ecd scf run`"),
        ("x.csv", "a,b\n1,2\n", FormatError, "no log of a training"),
        ("x.csv", "", FormatError, "no log of a training"),
        ("x.json", None, UsageError, "does not exist"),
        ("x.csv", None, UsageError, "does not exist"),
    ],
)
def test_other_files_are_named(name, content, error, message, tmp_path):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(error, match=message):
        read_inputs([tmp_path / name])


def test_the_same_model_twice_is_refused(results, tmp_path):
    for name in "ab":
        write_results(results[0], tmp_path / f"{name}.json")
    with pytest.raises(UsageError, match="of one model"):
        read_inputs([tmp_path / "a.json", tmp_path / "b.json"])


def test_each_name_stands_for_one_model(results, tmp_path):
    """Of results under the name of the network, as `ecd train --evaluate` writes them, and of two long paths."""
    for name in ("charge3net", f"/home/{'long/' * 20}%s/best.safetensors"):
        changed = [
            one.model_copy(update={"model": name.replace("%s", f"seed-{k}"), "part": part})
            for k, (one, part) in enumerate(zip(results, ("train", "test_types"), strict=True))
        ]
        overview = make_overview(name_models(changed))
        assert overview is not None
        means = [f"{one.summary.mean_percent:.2f}" for one in results]
        assert [[cell.text for cell in row[1:]] for row in overview.rows] == [[means[0], "–"], ["–", means[1]]]
    for k, one in enumerate(results):
        write_results(one.model_copy(update={"model": "charge3net"}), tmp_path / f"{k}.json")
    assert len(read_inputs([tmp_path / "0.json", tmp_path / "1.json"]).results) == 2


def test_the_command_writes_a_page(results, tmp_path, capsys):
    write_results(results[0], tmp_path / "a.json")
    page = tmp_path / "r.html"
    assert cli._run(["report", str(tmp_path / "a.json"), "-o", str(page), "--no-pictures"]) == 0
    assert page.read_text().startswith("<!doctype html>")
    assert "report:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "x.docx"], "tells no format of a page"),
        (["nothing.json", "-o", "x.html"], "does not exist"),
        (["a.json", "--results", "r", "-o", "x.html"], "--results is for the shipped models"),
        (["-o", "nowhere/x.html"], "does not exist"),
    ],
)
def test_wrong_arguments_are_named(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli._run(["report", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_gaps_beside_the_paper_are_those_of_the_page_on_self_consistency():
    page = (Path(__file__).parents[3] / "docs" / "scf.md").read_text()
    for one in read_stored_gaps():
        assert f"| {one.method} | {one.crystals} | {one.mean_error:.2f} |" in page


def test_networks_that_were_trained_on_shares_have_lines_of_their_own(results):
    shares = [
        one.model_copy(update={"model_card": one.model_card.model_copy(update={"training": {"fraction": share}})})
        for one, share in zip(results, (0.25, 0.5), strict=True)
    ]
    svg = draw_share_figure(shares).svg
    assert all(f"{one.model_card.network}, {one.task} {one.part}" in svg for one in shares)


def test_any_name_of_a_model_is_shown(results):
    names = ["\x00\x1b[31m\x07", "x" * 5000, "$\\frac{1}{0}$", "<!-- -->", "\u202eabc", '"><svg onload=x>']
    text = make_report(Inputs([results[0].model_copy(update={"model": name}) for name in names]), pictures=False)
    assert not [name for name in names if name in text and not name.startswith("$")]
    assert "\x1b" not in text
    assert "<svg onload" not in text


def test_the_worst_crystals_are_drawn_once_for_each_compound(monkeypatch):
    """With results that come with the package: the model and the sample are at hand, so their pictures are drawn."""
    one = read_results(STORED / "invdeepdft-sample_test_geometries.json.gz")
    monkeypatch.setattr("ecd_models.report.failures.WIDTH", 200)
    smallest = sorted(one.crystals, key=lambda c: c.points)[:2]
    section = make_failure_section([one.model_copy(update={"crystals": smallest})], pictures=True)
    pictures = [block for block in section.blocks if isinstance(block, Picture)]
    assert len(pictures) == len({c.compound for c in smallest})
    assert all(picture.source.startswith("data:image/webp;base64,") for picture in pictures)
    compounds = [crystal.compound for _, crystal in find_worst([one])]
    assert len(set(compounds)) == len(compounds)


def test_pictures_that_cannot_be_drawn_are_missed_in_words(results):
    """The data of these results are not under any root that is known here; then results of other weights."""
    section = make_failure_section(results, pictures=True)
    assert "are not at hand" in section.text[0]
    card = results[0].model_card.model_copy(update={"weights_sha256": "0" * 64})
    changed = [results[0].model_copy(update={"model_card": card})]
    assert "other weights than those of the results" in make_failure_section(changed, pictures=True).text[0]


def test_an_error_that_is_another_now_is_not_drawn():
    one = read_results(STORED / "invdeepdft-sample_test_geometries.json.gz")
    crystal = min(one.crystals, key=lambda c: c.points)
    changed = crystal.model_copy(update={"eps_mae_percent": crystal.eps_mae_percent + 1})
    section = make_failure_section([one.model_copy(update={"crystals": [changed]})], pictures=True)
    assert "evaluate it again with the model as it is" in section.text[0]


def test_stored_results_of_the_shipped_models_are_current(tmp_path):
    files = list(evaluate_shipped(tmp_path / "none", stored=True))
    assert {file.parent for file in files} == {STORED}
    assert len(files) == len(PARTS) * len(shipped_checkpoints())
    assert not (tmp_path / "none").exists()


def test_several_parts_have_an_overview_and_one_has_none(results):
    other = results[0].model_copy(update={"part": "test_types", "store_hash": "0" * 16})
    table = make_overview([*results, other])
    assert table is not None
    assert table.columns == ("model", "pbe train: mean %", "pbe test_types: mean %")
    assert [row[1].text for row in table.rows] == [f"{one.summary.mean_percent:.2f}" for one in results]
    assert [row[2].text for row in table.rows] == [f"{results[0].summary.mean_percent:.2f}", "–"]
    assert "unseen structure types" in table.notes[0]
    assert make_overview(results) is None


def test_a_mean_over_fewer_crystals_is_not_the_best(results):
    """As of a model that gives no density for the difficult crystals, or that was evaluated with --limit."""
    easy = min(results[0].crystals, key=lambda c: c.eps_mae_percent)
    few = results[0].model_copy(update={"crystals": [easy], **compute_statistics([easy])})
    other = few.model_copy(update={"part": "test_types"})
    for both, marked in (([few, results[1]], False), (results, True)):
        table, overview = make_error_table("pbe train", both), make_overview([*both, other])
        assert overview is not None
        assert any(row[2].kind == "best" for row in table.rows) == marked
        assert any(row[1].kind == "best" for row in overview.rows) == marked
        assert any("different crystals" in note for note in [*table.notes, *overview.notes]) != marked


def test_speeds_of_two_devices_are_two_bars(results):
    on_gpu = results[0].model_copy(update={"machine": results[0].machine.model_copy(update={"device": "NVIDIA X"})})
    svg = draw_time_figure([*results, on_gpu]).svg
    name = results[0].model
    assert f"{name}, cpu<" in svg
    assert f"{name}, NVIDIA X<" in svg


def test_numbers_that_round_to_zero_have_no_sign():
    assert [number(value, 3).text for value in (-1e-9, 0.0, -0.0004, -0.0006)] == ["0.000", "0.000", "0.000", "-0.001"]


def test_headings_keep_their_units_and_backticks_become_code():
    assert [keep_units(text) for text in ("p90 %", "sure (95 %)", "number of atoms")] == [
        "p90\u00a0%",
        "sure (95\u00a0%)",
        "number of atoms",
    ]
    assert str(mark_code("made by `ecd <x>` & others")) == "made by <code>ecd &lt;x&gt;</code> &amp; others"
    assert str(mark_code("one ` alone")) == "one ` alone"
