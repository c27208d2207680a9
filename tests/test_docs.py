"""Every code block of every page runs as a reader would run it, or says above it why it is not run here."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer

from ecd_data import convert, open_store, write
from ecd_models.cli import app

ROOT = Path(__file__).resolve().parents[1]
PAGES = ["README.md", "dataset_card.md", "examples/recipes/README.md"]
PAGES += sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/*.md"))
PAGES += sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("ecd_models/pretrained/*.md"))
BLOCK = re.compile(r"(?P<mark><!--[^\n]*-->\n+)?^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_RUN = re.compile(r"<!-- not run: (?P<reason>\S.{4,}\S) -->")
CODE = ("python", "bash")
LONG = ("evaluate", "faq", "five_minutes", "for_ase", "for_vasp", "fourier", "leaderboard", "models", "own_data")
LONG += ("report", "scf", "start", "view")
FROM_NOTHING = ("README.md", "docs/start.md", "docs/own_data.md")  # these pages make the files that they use
ENGINE = re.compile(r"^ecd (dft (setup|run|relax)|scf (run|gaps|energies)|evaluate exp(?!.*--no-gaps))", re.MULTILINE)
CHECKPOINT = "runs/chargE3net_sample/best.safetensors"
ENVIRONMENT = {
    **os.environ,
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
}
DRIVER = """
import contextlib, io, json, shlex, subprocess, sys

names = {"__name__": "__main__"}


def run_line(line):
    from ecd_models.cli import _run  # in this process: an interpreter for each line would take most of the time

    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = _run(shlex.split(line, comments=True)[1:])
    print(said.getvalue())
    assert code == 0, f"{line}: exit code {code}"
    assert said.getvalue().strip() or "--bad" in line, f"{line} prints nothing"


for language, code in json.load(open(sys.argv[1])):
    print(f"--- {language}\\n{code}", flush=True)
    if language == "python":
        exec(code, names)
        continue
    for line in code.splitlines():
        if line.startswith("ecd ") and not set("|<>$;&`") & set(line.partition("#")[0]):
            run_line(line)
        elif line.startswith("python3 make.py"):
            pass  # one of the tasks that `test_make_tasks_exist` knows; this test is in one of them
        elif line.strip():
            subprocess.run(line, shell=True, check=True)
"""


@dataclass(frozen=True)
class Block:
    """A block of code: its page, where it begins, its language, and why it is not run (None: it is)."""

    page: str
    line: int
    language: str
    code: str
    reason: str | None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(page: str) -> list[Block]:
    text = (ROOT / page).read_text()
    found = []
    for match in BLOCK.finditer(text):
        mark = NOT_RUN.search(match["mark"] or "")
        line = text[: match.start("language")].count("\n") + 1
        found.append(Block(page, line, match["language"], match["code"], mark and mark["reason"]))
    return found


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A folder with the checkpoint that the README's first command leaves, from a run of two steps."""
    where = tmp_path_factory.mktemp("trained")
    command = [sys.executable, ROOT / "examples/train_chargE3net.py", "--steps", "2", "--limit", "1"]
    done = subprocess.run(command, cwd=where, capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    assert (where / CHECKPOINT).exists()
    assert "superposed atoms" in done.stdout
    return where


@pytest.fixture(scope="module")
def reader(tmp_path_factory) -> Path:
    """What the pages suppose a reader to have: some CHGCARs, in folders too, and stores of them."""
    where = tmp_path_factory.mktemp("reader")
    for folder in ("runs", "more", "hybrid"):
        (where / folder).mkdir()
    for id, name in (("MgO_rs", "MgO"), ("Si_diamond", "Si"), ("NaCl_rs", "NaCl")):
        write(where / f"runs/{name}_CHGCAR", open_store("pbe")[id].resample((24, 24, 24)))
    shutil.copy(where / "runs/MgO_CHGCAR", where / "MgO_CHGCAR")
    write(where / "more/LiH_CHGCAR.gz", open_store("pbe")["LiH_rs"].resample((24, 24, 24)))
    for store in ("my.ecd", "pbe.ecd"):
        convert(where / "runs", where / store)
    write(where / "hybrid/MgO_CHGCAR", open_store("hse")["MgO_rs"].resample((24, 24, 24)))
    convert(where / "hybrid", where / "hse.ecd")
    return where


def test_the_example_leaves_a_picture_a_density_and_a_log(checkpoint):
    run = checkpoint / "runs/chargE3net_sample"
    assert {p.suffix for p in run.iterdir()} >= {".png", ".gz", ".csv", ".json", ".safetensors"}


def runs_here(block: Block) -> bool:
    without_engine = ENGINE.search(block.code) and shutil.which("pw.x") is None
    return block.language in CODE and block.reason is None and not without_engine


def mark_long(page: str) -> object:
    """The page as a parameter, marked as slow where its blocks take over five seconds."""
    is_long = page.removeprefix("docs/").removesuffix(".md") in LONG
    return pytest.param(page, marks=pytest.mark.slow) if is_long else page


@pytest.mark.parametrize("page", [mark_long(page) for page in sorted({b.page for b in BLOCKS if runs_here(b)})])
def test_the_blocks_of_a_page_run_in_order(page, tmp_path, request):
    if page not in FROM_NOTHING:
        shutil.copytree(request.getfixturevalue("reader"), tmp_path, dirs_exist_ok=True)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    listed = tmp_path / ".blocks.json"
    listed.write_text(json.dumps([(b.language, b.code) for b in blocks_of(page) if runs_here(b)]))
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, listed],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=300,
    )
    assert done.returncode == 0, f"{page}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    assert page != "docs/start.md" or "'train': 5647" in done.stdout


