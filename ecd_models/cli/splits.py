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
    part: Annotated[str | None, typer.Option(help="Of a task: print the ids of this part.")] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="With make: JSON file to write the ids by part to.", callback=writable),
    ] = None,
    rule: Annotated[
        str | None,
        typer.Option(help="With make: composition (no reduced formula in two parts, the default) or random."),
    ] = None,
    fractions: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,C",
            help="With make: shares of train, validation and test, together 1; also A B C; default 0.8,0.1,0.1.",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="With make: random seed, default 0; the same seed gives the same split.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="With make: replace a file that is there.")] = False,
    more: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
) -> None:
    """Say how a task splits its crystals, list the ids of a part, or split a store of your own."""
    options = {"-o": output, "--rule": rule, "--fractions": fractions, "--seed": seed, "--force": force or None}
    if task == MAKE:
        words = [word for word in (store, *(more or [])) if word is not None]
        if part is not None:
            raise UsageError("--part prints a part of a task: leave it out with make")
        place, shares = _shares(words, fractions)
        _make(place, output, rule or "composition", shares, seed or 0, force)
    elif given := [name for name, value in options.items() if value is not None]:
        one, belong = ("it", "belongs") if len(given) == 1 else ("them", "belong")
        raise UsageError(
            f"{', '.join(given)} {belong} to `ecd split make STORE -o FILE`: the split of {task} is fixed, leave {one}"
            " out"
        )
    elif store is not None:
        raise UsageError(f"`ecd split {task}` takes no store; to split one: ecd split make STORE -o FILE")
    else:
        _show(task, part)


def _shares(words: list[str], fractions: str | None) -> tuple[str | None, tuple[float, ...]]:
    """The store among the words behind `make`, and the shares: of A,B,C in one word or of three words in a row."""
    from ecd_data.release.own_splits import FRACTIONS

    if fractions is None:
        stores, numbers = words, list(map(str, FRACTIONS.values()))
    elif "," in fractions:
        stores, numbers = words, fractions.split(",")
    else:  # typer gives the two numbers behind the first to the arguments, before or behind the store
        first = next((n for n, word in enumerate(words) if _is_number(word)), len(words))
        stores, numbers = words[:first] + words[first + 2 :], [fractions, *words[first : first + 2]]
    if len(stores) > 1:
        raise UsageError(f"`ecd split make` takes one store, not {len(stores)}: {', '.join(stores)}")
    if len(numbers) != 3 or not all(map(_is_number, numbers)):
        said = fractions if fractions and "," in fractions else " ".join(numbers)
        raise UsageError(f"--fractions takes three shares such as 0.8,0.1,0.1 or 0.8 0.1 0.1, not {said}")
    return next(iter(stores), None), tuple(map(float, numbers))


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _make(
    store: str | None, output: Path | None, rule: str, fractions: tuple[float, ...], seed: int, force: bool
) -> None:
    from ecd_data import open_store
    from ecd_data.release.own_splits import PARTS, elements_only_outside_train, make_split, write_split

    if store is None or output is None:
        raise UsageError("name the store and the file to write: ecd split make STORE -o FILE")
    if output.exists() and not force:
        raise UsageError(f"{output} is there already: name another file, or say --force to replace it")
    shares = dict(zip(PARTS, fractions, strict=True))
    opened = open_store(store)
    made = make_split(opened, shares, rule=rule, seed=seed)
    write_split(made, output, store=store, rule=rule, fractions=shares, seed=seed)
    print(", ".join(f"{part} {len(ids)}" for part, ids in made.items()))
    for name, elements in elements_only_outside_train(opened, made).items():
        print(f"note: {name} has elements that train never shows: {', '.join(elements)}; another --seed may avoid it")
    print(f"split: {output}")


def _show(task: str, part: str | None) -> None:
    from ecd_data.release.tasks import SAMPLE_SPLITS, load_split, summarize_split

    parts = load_split(task)
    if part is None:
        if task in SAMPLE_SPLITS:
            print_lines("\n".join(f"{name}: {len(ids)}" for name, ids in parts.items()))
        else:
            print_lines(summarize_split(task))
        return
    if part not in parts:
        raise UsageError(f"{task} has no part {part!r}; it has {', '.join(parts)}")
    print_lines("\n".join(parts[part]))


def leakage(task: Annotated[str, typer.Argument(help="Task, for example ecd_pbe_hse.")]) -> None:
    """Say how many test crystals a task's model has seen in training."""
    from ecd_data.release.tasks import count_leakage

    print_lines(count_leakage(task))
