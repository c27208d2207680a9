"""Verbs for splits: print those of the tasks, and make new ones for your own stores."""

from __future__ import annotations

from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ecd_data.errors import UsageError
from ecd_models.cli.completion import complete_tasks
from ecd_models.cli.options import Data, Json, Quiet, Sample, Workers, writable
from ecd_models.cli.terminal import print, print_lines

if TYPE_CHECKING:
    from ecd_data.release.similarity import Overlap
    from ecd_models.task_data import TaskData

MAKE = "make"


def split(
    task: Annotated[
        str,
        typer.Argument(
            help="Task, such as ecd_hse; or the word `make`, to split a store.", autocompletion=complete_tasks
        ),
    ],
    store: Annotated[str | None, typer.Argument(help="With make: store to split.")] = None,
    part: Annotated[str | None, typer.Option(help="With a task: print the ids of this part.")] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="With make: JSON file to write, with the ids by part.", callback=writable),
    ] = None,
    rule: Annotated[
        str | None,
        typer.Option(help="With make: composition (no reduced formula is in two parts; the default) or random."),
    ] = None,
    fractions: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,C",
            help="With make: shares of train, validation and test, which add up to 1; default: 0.8,0.1,0.1.",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="With make: random seed; the same seed gives the same split; default: 0.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="With make: replace an existing file.")] = False,
    json: Json = False,
    more: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
) -> None:
    """Print how a task splits its crystals, list the ids of a part, or split your own store."""
    options = {"-o": output, "--rule": rule, "--fractions": fractions, "--seed": seed, "--force": force or None}
    if task == MAKE:
        words = [word for word in (store, *(more or [])) if word is not None]
        if part is not None:
            raise UsageError("--part prints a part of a task: leave it out with make")
        path, shares = _parse_shares(words, fractions)
        if json:
            raise UsageError("--json prints the split of a task: leave it out with make, whose file is JSON")
        _make_split(path, output, rule or "composition", shares, seed or 0, force)
    elif unused := [name for name, value in options.items() if value is not None]:
        one, belong = ("it", "belongs") if len(unused) == 1 else ("them", "belong")
        raise UsageError(
            f"{', '.join(unused)} {belong} to `ecd split make STORE -o FILE`: the split of {task} is fixed, leave {one}"
            " out"
        )
    elif store is not None:
        raise UsageError(f"`ecd split {task}` takes no store; to split one: ecd split make STORE -o FILE")
    else:
        _print_split(task, part, json)


def _parse_shares(words: list[str], fractions: str | None) -> tuple[str | None, tuple[float, ...]]:
    """The store among the words after `make`, and the shares: from one word A,B,C or from three words A B C."""
    from ecd_data.release.own_splits import FRACTIONS

    if fractions is None:
        stores, numbers = words, list(map(str, FRACTIONS.values()))
    elif "," in fractions:
        stores, numbers = words, fractions.split(",")
    else:  # typer takes the second and third number for arguments, before or after the store
        first = next((n for n, word in enumerate(words) if _is_number(word)), len(words))
        stores, numbers = words[:first] + words[first + 2 :], [fractions, *words[first : first + 2]]
    if len(stores) > 1:
        raise UsageError(f"`ecd split make` takes one store, not {len(stores)}: {', '.join(stores)}")
    if len(numbers) != 3 or not all(map(_is_number, numbers)):
        text = fractions if fractions and "," in fractions else " ".join(numbers)
        raise UsageError(f"--fractions takes three shares such as 0.8,0.1,0.1 or 0.8 0.1 0.1, not {text}")
    return next(iter(stores), None), tuple(map(float, numbers))


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _make_split(
    store: str | None, output: Path | None, rule: str, fractions: tuple[float, ...], seed: int, force: bool
) -> None:
    from ecd_data import open_store
    from ecd_data.release.own_splits import PARTS, elements_only_outside_train, make_split, write_split

    if store is None or output is None:
        raise UsageError("name the store and the file to write: ecd split make STORE -o FILE")
    if output.exists() and not force:
        raise UsageError(f"{output} is there already: name another file, or say --force to replace it")
    shares = dict(zip(PARTS, fractions, strict=True))
    source = open_store(store)
    made = make_split(source, shares, rule=rule, seed=seed)
    write_split(made, output, store=store, rule=rule, fractions=shares, seed=seed)
    print(", ".join(f"{part} {len(ids)}" for part, ids in made.items()))
    for name, elements in elements_only_outside_train(source, made).items():
        print(f"note: {name} has elements that train never shows: {', '.join(elements)}; another --seed may avoid it")
    print(f"split: {output}")


