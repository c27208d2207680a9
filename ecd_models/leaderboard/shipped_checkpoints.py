"""The checkpoints that ship, taken from the trainings of a race, with new results and pages.

`python -m ecd_models.leaderboard.shipped_checkpoints RACE` takes the folder that `benchmarks/race.py` wrote. The pair
model is the one that all networks of the race start from. Of fourier_density the mean of all seeds ships, with the
estimate of its errors; of the other networks the seed with the smallest validation error. Each is evaluated on all test
parts of the sample, unless the results of the same weights and densities are stored already.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from ecd_data.errors import UsageError
from ecd_data.work.programs import run_program
from ecd_models.checkpoint import load_checkpoint
from ecd_models.evaluation.calibrate_errors import calibrate
from ecd_models.evaluation.results import read_results, write_results
from ecd_models.leaderboard.shipped_pages import write_pages
from ecd_models.report.shipped import STORED, evaluate_shipped
from ecd_models.training.choose_atoms import PAIR_MODEL
from ecd_models.training.join_seeds import join_seeds
from ecd_models.weights.catalogue import PRETRAINED

JOINED = "fourier_density"
ALONE = ("charge3net", "deepdft", "invcharge3net", "invdeepdft")  # which ship as one network, `<name>-sample`
BEST = "best.safetensors"


def find_seeds(race: Path, network: str) -> list[Path]:
    """The checkpoints of the seeds of a network in the folder of a race.

    Raises UsageError if there is none, or if the race had several budgets.
    """
    found = sorted(race.glob(f"{network}-[0-9]*-*/{BEST}"))
    if not found:
        raise UsageError(f"{race} has no training of {network}: give a folder that benchmarks/race.py wrote")
    budgets = {path.parent.name.split("-", 2)[2] for path in found}
    if len(budgets) > 1:
        raise UsageError(f"{race} has {network} with the budgets {', '.join(sorted(budgets))}: keep one of them")
    return found


def choose_seed(checkpoints: Sequence[Path]) -> Path:
    """The checkpoint with the smallest validation error."""
    return min(checkpoints, key=lambda path: float(load_checkpoint(path).metadata["validation_error"]))


def install_checkpoints(race: Path, pretrained: Path = PRETRAINED) -> dict[str, list[Path]]:
    """The checkpoints of the race by the name of the shipped file that was made of them.

    Raises UsageError before anything is written if a network is missing.
    """
    chosen = {f"{network}-sample": [choose_seed(find_seeds(race, network))] for network in ALONE}
    chosen |= {JOINED: find_seeds(race, JOINED), PAIR_MODEL: [race / PAIR_MODEL / BEST]}
    if not chosen[PAIR_MODEL][0].is_file():
        raise UsageError(f"{race} has no {PAIR_MODEL}/{BEST}, from which its networks start: run the race again")
    for name, checkpoints in chosen.items():
        target = pretrained / f"{name}.safetensors"
        if name == JOINED:
            join_seeds(checkpoints, target)
            calibrate(target)
        else:
            shutil.copyfile(checkpoints[0], target)
    return chosen


def store_results(kept: Path, workers: int, stored: Path = STORED) -> list[Path]:
    """The results files that were written: those of shipped models whose stored results are of other weights or data.

    Parameters
    ----------
    kept : a folder for the evaluations, which an interrupted call continues.
    workers : the number of processes that predict at the same time.
    stored : the folder of the results that ship.
    """
    new = []
    for file in evaluate_shipped(kept, workers, stored=True):
        if file.parent != stored:
            new.append(stored / f"{file.stem}.json.gz")
            write_results(read_results(file), new[-1])
    return new


def main() -> None:
    """Install the checkpoints of the command line's race, evaluate them and write the pages."""
    parser = argparse.ArgumentParser(description="Make the checkpoints of a race those that ship.")
    parser.add_argument("race", type=Path, help="Folder that benchmarks/race.py wrote.")
    parser.add_argument("--workers", type=int, default=1, help="Processes that predict at the same time.")
    options = parser.parse_args()
    for name, checkpoints in install_checkpoints(options.race).items():
        print(f"{name}: {', '.join(str(path) for path in checkpoints)}", flush=True)
    for file in [*store_results(options.race / "shipped_results", options.workers), *write_pages()]:
        print(f"wrote {file}")


if __name__ == "__main__":
    run_program(main)
