"""Results of two models on a small store, and a report on them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecd_models import evaluate, load_model
from ecd_models.evaluation.results import Results
from ecd_models.report.inputs import Inputs
from ecd_models.report.report import make_report

SCRIPT = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def results(small_root) -> list[Results]:
    names = ("invdeepdft-sample", "deepdft-sample")
    return [evaluate(load_model(n), "pbe", part="train", data_dir=str(small_root)).rename(n).results for n in names]


@pytest.fixture(scope="module")
def page(results, tmp_path_factory) -> Path:
    """A report in which a model and a crystal have names that are HTML."""
    hostile = results[0].crystals[0].model_copy(update={"id": SCRIPT})
    changed = results[1].model_copy(update={"model": SCRIPT, "crystals": [hostile, *results[1].crystals[1:]]})
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(make_report(Inputs([results[0], changed]), title=f"A title with {SCRIPT}"), encoding="utf-8")
    return path
