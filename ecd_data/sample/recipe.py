"""The sample from nothing: `python -m ecd_data.sample.recipe --out DIR` computes its stores again."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from ecd_data.dft import RelaxReport, RunReport, relax, run
from ecd_data.sample.cells import cells, hybrids, structures
from ecd_data.sample.literature import published
from ecd_data.sample.meshes import refine_meshes
from ecd_data.sample.split import manifest, write_manifest
from ecd_data.sample.table import HERE, STORES, tables


def records_of(store: str) -> dict[str, dict[str, Any]]:
    """The records of the cells that a store of the sample has ("pbe", "ood", "elements" or "hse"), by id."""
    if store == "hse":
        return hybrids()
    if store == "elements":
        return json.loads(files("ecd_data.sample").joinpath("elements.json").read_text())
    parts = manifest()[store]
    inside = {id for part in ("train", "validation", "test") for id in parts[part]}
    return {id: record for id, record in cells().items() if id in inside}


def refine_sample(
    out: Path, work: Path | None = None, processes: int = 1, pseudo: Path | None = None, pwx: Path | None = None
) -> dict[str, RunReport]:
    """Computes the PBE stores `pbe.ecd`, `ood.ecd` and `elements.ecd` in a folder at converged k meshes.

    Returns a report for each; a second call continues.
    """
    return {
        name: run(
            refine_meshes(records_of(name)),
            out / f"{name}.ecd",
            restart=name != "elements",
            processes=processes,
            pseudo=pseudo,
            pwx=pwx,
            work=work,
        )
        for name in STORES
        if name != "hse"
    }


def make_sample(
    out: Path, work: Path | None = None, processes: int = 1, pseudo: Path | None = None, pwx: Path | None = None
) -> dict[str, RunReport | RelaxReport]:
    """Computes `pbe.ecd`, `ood.ecd`, `elements.ecd` and `hse.ecd` in a folder, with the split and relaxed cells beside.

    Returns a report for each; a second call continues.
    """
    reports: dict[str, RunReport | RelaxReport] = {}
    for name in STORES:
        functional = "hse" if name == "hse" else "pbe"
        reports[name] = run(
            records_of(name),
            out / f"{name}.ecd",
            functional,
            restart=name in ("pbe", "ood"),
            processes=processes,
            pseudo=pseudo,
            pwx=pwx,
            work=work / functional if work is not None else None,
        )
    known = {id: structures()[id] for kind in ("volumes", "lattice_constants") for id in published()[kind]}
    kept = work / "relax" if work is not None else None
    reports["relaxed"] = relax(known, out / "relaxed.json", processes=processes, pseudo=pseudo, pwx=pwx, work=kept)
    write_manifest(out / "splits.json")
    return reports


def main() -> None:
    """The command line: compute the stores, or print the tables of docs/sample.md."""
    parser = argparse.ArgumentParser(prog="python -m ecd_data.sample.recipe", description=__doc__)
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--out", type=Path, help="compute the stores in this folder, or continue there")
    task.add_argument("--refine", type=Path, help="the PBE stores at converged k meshes, in this folder")
    task.add_argument("--table", action="store_true", help="print what the embedded sample holds")
    parser.add_argument("--work", type=Path, help="keep the engine's files here")
    parser.add_argument("--pseudo", type=Path, help="folder of pseudopotentials instead of the cache")
    parser.add_argument("--processes", type=int, default=1, help="engine runs at a time")
    given = parser.parse_args()
    if given.table:
        print(tables(HERE))
        return
    reports: Mapping[str, RunReport | RelaxReport]
    if given.refine:
        reports = refine_sample(given.refine, given.work, given.processes, given.pseudo)
    else:
        reports = make_sample(given.out, given.work, given.processes, given.pseudo)
    for name, report in reports.items():
        print(f"{name}: {report}")


if __name__ == "__main__":
    main()
