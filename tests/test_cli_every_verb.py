"""What all verbs have in common: examples in the help, --quiet, --verbose, --offline, completion, exit codes."""

from __future__ import annotations

import json
import logging
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from ecd_data.io.network import OfflineError, is_offline, refuse_remote_url
from ecd_models import cli
from ecd_models.cli.examples import EXAMPLES
from ecd_models.cli.terminal import MEANINGS, list_exit_codes

ROOT = Path(__file__).resolve().parents[1]


def find_verbs() -> dict[str, typer.core.TyperCommand]:
    """Every verb by the words that call it."""
    todo = {"": typer.main.get_command(cli.app)}
    found = {}
    while todo:
        name, command = todo.popitem()
        if hasattr(command, "commands"):
            todo |= {f"{name} {word}".strip(): one for word, one in command.commands.items()}
        else:
            found[name] = command
    return found


VERBS = find_verbs()


def run(*arguments: object) -> int:
    return cli._run([str(word) for word in arguments])


@pytest.mark.parametrize("name", VERBS)
def test_the_help_of_a_verb_ends_with_examples(name, capsys):
    assert name in EXAMPLES, f"add an example of `ecd {name}` to ecd_models/cli/examples.py"
    assert run(*name.split(), "--help") == 0
    help_text = " ".join(capsys.readouterr().out.split())
    for example in EXAMPLES[name]:
        assert example in help_text


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_verb_and_options_of_an_example_exist(name):
    known = {word for one in VERBS[name].params for word in (*one.opts, *one.secondary_opts)}
    for example in EXAMPLES[name]:
        words = shlex.split(example)
        assert words[: 1 + len(name.split())] == ["ecd", *name.split()]
        assert {word for word in words if re.fullmatch(r"--?[a-zA-Z][\w-]*", word)} <= known


def test_options_without_a_value_show_no_type(capsys):
    assert run("doctor", "--help") == 0
    shown = capsys.readouterr().out
    assert "--json" in shown
    assert "bool" not in shown


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_has_the_shared_options(name):
    known = {word for one in VERBS[name].params for word in one.opts}
    assert known >= {"--quiet", "-q", "--verbose", "-v", "--offline"}


def test_quiet_stands_before_or_after_the_verb(small_store, tmp_path, capsys):
    for number, words in enumerate((["-q", "reencode"], ["reencode", "-q"], ["reencode"])):
        assert run(*words, small_store, tmp_path / f"{number}.ecd") == 0
        shown = capsys.readouterr().err
        assert (shown == "") == ("-q" in words)


def test_quiet_hides_the_progress_of_works_that_know_no_quiet(monkeypatch, capsys):
    """As `ecd dft run`, whose function always shows its progress."""
    from ecd_data.work.progress import show_progress

    def work(*arguments: object) -> None:
        with show_progress("working", 1) as progress:
            progress.advance("one")

    monkeypatch.setattr("ecd_data.dft.setup", work)
    for words, lines in ((["dft", "setup", "-q"], 0), (["dft", "setup"], 2)):
        assert run(*words) == 0
        assert len(capsys.readouterr().err.splitlines()) == lines


def test_quiet_and_verbose_contradict_each_other(capsys):
    assert run("-q", "models", "-v") == 2
    assert capsys.readouterr().err == "ecd: --quiet and --verbose contradict each other: give one of them\n"


def test_options_of_a_command_end_with_it(monkeypatch):
    monkeypatch.delenv("ECD_OFFLINE", raising=False)
    level = logging.getLogger("ecd_data").level
    assert run("--offline", "-v", "split", "ecd_hse") == 0
    assert not is_offline()
    assert logging.getLogger("ecd_data").level == level
    assert "ECD_DEBUG" not in os.environ


