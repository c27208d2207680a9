"""What the verbs of `ecd scf` that run pw.x share: progress, failures, the JSON file, the exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import typer

from ecd_models.cli.terminal import print


def show_crystals(
    run: Callable[..., Any], jobs: Sequence[Any], starts: Mapping[str, Any], quiet: bool, **options: Any
) -> Any:
    """The report of a run over all jobs, with its progress and, at the end, its failures on the terminal."""
    from ecd_data.work.progress import show_progress

    with show_progress("crystals", len(jobs), not quiet) as bar:
        report = run(jobs, starts, show=lambda done, total, id: bar.show(done, id), **options)
    for id, reason in report.failed.items():
        print(f"failed: {id}: {reason}", file=sys.stderr)
    return report


def save_record(record: dict[str, Any], output: Path | None, name: str) -> None:
    """Write the JSON of a report, which replaces an earlier one only when it is whole."""
    from json import dumps

    from ecd_data.io.atomic_write import write_whole

    if output is not None:
        with write_whole(output) as aside:
            aside.write_text(dumps(record, indent=1) + "\n", encoding="utf-8")
        print(f"{name}: {output}")


def has_failures(report: Any) -> bool:
    """Whether a crystal failed, or a start of one."""
    return bool(report.failed) or any(crystal.failed for crystal in report.crystals)


def end_verb(report: Any) -> NoReturn:
    """End the verb: exit code 1 where a crystal failed, or a start of one."""
    raise typer.Exit(1 if has_failures(report) else 0)
