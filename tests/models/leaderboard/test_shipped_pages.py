"""The pages of the shipped models have the figures of the stored results; stale results are refused."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ecd_data.errors import FormatError, UsageError
from ecd_models.evaluation.results import read_results, write_results
from ecd_models.leaderboard.board import read_board, render_board
from ecd_models.leaderboard.marked_blocks import fill_block
from ecd_models.leaderboard.shipped_models import BEYOND, find_failures, read_shipped_models
from ecd_models.leaderboard.shipped_pages import BOARD, ROOT, make_pages
from ecd_models.leaderboard.shipped_table import make_difference_table, make_failure_table
from ecd_models.report.shipped import PARTS, STORED
from ecd_models.weights.catalogue import shipped_checkpoints

MODEL = "pair_density"


@pytest.fixture(scope="module")
def models():
    return read_shipped_models()


def test_every_page_is_what_the_command_writes(models):
    pages = make_pages(models)
    assert {page.stem for page in pages} == {"README", "results", *shipped_checkpoints()}
    stale = [str(page.relative_to(ROOT)) for page, text in pages.items() if page.read_bytes().decode() != text]
    if BOARD.read_text(encoding="utf-8") != render_board(read_board()):
        stale.append(BOARD.name)
    assert stale == [], "run `python -m ecd_models.leaderboard.shipped_pages`"


def test_a_crystal_fails_beyond_a_multiple_of_the_mean_of_its_part(models):
    model = models[-1]
    failures = find_failures(model)
    assert len({(one.part, one.crystal.compound) for one in failures}) == len(failures)
    for part, results in model.results.items():
        errors = np.array(list(results.eps_mae_percent.values()))
        beyond = errors > BEYOND * errors.mean()
        found = [one for one in failures if one.part == part]
        assert bool(found) == beyond.any()
        for one in found:
            assert one.crystal.eps_mae_percent > BEYOND * errors.mean()
            assert one.mean_percent == pytest.approx(errors[~beyond].mean())


def test_each_model_but_the_pair_model_has_its_differences(models):
    rows = make_difference_table(models)[2:]
    assert {row.split("`")[1] for row in rows} == set(shipped_checkpoints()) - {MODEL}
    with pytest.raises(UsageError, match="is not among the shipped models"):
        make_difference_table([model for model in models if model.name != MODEL])


def test_a_model_without_a_failure_says_so(models):
    crystal = models[0].results["test_types"].crystals[0]
    alone = models[0].results["test_types"].model_copy(update={"crystals": [crystal]})
    results = {"test_types": alone}
    assert "| none |" in make_failure_table([replace(models[0], results=results)])[-1]


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    """The checkpoint and the results of one shipped model, in folders of their own."""
    pretrained, stored = tmp_path / "pretrained", tmp_path / "results"
    pretrained.mkdir()
    stored.mkdir()
    shutil.copy(ROOT / "ecd_models" / "pretrained" / f"{MODEL}.safetensors", pretrained)
    for part in PARTS:
        shutil.copy(STORED / f"{MODEL}_{part}.json.gz", stored)
    return pretrained, stored


@pytest.mark.parametrize("changed", [{"store_hash": "0" * 16}, {"split_hash": "0" * 16}, {"task": "hse"}])
def test_results_of_other_data_are_refused(folders, changed):
    file = folders[1] / f"{MODEL}_test_pairs.json.gz"
    write_results(read_results(file).model_copy(update=changed), file)
    with pytest.raises(FormatError, match=r"other data than test_pairs of the sample: .*ecd evaluate ood --sample"):
        read_shipped_models(*folders)


def test_results_of_another_checkpoint_or_without_a_crystal_are_refused(folders):
    file = folders[1] / f"{MODEL}_test_geometries.json.gz"
    write_results(read_results(file).model_copy(update={"crystals_in_part": 16}), file)
    with pytest.raises(FormatError, match="no error for some crystals"):
        read_shipped_models(*folders)
    with (folders[0] / f"{MODEL}.safetensors").open("ab") as checkpoint:
        checkpoint.write(b" ")
    with pytest.raises(FormatError, match=r"another checkpoint than the one that ships: .*ecd evaluate pbe --sample"):
        read_shipped_models(*folders)


def test_a_block_is_filled_between_its_marks_alone():
    page = "before\n<!-- x: begin -->\nold\n<!-- x: end -->\nafter\n"
    filled = fill_block(page, "x", ["new", "lines"], "page.md")
    assert filled == "before\n<!-- x: begin -->\nnew\nlines\n<!-- x: end -->\nafter\n"
    assert fill_block(filled, "x", ["new", "lines"], "page.md") == filled
    for wrong in ("nothing", page * 2, "<!-- x: end -->\n<!-- x: begin -->\n", "<!-- x: begin -->\n"):
        with pytest.raises(UsageError, match=r"page\.md has no place for the x"):
            fill_block(wrong, "x", [], "page.md")
