"""Every code block of the README runs, in order, as a reader would run it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CHECKPOINT = "runs/chargE3net_sample/best.safetensors"


def blocks(language: str) -> list[str]:
    return [text for kind, text in BLOCK.findall((ROOT / "README.md").read_text()) if kind == language]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the checkpoint that the README's first command leaves, from a run of two steps."""
    where = tmp_path_factory.mktemp("reader")
    command = [sys.executable, ROOT / "examples/train_chargE3net.py", "--steps", "2", "--limit", "1"]
    done = subprocess.run(command, cwd=where, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (where / CHECKPOINT).exists()
    assert "superposed atoms" in done.stdout
    return where


def test_the_example_leaves_a_picture_a_density_and_a_log(folder):
    run = folder / "runs/chargE3net_sample"
    assert {p.suffix for p in run.iterdir()} >= {".png", ".gz", ".csv", ".json", ".safetensors"}


def test_python_blocks(folder):
    code = "\n".join(blocks("python"))
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "'train': 5647" in done.stdout


def shell_lines() -> list[str]:
    return [line for block in blocks("bash") for line in block.splitlines() if line.startswith("ecd ")]


@pytest.mark.parametrize("line", [line for line in shell_lines() if not line.startswith("ecd dft")])
def test_shell_lines(folder, line):
    run_line(folder, line)


def test_dft_lines(folder):
    if shutil.which("pw.x") is None:
        pytest.skip("Quantum ESPRESSO is not installed")
    cells = next(block for block in blocks("python") if '"cells"' in block)
    subprocess.run([sys.executable, "-c", cells], cwd=folder, check=True)
    for line in shell_lines():
        if line.startswith("ecd dft"):
            run_line(folder, line)


def run_line(folder: Path, line: str) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        line, shell=True, cwd=folder, capture_output=True, text=True, env={**os.environ, "PATH": path}
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_make_tasks_of_the_readme_exist():
    named = set(re.findall(r"make\.py (\w+)", (ROOT / "README.md").read_text()))
    listed = subprocess.run([sys.executable, ROOT / "make.py", "nothing"], capture_output=True, text=True).stderr
    assert named <= set(listed.split()[-1].split("|"))


def test_links_of_the_documents_lead_somewhere():
    for document in [
        path for pattern in ("*.md", "docs/*.md", "ecd_models/pretrained/*.md") for path in ROOT.glob(pattern)
    ]:
        for target in re.findall(r"\]\((?!https?://)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"
