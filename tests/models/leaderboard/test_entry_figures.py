"""The figures of an entry are those of its files; what its author wrote stays byte for byte."""

from __future__ import annotations

import re

import pytest
import yaml

from ecd_data.errors import FormatError
from ecd_models.evaluation.results import read_results
from ecd_models.leaderboard.board import ENTRIES
from ecd_models.leaderboard.checks import MEMORY_SLACK, SPEED_SLACK
from ecd_models.leaderboard.entry_figures import measure_hardware, replace_values, write_figures
from ecd_models.report.shipped import PARTS, STORED
from ecd_models.weights.catalogue import PRETRAINED

MODEL = "deepdft-sample"
PATHS = [STORED / f"{MODEL}_{part}.json.gz" for part in PARTS]
CHECKPOINT = PRETRAINED / f"{MODEL}.safetensors"
FIGURES = r"^(\s*(?:- )?(?:sha256|size|weights|memory_GB|points_per_second)): .*$"


@pytest.fixture(scope="module")
def results():
    return [read_results(path) for path in PATHS]


def test_stale_figures_are_written_again_and_all_else_stays(results):
    text = (ENTRIES / f"{MODEL}.yaml").read_text().replace("date:", "# a comment\ndate:")
    stale = re.sub(FIGURES, r"\1: 1", text, flags=re.MULTILINE)
    assert stale != text
    assert write_figures(stale, CHECKPOINT, PATHS, results) == text
    assert write_figures(text, CHECKPOINT, PATHS, results) == text


def test_memory_and_speed_pass_the_checks_against_each_of_the_results(results):
    found = measure_hardware(results)
    for one in results:
        assert found["points_per_second"] <= SPEED_SLACK * one.cost.median_points_per_second
        assert found["memory_GB"] >= MEMORY_SLACK * one.cost.peak_memory_MB / 1000


def test_an_entry_of_other_files_or_without_a_key_is_refused(results):
    text = (ENTRIES / f"{MODEL}.yaml").read_text()
    record = yaml.safe_load(text)
    for changed in ({"results": record["results"][1:]}, {"checkpoint": {"name": "other.safetensors"}}):
        with pytest.raises(FormatError, match="the entry of deepdft-sample names"):
            write_figures(yaml.safe_dump(record | changed), CHECKPOINT, PATHS, results)
    with pytest.raises(FormatError, match=r"no value for hardware\.memory_GB"):
        write_figures(text.replace("memory_GB", "memory"), CHECKPOINT, PATHS, results)


def test_values_in_mappings_and_lists_are_replaced():
    text = "a: {b: 1, c: [x, 'y']}  # why\nd:\n- e: 2\n\n"
    assert (
        replace_values(text, {("a", "c", 1): "z", ("d", 0, "e"): 33}) == "a: {b: 1, c: [x, z]}  # why\nd:\n- e: 33\n\n"
    )
    for missing in (("a", "x"), ("a",), ("d", 0, "e", "f")):
        with pytest.raises(FormatError, match="no value for"):
            replace_values(text, {missing: 1})
