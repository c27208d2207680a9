"""Verbs for the leaderboard: check an entry, begin one from results, and write the page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ecd_data.errors import UsageError
from ecd_models.cli.options import writable
from ecd_models.cli.terminal import print, print_lines

YAML = (".yaml", ".yml")


def submit(
    files: Annotated[
        list[Path], typer.Argument(help="An entry to check (YAML); or, with -o, results files to begin one from.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Entry to begin, a YAML file.", callback=writable)
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="With -o: file of the checkpoint, whose size is filled in.")
    ] = None,
) -> None:
    """Check an entry for the leaderboard and say what is wrong with it, or begin one from results files."""
    entries = [file for file in files if file.suffix in YAML]
    if output is None:
        if checkpoint is not None:
            raise UsageError("--checkpoint belongs to -o: leave it out to check an entry")
        if len(files) != 1 or not entries:
            raise UsageError("name one entry, a YAML file; with -o ENTRY.yaml results files begin one")
        _check(files[0])
        return
    if entries:
        raise UsageError(f"{entries[0]} is an entry: with -o name results files, JSON of `ecd evaluate -o`")
    if output.exists():
        raise UsageError(f"{output} is there already: name another file")
    if output.suffix not in YAML:
        raise UsageError(f"{output}: an entry is a YAML file; let its name end in .yaml")
    from ecd_models.leaderboard.new_entry import make_entry

    output.write_text(make_entry(files, checkpoint), encoding="utf-8")
    print(f"entry: {output}; fill in what is null, then `ecd submit {output}`")


def _check(path: Path) -> None:
    from ecd_models.leaderboard.board import ENTRIES
    from ecd_models.leaderboard.checks import check_entry

    entry, _, checks = check_entry(path)
    print_lines("\n".join(map(str, checks)))
    faults = sum(bool(check.fault) for check in checks)
    if faults:
        print(f"{path}: {faults} of {len(checks)} checks failed")
        raise typer.Exit(1)
    room = ENTRIES.parent.name
    print(f"{path}: {entry.model} is ready. Copy it to ecd_models/{room}/entries/ and its results to")
    print(
        f"ecd_models/{room}/results/ in a clone of the repository, and open a pull request, whose tests check the same."
    )


def leaderboard(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Page to write: .html or .md.", callback=writable)
    ] = Path("leaderboard.html"),
    entries: Annotated[Path | None, typer.Option(help="Folder of entries; default: those of the package.")] = None,
) -> None:
    """Write the leaderboard from its entries."""
    from ecd_data.io.atomic_write import write_whole
    from ecd_models.leaderboard.board import ENTRIES, read_board, render_board, render_board_as_markdown

    if output.suffix not in (".html", ".md"):
        raise UsageError(f"{output}: the name tells no format of a page; let it end in .html or .md")
    rows = read_board(entries or ENTRIES)
    text = render_board(rows) if output.suffix == ".html" else render_board_as_markdown(rows)
    with write_whole(output) as aside:
        aside.write_text(text, encoding="utf-8")
    print(f"leaderboard: {output}, {len({row.entry.model for row in rows})} models")
