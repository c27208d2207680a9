"""How the error falls with the number of training formulas: splits of the sample to train on, and the table of results.

    python benchmarks/learning_curve.py splits FOLDER [--formulas 20 40 60 74] [--seed 42]
    python benchmarks/learning_curve.py table 20:errors_20.json 40:errors_40.json 74:errors.json ...

The first writes FOLDER/20.json and so on, each with all cells of so many training formulas of the embedded PBE sample,
in the order of sha256("seed:formula"), so that a larger split has every crystal of a smaller one; validation and test
are those of the sample. A training takes one by

    ecd train RECIPE.toml --set task=ecd_pbe --set store=ecd_data/sample/pbe.ecd --set split=FOLDER/20.json

A network that starts from the pair model needs one that was fitted on the same split (atoms=FILE.safetensors), or it
knows compounds that the split leaves out. The second reads results files of `ecd evaluate -o` (several of a part, from
several seeds, are averaged) and prints the mean eps_mae by part and number of formulas. The slope is that of
log(error) over log(formulas) by least squares: -0.5 means that four times the formulas halve the error. The last column
is what this power law gives for twice the largest number.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import defaultdict
from pathlib import Path

import numpy as np

from ecd_data.release.formula import reduce_formula
from ecd_models.evaluation.results import read_results
from ecd_models.task_data import TaskData, task_data

PARTS = ("train", "validation", "test")


def order_formulas(formulas: set[str], seed: int) -> list[str]:
    """The formulas in an order that their hash with the seed gives."""
    return sorted(formulas, key=lambda formula: hashlib.sha256(f"{seed}:{formula}".encode()).digest())


def make_splits(data: TaskData, counts: list[int], seed: int) -> dict[int, dict[str, list[str]]]:
    """The split with so many training formulas, by their number; only the part train differs from that of the data."""
    formulas = {id: reduce_formula(data.store.row(id)["formula"]) for id in data.ids("train")}
    order = order_formulas(set(formulas.values()), seed)
    if wrong := [count for count in counts if not 0 < count <= len(order)]:
        raise SystemExit(f"there are {len(order)} training formulas: --formulas cannot be {wrong[0]}")
    splits = {}
    for count in counts:
        chosen = set(order[:count])
        train = [id for id in data.ids("train") if formulas[id] in chosen]
        splits[count] = {"train": train} | {part: data.ids(part) for part in PARTS[1:]}
    return splits


def write_splits(folder: Path, counts: list[int], seed: int) -> None:
    """Write the splits of the sample to FOLDER/COUNT.json and print their sizes."""
    folder.mkdir(parents=True, exist_ok=True)
    for count, split in make_splits(task_data("ecd_pbe", sample=True), counts, seed).items():
        (folder / f"{count}.json").write_text(json.dumps(split, indent=1))
        print(f"{folder / f'{count}.json'}: {count} formulas, {len(split['train'])} training crystals")


def read_errors(named: list[str]) -> dict[str, dict[int, float]]:
    """The mean eps_mae in percent by part and number of formulas, from texts NUMBER:FILE."""
    errors: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    stores: dict[str, tuple[str, str | None]] = {}
    for text in named:
        count, colon, file = text.partition(":")
        if not (colon and count.isdigit() and int(count)):
            raise SystemExit(f"{text!r} should be NUMBER:FILE, such as 20:errors_20.json")
        results = read_results(file)
        first, store = stores.setdefault(results.part, (file, results.store_hash))
        if results.store_hash != store:
            raise SystemExit(f"{first} and {file} are errors against different densities: evaluate both again")
        errors[results.part][int(count)].append(100 * float(np.mean(list(results.errors.values()))))
    return {part: {count: float(np.mean(of)) for count, of in sorted(by.items())} for part, by in errors.items()}


def fit_slope(errors: dict[int, float]) -> tuple[float, float]:
    """The slope of log(error) over log(number), and the error that it gives for twice the largest number."""
    slope, constant = np.polyfit(np.log(list(errors)), np.log(list(errors.values())), 1)
    return float(slope), float(np.exp(constant + slope * np.log(2 * max(errors))))


def format_table(errors: dict[str, dict[int, float]]) -> str:
    """The table as markdown."""
    counts = sorted({count for by in errors.values() for count in by})
    rows = [f"| part | {' | '.join(f'{count} formulas' for count in counts)} | slope | {2 * counts[-1]} formulas |"]
    rows.append("|" + "---|" * (len(counts) + 3))
    for part, by in errors.items():
        cells = [f"{by[count]:.2f} %" if count in by else "" for count in counts]
        law = "{:.2f} | {:.2f} %".format(*fit_slope(by)) if len(by) > 1 else " | "
        rows.append(f"| {part} | {' | '.join(cells)} | {law} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    splits = verbs.add_parser("splits")
    splits.add_argument("folder", type=Path)
    splits.add_argument("--formulas", type=int, nargs="+", default=[20, 40, 60, 74])
    splits.add_argument("--seed", type=int, default=42)
    table = verbs.add_parser("table")
    table.add_argument("results", nargs="+", metavar="NUMBER:FILE")
    options = parser.parse_args()
    if options.verb == "splits":
        write_splits(options.folder, options.formulas, options.seed)
    else:
        print(format_table(read_errors(options.results)))


if __name__ == "__main__":
    main()
