"""The sample from nothing: `python -m ecd_data.sample.recipe --out DIR` computes its two stores again."""

from __future__ import annotations

import argparse
from pathlib import Path

from ecd_data.dft import RunReport, run
from ecd_data.sample.cells import displaced, pristine
from ecd_data.sample.table import HERE, tables


def make_sample(
    out: Path, work: Path | None = None, processes: int = 1, pseudo: Path | None = None
) -> dict[str, RunReport]:
    """Computes `pbe.ecd` and `hse.ecd` in a folder and returns a report for each; a second call continues."""
    reports = {}
    for functional, crystals in (("pbe", pristine("pbe") | displaced()), ("hse", pristine("hse"))):
        kept = work / functional if work is not None else None
        store = out / f"{functional}.ecd"
        reports[functional] = run(crystals, store, functional, processes=processes, pseudo=pseudo, work=kept)
    return reports


def main() -> None:
    """The command line: compute the stores, or print the tables of docs/sample.md."""
    parser = argparse.ArgumentParser(prog="python -m ecd_data.sample.recipe", description=__doc__)
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--out", type=Path, help="compute pbe.ecd and hse.ecd in this folder, or continue there")
    task.add_argument("--table", action="store_true", help="print what the embedded sample holds")
    parser.add_argument("--work", type=Path, help="keep the engine's files here")
    parser.add_argument("--pseudo", type=Path, help="folder of pseudopotentials instead of the cache")
    parser.add_argument("--processes", type=int, default=1, help="engine runs at a time")
    given = parser.parse_args()
    if given.table:
        print(tables(HERE))
        return
    for functional, report in make_sample(given.out, given.work, given.processes, given.pseudo).items():
        print(f"{functional}: {report}")


if __name__ == "__main__":
    main()