def commands_of(code: str) -> list[list[str]]:
    """The words of each line that calls ecd, without comments and quotes."""
    lines = re.findall(r"(?:^|\s|')(?:ecd|ecd_models\.cli) ([a-z][^#|&;'\n]*)", code, re.MULTILINE)
    return [line.split() for line in lines]


COMMANDS = [
    (str(block), words) for block in BLOCKS if block.language in ("bash", "") for words in commands_of(block.code)
]


@pytest.mark.parametrize(("where", "words"), COMMANDS, ids=lambda value: value if isinstance(value, str) else "")
def test_every_command_has_a_verb_and_options_that_exist(where, words):
    """Of blocks that are not run as well."""
    command = typer.main.get_command(app)
    while hasattr(command, "commands"):
        assert words[0] in command.commands, f"{where} has no verb {words[0]}"
        command, words = command.commands[words[0]], words[1:]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    given = {word.partition("=")[0] for word in words if re.fullmatch(r"--?[a-zA-Z][\w-]*(=.*)?", word)}
    assert given <= known, f"{where}: {command.name} has no option {sorted(given - known)}"


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "bash"], ids=str)
def test_files_of_the_project_that_a_command_names_are_there(block):
    for name in re.findall(r"(?<![\w/])(?:examples|docs|benchmarks|splits)/[\w./*-]+", block.code):
        assert any(ROOT.glob(name)), f"{block} names {name}"


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "python"], ids=str)
def test_python_that_is_not_run_can_be_compiled(block):
    compile(block.code, str(block), "exec")


@pytest.mark.parametrize("page", PAGES)
def test_code_stands_in_fenced_blocks_whose_language_is_named(page):
    text = (ROOT / page).read_text()
    outside = BLOCK.sub("", text)
    assert "```" not in outside, "a fence without its end"
    indented = re.findall(r"^(?:    |\t)(?:ecd|python3?|pip|from|import|>>>) .*$", outside, re.MULTILINE)
    assert indented == []
    for block in blocks_of(page):
        named = block.language or not re.search(r"^(ecd|python3?|pip|from|import) ", block.code, re.MULTILINE)
        assert named, f"{block} is code whose language is not named"


def test_make_tasks_exist():
    named = {task for block in BLOCKS for task in re.findall(r"make\.py (\w+)", block.code)}
    named |= set(re.findall(r"make\.py (\w+)", (ROOT / "README.md").read_text()))
    listed = subprocess.run([sys.executable, ROOT / "make.py", "nothing"], capture_output=True, text=True).stderr
    assert named <= set(listed.split()[-1].split("|"))


def test_links_of_the_documents_lead_somewhere():
    for document in [
        path for pattern in ("*.md", "docs/*.md", "ecd_models/pretrained/*.md") for path in ROOT.glob(pattern)
    ]:
        for target in re.findall(r"\]\((?!https?://)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"
