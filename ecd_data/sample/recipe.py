"""The sample from nothing: `python -m ecd_data.sample.recipe --out DIR` computes its two stores again."""

from __future__ import annotations

import argparse
from pathlib import Path

from ecd_data.dft import RunReport, run
from ecd_data.sample.cells import displaced, pristine


def make_sample(
    out: Path, work: Path | None = None, processes: int = 1, pseudo: Path | None = None
) -> dict[str, RunReport]:
    """Computes `pbe.ecd` and `hse.ecd` in a folder and returns a report for each; a second call continues."""
    kept = {f: None if work is None else work / f for f in ("pbe", "hse")}
    return {
        functional: run(
            crystals, out / f"{functional}.ecd", functional, processes=processes, pseudo=pseudo, work=kept[functional]
        )
        for functional, crystals in (("pbe", pristine("pbe") | displaced()), ("hse", pristine("hse")))
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="folder for pbe.ecd and hse.ecd")
    parser.add_argument("--work", type=Path, help="keep the engine's files here")
    parser.add_argument("--pseudo", type=Path, help="folder of pseudopotentials instead of the cache")
    parser.add_argument("--processes", type=int, default=1, help="engine runs at a time")
    given = parser.parse_args()
    for functional, report in make_sample(given.out, given.work, given.processes, given.pseudo).items():
        print(f"{functional}: {report}")


if __name__ == "__main__":
    main()
