"""Verbs for splits: those of the tasks, and new ones for a store of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ecd_data.errors import UsageError
from ecd_models.cli.options import writable
from ecd_models.cli.terminal import print, print_lines

MAKE = "make"


def split(
    task: Annotated[str, typer.Argument(help="Task, for example ecd_hse; or the word `make`, to split a store.")],
    store: Annotated[str | None, typer.Argument(help="With make: the store to split.")] = None,
    part: Annotated[str | None, typer.Option(help="Print the ids of this part of a task.")] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="With make: JSON file to write the ids by part to.", callback=writable),
    ] = None,
    rule: Annotated[
        str,
        typer.Option(help="With make: composition (no reduced formula in two parts) or random."),
    ] = "composition",
    fractions: Annotated[
        tuple[float, float, float],
        typer.Option(help="With make: shares of train, validation and test, together 1."),
    ] = (0.8, 0.1, 0.1),
    seed: Annotated[int, typer.Option(help="With make: random seed; the same seed gives the same split.")] = 0,
) -> None:
    """Say how a task splits its crystals, list the ids of a part, or split a store of your own."""
    if task == MAKE:
        _make(store, output, rule, fractions, seed)
    elif store is not None or output is not None:
        raise UsageError(
            f"`ecd split {task}` takes no store and writes no file; to split a store: ecd split make STORE -o FILE"
        )
    else:
        _show(task, part)


def _make(store: str | None, output: Path | None, rule: str, fractions: tuple[float, float, float], seed: int) -> None:
    from ecd_data import open_store
    from ecd_data.release.own_splits import PARTS, elements_only_outside_train, make_split, write_split

    if store is None or output is None:
        raise UsageError("name the store and the file to write: ecd split make STORE -o FILE")
    shares = dict(zip(PARTS, fractions, strict=True))
    opened = open_store(store)
    made = make_split(opened, shares, rule=rule, seed=seed)
    write_split(made, output, store=store, rule=rule, fractions=shares, seed=seed)
    print(", ".join(f"{part} {len(ids)}" for part, ids in made.items()))
    for name, elements in elements_only_outside_train(opened, made).items():
        print(f"note: {name} has elements that train never shows: {', '.join(elements)}; another --seed may avoid it")
    print(f"split: {output}")


def _show(task: str, part: str | None) -> None:
    from ecd_data.release.tasks import SAMPLE_SPLITS, load_split, split_summary

    parts = load_split(task)
    if part is None:
        if task in SAMPLE_SPLITS:
            print_lines("\n".join(f"{name}: {len(ids)}" for name, ids in parts.items()))
        else:
            print_lines(split_summary(task))
        return
    if part not in parts:
        raise UsageError(f"{task} has no part {part!r}; it has {', '.join(parts)}")
    print_lines("\n".join(parts[part]))


def leakage(task: Annotated[str, typer.Argument(help="Task, for example ecd_pbe_hse.")]) -> None:
    """Say how many test crystals a task's model has seen in training."""
    from ecd_data.release.tasks import leakage

    print_lines(leakage(task))
