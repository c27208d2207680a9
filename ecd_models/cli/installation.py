"""The verb `doctor`, which examines the installation."""

from __future__ import annotations

import typer

from ecd_models.cli.options import Json
from ecd_models.cli.terminal import DONE, FAILED, print_lines


def doctor(json: Json = False) -> None:
    """Print what is installed, what is missing and what to do about it; the exit code is 1 if something is broken."""
    from ecd_models.installation.report import examine_installation

    report = examine_installation()
    print_lines(report.to_json() if json else report)
    raise typer.Exit(DONE if report.ok else FAILED)
