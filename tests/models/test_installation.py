"""`ecd doctor`: what it finds, what it says to do, and that nothing makes it crash."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import namedtuple
from importlib import metadata
from pathlib import Path

import pytest

from ecd_models import cli
from ecd_models.installation import packages, programs, storage
from ecd_models.installation.finding import Finding, run_probe
from ecd_models.installation.report import PROBES, InstallationReport, examine_installation


@pytest.fixture(autouse=True)
def quiet_environment(monkeypatch, tmp_path):
    for name in ("ECD_ROOT", "ECD_OFFLINE", "ECD_PWX", "ECD_GPAW_PYTHON", "ECD_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ECD_CACHE", str(tmp_path / "cache"))


def find(probe, name: str) -> Finding:
    return next(one for one in probe() if one.name == name)


def test_a_working_installation_has_no_faults_and_exit_code_0(capsys):
    assert cli._run(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"]
    names = [one["name"] for one in report["findings"]]
    assert {"ecd", "Python", "GPU", "Quantum ESPRESSO", "pseudopotentials", "GPAW", "embedded sample", "ECD_ROOT"} <= {
        *names
    }
    assert {"models", "network", "cache", "threads", "compiled reader", "compiled kernels"} <= {*names}
    assert all(one["remedy"] for one in report["findings"] if one["state"] in ("fault", "warning"))


def test_each_finding_is_one_line(capsys):
    assert cli._run(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(examine_installation().findings)
    assert lines[-1].startswith("0 faults, ")


def test_torch_is_not_imported():
    code = (
        "import sys; from ecd_models.installation.report import examine_installation as f; f();"
        "sys.exit(bool({'torch', 'numba', 'pymatgen', 'matplotlib'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_fault_gives_exit_code_1(monkeypatch, capsys):
    broken = {"data": (lambda: iter([Finding("data", "fault", "gone", "bring it back")]), ())}
    monkeypatch.setattr("ecd_models.installation.report.PROBES", broken)
    assert cli._run(["doctor"]) == 1
    assert capsys.readouterr().out.startswith("FAULT data: gone; bring it back\n")


@pytest.mark.parametrize("name", PROBES)
def test_an_error_of_a_probe_is_a_finding(name):
    _, errors = PROBES[name]

    def probe():
        yield Finding("first", "ok", "fine")
        raise errors[0]("it broke\nhere")

    first, second = run_probe(name, probe, errors)
    assert first.state == "ok"
    assert (second.state, second.name) == ("fault", name)
    assert "(it broke here)" in second.text
    assert not InstallationReport([first, second]).ok


def test_a_missing_and_an_old_package_are_faults(monkeypatch):
    needs = ["numpy>=1.26", "nowhere-to-be-found>=2", "zarr>=900"]
    monkeypatch.setattr(metadata, "requires", lambda name: needs)
    finding = find(packages.examine_packages, "packages")
    assert finding.state == "fault"
    assert "nowhere-to-be-found is not installed; zarr " in finding.text
    assert "numpy" not in finding.text


def test_a_missing_extra_says_what_it_would_give(monkeypatch):
    monkeypatch.setattr(metadata, "requires", lambda name: ['nowhere-to-be-found; extra == "plot"'])
    finding = find(packages.examine_packages, "extra plot")
    assert finding.state == "absent"
    assert finding.remedy == "pip install 'ecd-data[plot]' gives pictures: `ecd plot`"


def test_every_extra_is_known():
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert set(project["optional-dependencies"]) <= {*packages.GIVES, *packages.FOR_DEVELOPERS}


def test_without_metadata_versions_are_not_compared(monkeypatch):
    monkeypatch.setattr(packages, "DISTRIBUTION", "nowhere-to-be-found")
    assert [one.state for one in packages.examine_packages()] == ["warning"]


def test_without_the_compiled_library_a_compiler_is_asked_for(monkeypatch):
    monkeypatch.setattr("ecd_data.formats.numbers.load_library", lambda: None)
    monkeypatch.setattr(packages.shutil, "which", lambda name: None)
    monkeypatch.delenv("CC", raising=False)
    finding = find(packages.examine_compiled, "compiled reader")
    assert finding.state == "warning"
    assert "install a C compiler" in finding.remedy


def test_a_gpu_that_torch_does_not_see_is_a_warning(monkeypatch, tmp_path):
    monkeypatch.setattr(programs, "NVIDIA", tmp_path)  # exists
    monkeypatch.setattr(programs.sys, "platform", "linux")
    monkeypatch.setattr(programs, "QUESTION", "print('[null, []]')")
    finding = find(programs.examine_gpu, "GPU")
    assert (finding.state, "built for CUDA" in finding.remedy) == ("warning", True)
    monkeypatch.setattr(programs, "QUESTION", 'print(\'["12.6", ["NVIDIA H100"]]\')')
    assert "NVIDIA H100" in find(programs.examine_gpu, "GPU").text
    assert find(programs.examine_gpu, "Triton").state in ("ok", "absent")
    monkeypatch.setattr(programs, "QUESTION", "raise SystemExit('libcuda is broken')")
    finding = find(programs.examine_gpu, "GPU")
    assert (finding.state, "libcuda is broken" in finding.text) == ("fault", True)


def test_programs_that_are_named_and_not_there_are_warnings(monkeypatch, tmp_path):
    monkeypatch.setenv("ECD_PWX", str(tmp_path / "pw.x"))
    assert find(programs.examine_espresso, "Quantum ESPRESSO").state == "warning"
    assert find(programs.examine_espresso, "pseudopotentials").remedy == "`ecd dft setup` fetches them"
    monkeypatch.setenv("ECD_GPAW_PYTHON", str(tmp_path / "python"))
    assert find(programs.examine_gpaw, "GPAW").state == "warning"


def test_the_stores_under_the_data_root_are_counted(small_store, tmp_path, monkeypatch):
    (tmp_path / "pbe.ecd").symlink_to(small_store)
    monkeypatch.setenv("ECD_ROOT", str(tmp_path))
    assert find(storage.examine_data, "ECD_ROOT").text == f"{tmp_path}: pbe 6 crystals"
    monkeypatch.setenv("ECD_ROOT", small_store)
    finding = find(storage.examine_data, "ECD_ROOT")
    assert (finding.state, "one store of 6 crystals for all of pbe, hse" in finding.text) == ("warning", True)
    monkeypatch.setenv("ECD_ROOT", str(tmp_path / "nowhere"))
    assert find(storage.examine_data, "ECD_ROOT").state == "warning"
    monkeypatch.setenv("ECD_ROOT", "https://localhost:9/data")
    monkeypatch.setenv("ECD_OFFLINE", "1")
    assert "URLs are not read offline" in find(storage.examine_data, "ECD_ROOT").text


def test_little_free_space_is_a_warning(monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(storage.shutil, "disk_usage", lambda path: usage(1, 1, 10))
    assert find(storage.examine_disk, "free disk, cache").state == "warning"


def test_the_cache_is_measured(tmp_path):
    (tmp_path / "cache/models").mkdir(parents=True)
    (tmp_path / "cache/models/one.pt").write_bytes(bytes(3_000_000))
    assert ": 3.0 MB" in find(storage.examine_disk, "cache").text
