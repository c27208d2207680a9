"""The same budget of processor time for each network: errors on the parts of the sample, points a second, memory.

    python benchmarks/race.py [--minutes 20] [--models fourier_density charge3net ...] [--seeds 42 43 44]
                              [--atoms MODEL] [--energies N] [--processes 1] [--wall SECONDS] [--out runs/race]
                              [--table]

The linear pair model is fitted first, by the recipe that ships: about seven minutes of a core, whatever the budget.
All networks start from it, and it has a row of its own. --atoms takes one that is there already, such as pair_density,
which ships.

Every network trains on one core on the sample's training crystals, as the difference to the same superposed atoms,
with errors relative to a crystal's mean density, element descriptors, a cosine schedule, clipping and an average of
weights. The steps are those that fit the budget: the processor time of a step is measured first; decoding the
densities, which every network needs once, is not part of the budget, validations are not either.

The training of each model and seed is a process of its own, which then predicts all test crystals on their full grids.
Trainings and crystals that are done are kept in --out, and the same command goes on with the others, also on another
machine; a training that was interrupted begins again. --wall ends everything after so many seconds, once the pair model
is fitted: steps are then also bounded by the time that is left, and the evaluation goes crystal by crystal through all
parts in turn. --table only prints what is there. After a change of the sample results on other densities are refused.

--energies N computes with pw.x, after the trainings, the error of the total energy that each density gives without a
self-consistency (`ecd scf energies`), for N crystals of each part, the same for all entries: the cheapest cell of each
compound first. `ecd scf table OUT/*/energies.json --every` prints them all.

A percentage is a mean over crystals of eps_mae with its spread over seeds; median and 90th percentile of all crystals
and seeds stand in brackets, and how many crystals were predicted where these are not all. Behind the steps stand the
seconds of a processor that the trainings took, decoding and validations included. Points a second are those of
one core's processor time for MgO (8 atoms) on a grid of 48^3, after the first use; MB are the largest of the training.
Errors of energies are absolute ones in meV an atom; metals with semicore states are those without a gap of which an
element's pseudopotential has more than 8 electrons, and stand apart.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import torch
from race_energies import add_energies, choose_crystals
from race_evaluation import describe_data, evaluate_entry, list_parts, open_tasks, take_in_turn
from race_table import format_table
from race_training import MODELS, Entry, keep_data_facts, keep_pair_model, make_pair_entry, train_entry

from ecd_data.dft.engines import load_engine
from ecd_data.errors import EcdError

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def train_missing(entry: Entry) -> None:
    """Train an entry unless it is trained already."""
    torch.set_num_threads(1)
    if not entry.record.exists():
        train_entry(entry)


def run(entry: Entry) -> None:
    """Do what is left of an entry's training and evaluation."""
    train_missing(entry)
    evaluate_entry(entry)


def run_all(work: Callable[[Entry], None], entries: Sequence[Entry], processes: int, word: str = "done") -> None:
    """Call `work` with each entry, in a process of its own on one core, and print which are done, in that word."""
    os.environ.update(ONE_THREAD)
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        todo = {pool.submit(work, entry): entry for entry in entries}
        for done in as_completed(todo):
            done.result()
            print(f"{word}: {todo[done].folder}", flush=True)


def list_entries(options: argparse.Namespace, until: float) -> list[Entry]:
    """The pair model, then the networks that start from it."""
    pair = make_pair_entry(options.out, until)
    return [pair] + [
        Entry(model, seed, 60 * options.minutes, str(pair.checkpoint), options.out, until)
        for seed in options.seeds
        for model in options.models
    ]


def race(options: argparse.Namespace) -> None:
    """Do what is left, unless the table alone is wanted, and print the table."""
    until = time.time() + options.wall
    data, entries = open_tasks(), list_entries(options, until)
    parts = list_parts(data)
    chosen = {
        part: (task, choose_crystals(data[task], f"test_{part}", options.energies))
        for part, (task, _) in parts.items()
        if options.energies
    }
    keep_data_facts(options.out, describe_data(data), options.table)
    if not options.table:
        if chosen:
            load_engine("espresso")  # a pw.x that is missing is told before the trainings
        if options.atoms:
            keep_pair_model(entries[0], options.atoms)
        run_all(train_missing, entries[:1], 1, "fitted")
        run_all(run, entries, options.processes)
        if chosen:
            energies = list(take_in_turn(chosen.values()))
            add_energies(entries, energies, options.out / "scf", options.processes, until)
    print(
        f"{options.minutes:.3g} minutes of one core; eps_mae in %: mean ± spread over seeds (median, 90th percentile)\n"
    )
    print(format_table(entries, parts, [id for _, ids in chosen.values() for id in ids]))


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0, help="Processor time of each training.")
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS, help="Networks to train.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44])
    parser.add_argument("--atoms", help="Name or file of the pair model that all start from; default: fit it here.")
    parser.add_argument("--energies", type=int, default=0, help="Crystals of each part whose energies pw.x computes.")
    parser.add_argument("--processes", type=int, default=1, help="Trainings at the same time, one core each.")
    parser.add_argument("--wall", type=float, default=float("inf"), help="Seconds after which everything ends.")
    parser.add_argument("--out", type=Path, default=Path("runs/race"))
    parser.add_argument("--table", action="store_true", help="Print the table of the results that are there.")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_arguments(arguments)
    try:
        race(options)
    except EcdError as error:
        raise SystemExit(f"race.py: {error}") from None


if __name__ == "__main__":
    main()