@pytest.mark.parametrize(
    "words",
    [
        ["fetch", "ecd_hse", "new.ecd"],
        ["info", "https://localhost:9/some.ecd"],
        ["info", "s3://bucket/some.ecd"],
        ["export", "MgO", "MgO_CHGCAR", "--store", "http://localhost:9/some.ecd"],
        ["evaluate", "pbe", "-m", "ecd-pbe"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("how", ["option", "variable"])
def test_offline_forbids_the_network_in_one_sentence(words, how, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ECD_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ECD_OFFLINE", raising=False)
    if how == "variable":
        monkeypatch.setenv("ECD_OFFLINE", "1")
    assert run(*words, *(["--offline"] if how == "option" else [])) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "--offline or ECD_OFFLINE forbids" in lines[0]
    assert "downloading" not in lines[0]
    assert not Path("new.ecd").exists()


def test_a_preview_offline_asks_no_server(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ECD_OFFLINE", "1")
    assert run("fetch", "ecd_hse", tmp_path / "new.ecd", "--part", "test", "--dry-run") == 0
    assert "no server is asked offline" in capsys.readouterr().out


@pytest.mark.parametrize("value", ["", "0", "no", "False"])
def test_the_network_is_allowed_unless_the_variable_says_yes(value, monkeypatch):
    monkeypatch.setenv("ECD_OFFLINE", value)
    assert not is_offline()
    refuse_remote_url("https://localhost/some.ecd")


@pytest.mark.parametrize("url", ["memory://a", "zip://b::/home/c.zip", "file:///d", "simplecache::file:///e", "plain"])
def test_what_lies_on_this_machine_is_read_offline(url, monkeypatch):
    monkeypatch.setenv("ECD_OFFLINE", "1")
    refuse_remote_url(url)


@pytest.mark.parametrize("url", ["s3://a", "zip://b::https://c/d.zip", "simplecache::gs://e", "http://f"])
def test_what_lies_elsewhere_is_not(url, monkeypatch):
    monkeypatch.setenv("ECD_OFFLINE", "1")
    with pytest.raises(OfflineError, match="forbids"):
        refuse_remote_url(url)


COMPLETER = """
import sys
sys.argv[0] = "ecd"
from ecd_models.cli import main
try:
    main()
finally:
    print("torch" in sys.modules, file=sys.stderr)
"""


def complete(line: str) -> tuple[list[str], str]:
    """The words that a shell is given for the last one of a line, and what is printed for people."""
    shell = {"_ECD_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
    done = subprocess.run(
        [sys.executable, "-c", COMPLETER], env={**os.environ, **shell}, capture_output=True, text=True, cwd=ROOT
    )
    return done.stdout.split(), done.stderr


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("ecd split ecd_hse", {"ecd_hse", "ecd_hse_strict"}),
        ("ecd predict POSCAR -m charge3net-s", {"charge3net-sample"}),
        ("ecd evaluate pbe -m ecd-hse", {"ecd-hse-tuned"}),
        ("ecd info pbe MgO_rs-d1", {"MgO_rs-d1"}),
        ("ecd export MgO_rs-d1", {"MgO_rs-d1"}),
        ("ecd convert --pipel", {"--pipeline"}),
        ("ecd doc", {"doctor"}),
    ],
)
def test_a_shell_completes_names_without_torch(line, words):
    found, printed = complete(line)
    assert set(found) == words
    assert printed == "False\n"


def test_a_store_that_does_not_exist_completes_nothing():
    assert complete("ecd info nowhere.ecd Mg") == ([], "False\n")


def test_the_page_on_the_command_line_lists_the_exit_codes(capsys):
    page = (ROOT / "docs/cli.md").read_text()
    for code, meaning in MEANINGS.items():
        assert f"| {code} | {meaning}" in page
    assert run("--help") == 0
    assert list_exit_codes() in " ".join(capsys.readouterr().out.split())


def read_json(capsys, *words: object) -> dict:
    assert run(*words, "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_facts_are_printed_as_json(small_store, tmp_path, capsys):
    store = read_json(capsys, "info", small_store)
    assert store["kind"] == "store"
    assert store["crystals"] == len(store["ids"]) == 6
    assert store["grid_points"] == {"smallest": 16**3, "largest": 16**3, "sum": 6 * 16**3}
    density = read_json(capsys, "info", small_store, "MgO_rs")
    assert (density["kind"], density["formula"], density["shape"]) == ("density", "MgO", [16, 16, 16])
    assert density["check"]["ok"]
    run("export", "MgO_rs", tmp_path / "MgO_CHGCAR", "--store", small_store)
    capsys.readouterr()
    exported = read_json(capsys, "info", tmp_path / "MgO_CHGCAR")
    assert exported["nelect"] == pytest.approx(density["nelect"])
    assert read_json(capsys, "verify", "-q", small_store)["checked"] == 6
    assert read_json(capsys, "leakage", "ecd_pbe_hse")["pretraining"]["train"] == 975
    split = read_json(capsys, "split", "ecd_hse")
    assert {part: len(ids) for part, ids in split.items()} == {"train": 5647, "validation": 500, "test": 1000}
    assert list(read_json(capsys, "split", "ecd_hse", "--part", "test")) == ["test"]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("--model", ("predict", "CHGCAR_good", "-o", "CHGCAR_out", "-m", "fourier_density", "--model", "pair_density")),
        ("--grid", ("export", "good", "CHGCAR_out", "--store", "my.ecd", "--grid", *"888", "--grid", *"999")),
        ("--bound", ("convert", "CHGCAR_good", "new.ecd", "--bound", "1e-4", "--bound=1e-5")),
    ],
)
def test_an_option_of_one_value_given_twice_is_refused(tmp_path, monkeypatch, capsys, name, arguments):
    monkeypatch.chdir(tmp_path)
    assert cli._run([*arguments]) == 2
    assert f"{name} is given 2 times and takes one value: give it once" in capsys.readouterr().err
    assert not Path("CHGCAR_out").exists()
    assert not Path("new.ecd").exists()
