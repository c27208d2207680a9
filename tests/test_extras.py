"""Without an optional package, whatever needs it names the extra that brings it, in one sentence."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from ecd_data import open_store, write
from ecd_data.errors import EXTRAS

ROOT = Path(__file__).resolve().parents[1]
BLOCKED = """
import importlib.abc, sys
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
"""
COMMANDS = {
    "torch": [
        "train run.toml",
        "evaluate pbe -m charge3net-sample",
        "predict MgO_CHGCAR -m charge3net-sample -o x_CHGCAR --like MgO_CHGCAR",
        "plot MgO_CHGCAR -m charge3net-sample -o x.png",
    ],
    "e3nn": ["predict MgO_CHGCAR -m charge3net-sample -o x_CHGCAR --like MgO_CHGCAR"],
    "safetensors": ["evaluate pbe -m charge3net-sample"],
    "matplotlib": ["plot MgO_CHGCAR -o x.png"],
    "plotly": ["view MgO_CHGCAR -o x.html"],
    "baderkit": ["compare MgO_CHGCAR MgO_CHGCAR --bader"],
    "ase": ["info run.gpw", "predict odd.traj -m charge3net-sample -o x_CHGCAR --grid 9 9 9"],
    "h5py": ["info vaspwave.h5"],
    "dask": ["convert MgO_CHGCAR new.ecd --dask local"],
    "smact": ["dft select MgO_CHGCAR -o chosen.json"],
    "s3fs": ["info s3://bucket/my.ecd"],
}


def run_without(packages: set[str], code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    script = BLOCKED.format(blocked=packages) + code
    return subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True)


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "MgO_CHGCAR", open_store("pbe")["MgO_rs"].resample((12, 12, 12)))
    (tmp_path / "run.toml").write_text('out = "run"\n')
    (tmp_path / "run.gpw").write_bytes(b"- of UlmGPAW" + bytes(100))
    (tmp_path / "vaspwave.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    (tmp_path / "odd.traj").write_bytes(b"what only ASE could read")
    return tmp_path


@pytest.mark.parametrize("package", COMMANDS)
def test_a_command_names_the_extra(folder, package):
    code = f"""
from ecd_models.cli import _run
codes = [_run(line.split()) for line in {COMMANDS[package]!r}]
assert set(codes) == {{1}}, codes
"""
    done = run_without({package}, code, folder)
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("ecd: ")]
    assert len(said) == len(COMMANDS[package])
    for line in said:
        assert f"pip install 'ecd-data[{EXTRAS[package]}]'" in line
        assert "not foreseen" not in line


def test_the_python_interface_names_it_too(folder):
    code = """
from ecd_data import open_store
from ecd_data.errors import MissingDependencyError
for act in (lambda: open_store("pbe")["MgO_rs"].to_ase(), lambda: __import__("ecd_models").load_model):
    try:
        act()
    except MissingDependencyError as error:
        print(error)
"""
    done = run_without({"torch", "ase"}, code, folder)
    assert done.returncode == 0, done.stderr
    assert [line.partition(": ")[2] for line in done.stdout.splitlines()] == [
        "pip install 'ecd-data[ase]' installs it",
        "pip install 'ecd-data[models]' installs it",
    ]


def test_data_verbs_need_none_of_them(folder):
    lines = [
        "info MgO_CHGCAR",
        "check MgO_CHGCAR",
        "convert -q MgO_CHGCAR new.ecd",
        "verify -q new.ecd",
        "split ecd_hse",
    ]
    lines += ["compare MgO_CHGCAR new.ecd::MgO", "export MgO out.cube --store new.ecd", "probes -q new.ecd"]
    code = f"\nfrom ecd_models.cli import _run\nfor line in {lines!r}: assert _run(line.split()) == 0, line"
    done = run_without(set(EXTRAS) - {"pydantic", "yaml"}, code, folder)  # typer and huggingface_hub bring these
    assert done.returncode == 0, done.stderr


def test_every_optional_package_of_the_project_is_known():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for extra in set(extras) - {"all", "dev", "bench", "docs"}:
        for requirement in extras[extra]:
            package = requirement.partition(">")[0].partition("[")[0].replace("-", "_").replace("PyYAML", "yaml")
            assert EXTRAS[package] == extra
