"""docs/add_a_model.md: its code is the example's, and its commands run once the example is installed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples/add_a_model"
TEXT = (ROOT / "docs/add_a_model.md").read_text()


def block(language: str) -> str:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)[0]


def test_the_code_is_the_example():
    assert block("python") == (EXAMPLE / "shaped_atoms.py").read_text()
    assert block("toml") in (EXAMPLE / "pyproject.toml").read_text()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which the example is installed, as pip leaves it, without touching this one."""
    site = tmp_path_factory.mktemp("site")
    (site / "shaped_atoms.py").write_bytes((EXAMPLE / "shaped_atoms.py").read_bytes())
    info = site / "shaped_atoms-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shaped-atoms\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text(block("toml").replace("project.entry-points.", "").replace('"', ""))
    scripts = Path(sys.executable).parent
    return {**os.environ, "PYTHONPATH": str(site), "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}


@pytest.mark.slow
def test_the_commands_run(installed, tmp_path):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    printed = ""
    for line in block("bash").splitlines():
        if line.startswith("pip"):
            continue
        done = subprocess.run(line, shell=True, cwd=tmp_path, env=installed, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        printed += done.stdout
    row = r"^ *{} +\d+ +([\d.]+) "
    learned, atoms = (
        float(re.findall(row.format(name), printed, re.MULTILINE)[0])
        for name in (r"\S+best\.safetensors", "its superposed atoms alone")
    )
    assert learned < atoms
    assert (tmp_path / "Si_CHGCAR").stat().st_size > 10_000


def test_without_the_package_the_name_is_unknown(tmp_path):
    from ecd_data.errors import UsageError
    from ecd_models.networks import build_model

    with pytest.raises(UsageError, match="no model is called 'shaped-atoms'"):
        build_model("shaped-atoms")
