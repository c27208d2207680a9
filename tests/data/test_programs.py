"""Modules that run as programs end with a sentence and the exit codes of the command line."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ecd_data.errors import FormatError, UsageError
from ecd_data.work.programs import run_program


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (FormatError("a.cif has no atoms"), 1, "error: a.cif has no atoms\n"),
        (UsageError("give a folder"), 2, "error: give a folder\n"),
        (OSError(28, "No space left on device", "a.ecd"), 1, "error: [Errno 28] No space left on device: 'a.ecd'\n"),
        (KeyboardInterrupt(), 130, "interrupted; finished files are complete: run the same command again\n"),
    ],
)
def test_an_error_ends_a_program_with_its_sentence(capsys, error: BaseException, code: int, said: str) -> None:
    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as stop:
        run_program(main)
    assert stop.value.code == code
    assert capsys.readouterr().err == said


def test_a_wrong_path_is_one_sentence(tmp_path) -> None:
    command = [sys.executable, "-m", "ecd_data.sample.convergence", str(tmp_path), str(tmp_path / "missing.ecd")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "missing.ecd" in done.stderr
    assert "Traceback" not in done.stderr
