"""From how many atoms on a prediction shall start a self-consistency: chosen and tested by leaving crystals out.

    python benchmarks/scf_rule.py docs/scf_results/runs-*.json

Of the numbers of atoms that slow at most 7 % of some crystals, the one is chosen with which the prediction saves the
largest share of what the converged density saves; it is tested on the crystals that were left out. The number in use
is MIN_ATOMS of ecd_models/scf/doubts.py.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np

from ecd_data.crystal import Floats
from ecd_models.scf.bench import ATOMS, ORACLE
from ecd_models.scf.gains import CLOCKS, CrystalRuns
from ecd_models.scf.saved_tables import load_runs

MAX_SLOWED = 0.07  # of the crystals
NUMBERS = range(1, 9)  # of atoms
HALVES = 200  # random divisions


def read_times(crystals: list[CrystalRuns], start: str, clock: str) -> tuple[Floats, Floats]:
    """The numbers of atoms [n] and the seconds [n, 3] from atoms, from the converged density, from the prediction."""
    both = [c for c in crystals if start in c.runs]
    times = [
        [c.runs[ATOMS].seconds(clock), getattr(c.runs[ORACLE], f"{clock}_seconds"), c.runs[start].seconds(clock)]
        for c in both
    ]
    return np.array([c.natoms for c in both], dtype=np.float64), np.array(times)


def apply_rule(natoms: Floats, times: Floats, number: float | Floats) -> Floats:
    """The seconds [n] where the prediction is used from a number of atoms on."""
    return np.where(natoms >= number, times[:, 2], times[:, 0])


def measure(times: Floats, seconds: Floats) -> tuple[float, float, float]:
    """The share of the oracle's gain, the share of crystals slowed, and the share of all time saved."""
    saved = times[:, 0] - seconds
    return saved.sum() / (times[:, 0] - times[:, 1]).sum(), (saved < 0).mean(), saved.sum() / times[:, 0].sum()


def choose_number(natoms: Floats, times: Floats) -> int:
    """The number of atoms from which on a prediction is worth most without slowing too many of the crystals."""
    shares = {number: measure(times, apply_rule(natoms, times, number)) for number in NUMBERS}
    allowed = [number for number in NUMBERS if shares[number][1] <= MAX_SLOWED]
    return max(allowed, key=lambda number: shares[number][0])


def main() -> None:
    """Print what each number does, and the tests."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, help="JSON of ecd scf run")
    parser.add_argument("--start", default="pair_density", help="the prediction")
    parser.add_argument("--clock", default="cpu", choices=CLOCKS)
    options = parser.parse_args()
    natoms, times = read_times(load_runs(options.files), options.start, options.clock)
    print("| atoms from | crystals | of the oracle's gain in time | slowed | of all time |\n|---|---|---|---|---|")
    for number in NUMBERS:
        share, slowed, saved = measure(times, apply_rule(natoms, times, number))
        print(f"| {number} | {(natoms >= number).sum()} | {share:.3f} | {slowed:.3f} | {saved:.3f} |")
    rows = np.arange(len(natoms))
    chosen = np.array([choose_number(natoms[rows != row], times[rows != row]) for row in rows])
    share, slowed, saved = measure(times, apply_rule(natoms, times, chosen))
    print(
        f"each crystal by the others: chosen {dict(Counter(chosen.tolist()))}; {share:.3f}, {slowed:.3f}, {saved:.3f}"
    )
    tests = []
    for order in (np.random.default_rng(seed).permutation(rows) for seed in range(HALVES)):
        first, second = np.array_split(order, 2)
        number = choose_number(natoms[first], times[first])
        tests.append(measure(times[second], apply_rule(natoms[second], times[second], number)))
    share, slowed, saved = np.mean(tests, axis=0)
    print(f"one half by the other, {HALVES} divisions: {share:.3f}, {slowed:.3f}, {saved:.3f}")


if __name__ == "__main__":
    main()
