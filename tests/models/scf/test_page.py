"""The tables of docs/scf.md are those of the JSON files that lie beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecd_models.scf.saved_tables import format_files

DOCS = Path(__file__).resolve().parents[3] / "docs"
RESULTS = DOCS / "scf_results"
TABLES = {
    "runs": (["runs-*.json"], {"clock": "cpu"}),
    "runs by the rule": (["runs-*.json"], {"clock": "cpu", "apply_doubts": True}),
    "convergence": (["steps-*.json"], {"convergence": True}),
    "interleaved": (["interleaved.json"], {"clock": "cpu"}),
    "runs of pairs": (["runs-pairs.json"], {"clock": "cpu"}),
    "energies": (["energies*.json"], {}),
    "gaps": (["gaps*.json"], {}),
    "one loop": (["one-loop.json"], {}),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_that_of_its_files(name):
    patterns, options = TABLES[name]
    paths = sorted(path for pattern in patterns for path in RESULTS.glob(pattern))
    assert paths
    table = format_files(paths, **options)
    page = (DOCS / "scf.md").read_text()
    missing = [line for line in table.splitlines() if line.startswith("|") and line not in page]
    assert not missing, f"put the output of `ecd scf table` for {name} into docs/scf.md"
