"""How the error falls with the number of training formulas: nested splits of the sample, trainings on them, a table.

    python benchmarks/learning_curve.py splits FOLDER [--formulas 20 40 60 74] [--seed 42]
    python benchmarks/learning_curve.py run FOLDER [--models fourier_density charge3net ...] [--seeds 42 43 44]
                                                   [--steps N | --minutes M] [--processes 1]
    python benchmarks/learning_curve.py table FOLDER [--figure FILE.png]

The first writes FOLDER/20.json and so on, each with all cells of so many training formulas of the embedded PBE sample,
in the order of sha256("seed:formula"), so that a larger split has every crystal of a smaller one; validation and test
are those of the sample.

The second fits the linear pair model on each split FOLDER/NUMBER.json, since one of all formulas would know compounds
that the split leaves out, trains the networks from it by the recipes of `race.py`, and evaluates all on all test parts.
A training has --steps steps, or those that fit --minutes of one core; without either those of its recipe. What is done
is kept in FOLDER, and the same command goes on with the rest, in as many processes as are asked for; a training that
was interrupted begins again. Runs are in FOLDER/NUMBER/MODEL-SEED-..., each with its results files, which are those of
`ecd evaluate -o`; their names begin with the number of formulas.

The third reads the results in FOLDER and the folders in it, and prints the mean eps_mae by part, model and number of
formulas, with its spread over seeds. The slope is that of log(error) over log(formulas) by least squares: -0.5 means
that four times the formulas halve the error. The last column is what this power law gives for twice the largest number.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import race
from curve_table import draw_curve, format_curve, read_curve
from race_evaluation import describe_data, list_parts, open_tasks
from race_training import MODELS, Entry, keep_facts, load_recipe, make_pair_entry, silence_warnings

from ecd_data.errors import EcdError, UsageError
from ecd_data.fixed_order import order_key
from ecd_data.release.formula import reduce_formula
from ecd_data.store.reader import Store
from ecd_models import load_model
from ecd_models.evaluation.evaluate import evaluate
from ecd_models.evaluation.partial_results import ENDING, remove_partial
from ecd_models.task_data import TaskData, own_data, task_data
from ecd_models.training.config import TrainConfig

PARTS = ("train", "validation", "test")


def make_splits(data: TaskData, counts: list[int], seed: int) -> dict[int, dict[str, list[str]]]:
    """The split with so many training formulas, by their number; only the part train differs from that of the data."""
    formulas = {id: reduce_formula(data.store.row(id)["formula"]) for id in data.ids("train")}
    order = sorted(set(formulas.values()), key=partial(order_key, seed=seed))
    if wrong := [count for count in counts if not 0 < count <= len(order)]:
        raise UsageError(f"there are {len(order)} training formulas: --formulas cannot be {wrong[0]}")
    splits = {}
    for count in counts:
        chosen = set(order[:count])
        train = [id for id in data.ids("train") if formulas[id] in chosen]
        splits[count] = {"train": train} | {part: data.ids(part) for part in PARTS[1:]}
    return splits


def write_splits(folder: Path, counts: list[int], seed: int) -> None:
    """Write the splits of the sample to FOLDER/COUNT.json and print their sizes."""
    folder.mkdir(parents=True, exist_ok=True)
    for count, split in make_splits(task_data("pbe"), counts, seed).items():
        (folder / f"{count}.json").write_text(json.dumps(split, indent=1))
        print(f"{folder / f'{count}.json'}: {count} formulas, {len(split['train'])} training crystals")


def find_splits(folder: Path) -> dict[int, Path]:
    """The splits FOLDER/NUMBER.json by their number; raises UsageError where there is none."""
    splits = {int(file.stem): file for file in folder.glob("*.json") if file.stem.isdigit()}
    if not splits:
        raise UsageError(f"{folder} has no splits such as 20.json: write them with `learning_curve.py splits {folder}`")
    return dict(sorted(splits.items()))


def list_entries(split: Path, options: argparse.Namespace) -> list[Entry]:
    """The pair model of a split, then the networks that start from it."""
    store = task_data("pbe").store.root
    data = {"task": TrainConfig.task, "sample": False, "split": str(split), "store": os.path.relpath(store)}
    pair = make_pair_entry(split.with_suffix(""), data=data)
    start, seconds = str(pair.checkpoint), 60 * (options.minutes or 0)
    steps = {model: 0 if seconds else options.steps or load_recipe(model).steps for model in options.models}
    return [pair] + [
        Entry(model, seed, seconds, start, pair.out, steps=steps[model], data=data)
        for seed in options.seeds
        for model in options.models
    ]


def run(entry: Entry) -> None:
    """Do what is left of an entry's training, and write a results file for each test part that has none."""
    race.train_missing(entry)
    silence_warnings()
    for part, (task, _) in list_parts(open_tasks()).items():
        file = entry.folder / f"{entry.out.name}_{entry.folder.name}_test_{part}.json.gz"
        if not file.exists():
            partial = entry.folder / f"{part}{ENDING}"
            evaluate(load_model(entry.checkpoint), task, part=f"test_{part}", partial=partial).save(file)
            remove_partial(partial)


def describe_split(store: Store, count: int, file: Path) -> dict[str, str]:
    """The crystals of a split, for `keep_facts`; raises UsageError where it has another number of formulas."""
    split = own_data(store, file)
    formulas = {reduce_formula(store.row(id)["formula"]) for id in split.ids("train")}
    if len(formulas) != count:
        raise UsageError(f"{file} has {len(formulas)} training formulas: its name should be {len(formulas)}.json")
    return {f"crystals of {file.name}": split.origin.split_hash}


def run_curve(options: argparse.Namespace) -> None:
    """Do what is left of the curve: the pair model of each split, then the networks that start from it."""
    splits, store = find_splits(options.folder), task_data("pbe").store
    length = f"{options.minutes:g} minutes" if options.minutes else f"{options.steps or 'those of the recipe'} steps"
    facts = describe_data(open_tasks()) | {"lengths of the trainings": length}
    for count, file in splits.items():
        facts |= describe_split(store, count, file)
    keep_facts(options.folder / "data.json", facts)
    entries = [list_entries(file, options) for file in splits.values()]
    race.run_all(run, [pair for pair, *_ in entries], options.processes)
    race.run_all(run, [entry for _, *networks in entries for entry in networks], options.processes)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    write, train, table = map(verbs.add_parser, ("splits", "run", "table"))
    for verb in (write, train, table):
        verb.add_argument("folder", type=Path)
    write.add_argument("--formulas", type=int, nargs="+", default=[20, 40, 60, 74])
    write.add_argument("--seed", type=int, default=42)
    train.add_argument("--models", nargs="+", default=MODELS, choices=MODELS, help="Networks to train.")
    train.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44])
    length = train.add_mutually_exclusive_group()
    length.add_argument("--steps", type=int, help="Steps of each training; default: those of its recipe.")
    length.add_argument("--minutes", type=float, help="Processor time of each training, which gives its steps.")
    train.add_argument("--processes", type=int, default=1, help="Trainings at the same time, one core each.")
    table.add_argument("--figure", type=Path, help="Picture of the curves to write, .png or .pdf.")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_arguments(arguments)
    try:
        if options.verb == "splits":
            write_splits(options.folder, options.formulas, options.seed)
            return
        if options.verb == "run":
            run_curve(options)
        curve = read_curve(options.folder)
        print(format_curve(curve))
        if options.verb == "table" and options.figure:
            draw_curve(curve, options.figure)
    except EcdError as error:
        raise SystemExit(f"learning_curve.py: {error}") from None


if __name__ == "__main__":
    main()