def _print_split(task: str, part: str | None, json: bool) -> None:
    from ecd_data.release.tasks import SAMPLE_SPLITS, load_split, summarize_split

    parts = load_split(task)
    if part is not None and part not in parts:
        raise UsageError(f"{task} has no part {part!r}; it has {', '.join(parts)}")
    if json:
        print_lines(dumps(parts if part is None else {part: parts[part]}, indent=1))
    elif part is not None:
        print_lines("\n".join(parts[part]))
    elif task in SAMPLE_SPLITS:
        print_lines("\n".join(f"{name}: {len(ids)}" for name, ids in parts.items()))
    else:
        print_lines(summarize_split(task))


def leakage(
    task: Annotated[str, typer.Argument(help="Task, such as ecd_pbe_hse.", autocompletion=complete_tasks)],
    json: Json = False,
) -> None:
    """Print how many test crystals of a task are in its training set, or in that of the model that it starts from."""
    from ecd_data.release.tasks import count_leakage

    found = count_leakage(task)
    print_lines(dumps(vars(found), indent=1) if json else found)


def similar(
    train: Annotated[str, typer.Argument(help="Task, configuration or store whose training crystals are compared.")],
    test: Annotated[
        str | None,
        typer.Argument(
            help="Task, configuration or store with the test crystals; default: the test part of the first."
        ),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(help="Rule: id, formula, prototype or structure; repeatable; default: id, formula, structure."),
    ] = None,
    split_file: Annotated[
        Path | None,
        typer.Option("--split", help="Split of the first store: the JSON file that `ecd split make` writes."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="JSON file for the strict twin: the split of the first without the similar training crystals.",
            callback=writable,
        ),
    ] = None,
    data: Data = None,
    sample: Sample = False,
    workers: Workers = 1,
    quiet: Quiet = False,
) -> None:
    """Count training crystals that are similar to test crystals, and write a split without them.

    For ecd_mp this is the paper's removal: training crystals of PBE that are identical to a Materials Project test
    crystal.
    """
    from functools import partial

    from ecd_data.release.similarity import Crystals, find_overlap
    from ecd_data.work.progress import show_progress

    trained, tested = _find_compared_data(train, test, split_file, data, sample)
    ours = Crystals(trained.store, trained.ids("train"))
    theirs = Crystals(tested.store, tested.ids("test" if tested.parts.get("test") else "all"))
    overlaps = []
    for rule in dict.fromkeys(by or ["id", "formula", "structure"]):
        with show_progress(
            f"comparing by {rule}", None, wanted=not quiet and rule in ("prototype", "structure")
        ) as bar:
            overlaps.append(find_overlap(ours, theirs, rule, workers, partial(bar.advance, "")))
        print(overlaps[-1])
    if output is not None:
        _write_twin(output, overlaps, trained, tested)


def _write_twin(output: Path, overlaps: list[Overlap], trained: TaskData, tested: TaskData) -> None:
    from ecd_data.release.own_splits import PARTS, write_split
    from ecd_data.release.similarity import TOLERANCES, hash_twin, make_strict_twin

    parts = {part: trained.parts.get(part, []) for part in PARTS}
    twin, dropped = make_strict_twin(parts, overlaps)
    rules = [overlap.rule for overlap in overlaps]
    about = {
        "rules": rules,
        "tolerances": TOLERANCES if "structure" in rules else None,
        "train": {"name": trained.task, **trained.origin.to_dict()},
        "test": {"name": tested.task, **tested.origin.to_dict()},
    }
    write_split(twin, output, **about, sha256=hash_twin(twin, about), dropped=dropped)
    print(f"train {len(twin['train'])} of {len(parts['train'])}: {output}")


def _find_compared_data(
    train: str, test: str | None, split_file: Path | None, data: str | None, sample: bool
) -> tuple[TaskData, TaskData]:
    """The data with the training crystals and those with the test crystals, of the tasks or stores that are named."""
    from ecd_data.release.tasks import find_task
    from ecd_models.task_data import evaluation_data, looks_like_store

    def find(name: str, split: Path | None = None) -> TaskData:
        own = looks_like_store(name)
        return evaluation_data(name, split, None if own else data, sample and not own)

    if test is not None or looks_like_store(train):
        first = find(train, split_file)
        return first, first if test is None else find(test)
    tested = find(train, split_file)
    if tested.parts.get("train"):
        return tested, tested
    pretrained_on = find_task(train).pretrained_on
    if pretrained_on is None:
        raise UsageError(f"{train} has no training crystals: name the store or task that trains as the first")
    return find(pretrained_on), tested
