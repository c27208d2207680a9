"""The same trials of tuning for each network of the race: learning rates around its recipe's, judged by validation.

    python benchmarks/race_tuning.py [--minutes 1.5] [--models fourier_density charge3net ...] [--factors 0.5 1 2]
                                     [--seed 41] [--atoms pair_density] [--processes 1] [--out runs/race_tuning]
                                     [--table]

What is compared in a race must have been tuned alike. Each network trains under the rules of `race.py` with every
factor times the learning rate of its recipe, all else the same: difference to the same pair model, errors relative to
the mean density, schedule, clipping, average of weights. The seed is none of the race's, and no test part is looked at.
A percentage is the smallest validation error of a training: that of whole grids for `fourier_density` and of probes for
the others, so compare along a row only. The least error of a row is bold: put its learning rate into the recipe in
`examples/` before the race. Trainings that are done are kept in --out. After a change
of the sample they are refused. --table only prints what is there.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import race
from race_evaluation import describe_data, open_tasks
from race_training import MODELS, Entry, keep_data_facts, load_recipe

from ecd_data.errors import EcdError
from ecd_models.checkpoint import load_checkpoint


def list_trials(options: argparse.Namespace) -> list[Entry]:
    """A training for each factor of each network."""
    return [make_trial(model, factor, options) for factor in options.factors for model in dict.fromkeys(options.models)]


def make_trial(model: str, factor: float, options: argparse.Namespace) -> Entry:
    """The training of a network with a factor times its recipe's learning rate."""
    lr = factor * load_recipe(model).lr
    folder, budget = options.out / f"lr-{lr:g}", 60 * options.minutes
    return Entry(model, options.seed, budget, options.atoms, folder, data={"lr": lr})


def validation_error(trial: Entry) -> float | None:
    """The smallest validation error of a trial in %; None if it is not trained yet."""
    if not trial.record.exists():
        return None
    return 100 * float(load_checkpoint(trial.checkpoint).metadata["validation_error"])


def format_table(options: argparse.Namespace) -> str:
    """A row for each network, a column for each factor."""
    lines = ["| model | " + " | ".join(f"{factor:g} x" for factor in options.factors) + " |"]
    lines.append("|" + "---|" * (len(options.factors) + 1))
    for model in dict.fromkeys(options.models):
        trials = [make_trial(model, factor, options) for factor in options.factors]
        errors = [validation_error(trial) for trial in trials]
        least = min((error for error in errors if error is not None), default=None)
        cells = [
            f"{model}, lr {load_recipe(model).lr:g}",
            *(("" if e is None else f"**{e:.3f}**" if e == least else f"{e:.3f}") for e in errors),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1.5, help="Processor time of each training.")
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--factors", type=float, nargs="+", default=[0.5, 1.0, 2.0])
    parser.add_argument("--seed", type=int, default=41)
    parser.add_argument("--atoms", default="pair_density", help="The pair model that all start from, a name or a file.")
    parser.add_argument("--processes", type=int, default=1, help="Trainings at the same time, one core each.")
    parser.add_argument("--out", type=Path, default=Path("runs/race_tuning"))
    parser.add_argument("--table", action="store_true", help="Print the table of the results that are there.")
    options = parser.parse_args(arguments)
    try:
        facts = describe_data(open_tasks()) | {"superposed atoms": options.atoms}
        keep_data_facts(options.out, facts, options.table, "*/*/training.json")
        if not options.table:
            race.run_all(race.train_missing, list_trials(options), options.processes, "trained")
    except EcdError as error:
        raise SystemExit(f"race_tuning.py: {error}") from None
    print(f"smallest validation error in % by learning rate; {options.minutes:g} minutes of one core each\n")
    print(format_table(options))


if __name__ == "__main__":
    main()
