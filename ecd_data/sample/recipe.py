"""The recipe of the sample: `python -m ecd_data.sample.recipe --out DIR` computes its stores again."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ecd_data.dft import RelaxReport, RunReport, relax, run
from ecd_data.sample.addition_runs import run_additions
from ecd_data.sample.additions import make_joined_cells
from ecd_data.sample.cells import load_elements, load_structures, make_cells, select_hybrids
from ecd_data.sample.hybrid_additions import run_hybrids
from ecd_data.sample.join_additions import join_additions
from ecd_data.sample.literature import read_literature
from ecd_data.sample.meshes import refine_hybrids, refine_meshes
from ecd_data.sample.split import make_manifest, write_manifest
from ecd_data.sample.table import STORES
from ecd_data.work.programs import run_program


def read_records(store: str) -> dict[str, dict[str, Any]]:
    """The records by id of the cells in a store of the sample: "pbe", "ood", "elements" or "hse".

    Records have the meshes of `ecd_data.sample.meshes`, and the cheapest cells come first.
    """
    if store == "hse":
        return refine_hybrids(select_hybrids())
    if store == "elements":
        return refine_meshes(load_elements())
    parts = make_manifest()[store]
    inside = {id for part in ("train", "validation", "test") for id in parts[part]}
    cells = make_cells() | make_joined_cells()
    return refine_meshes({id: record for id, record in cells.items() if id in inside})


def make_sample(
    out: Path, work: Path | None = None, processes: int = 1, pseudo: Path | None = None
) -> dict[str, RunReport | RelaxReport]:
    """A report for each of `pbe.ecd`, `ood.ecd`, `elements.ecd`, `hse.ecd` and the relaxed cells, computed in a folder.

    The folder gets splits.json too. A second call continues an interrupted one.
    Parameters
    ----------
    out : folder for the stores.
    work : folder that keeps the engine's files.
    processes : number of engine runs at the same time.
    pseudo : folder of the pseudopotentials, as in `ecd_data.dft.setup`.
    """
    reports: dict[str, RunReport | RelaxReport] = {}
    for name in STORES:
        functional = "hse" if name == "hse" else "pbe"
        reports[name] = run(
            read_records(name),
            out / f"{name}.ecd",
            functional,
            processes=processes,
            pseudo=pseudo,
            work=work / functional if work is not None else None,
        )
    kinds, structures = ("volumes", "lattice_constants"), load_structures()
    compared = {id: structures[id] for kind in kinds for id in read_literature()[kind]}
    relax_work = work / "relax" if work is not None else None
    reports["relaxed"] = relax(compared, out / "relaxed.json", processes=processes, pseudo=pseudo, work=relax_work)
    write_manifest(out / "splits.json")
    return reports


def main() -> None:
    """Compute the stores from the command line."""
    parser = argparse.ArgumentParser(prog="python -m ecd_data.sample.recipe", description=__doc__)
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--out", type=Path, help="compute all stores in this folder, or continue there")
    task.add_argument("--add", type=Path, help="compute the added crystals (PBE) in this folder, or continue there")
    task.add_argument("--join", type=Path, help="move added crystals of the folder of --add into the package's sample")
    task.add_argument("--add-hybrids", type=Path, help="compute further HSE06 densities in the folder of --add")
    parser.add_argument("--work", type=Path, help="folder that keeps the engine's files")
    parser.add_argument("--pseudo", type=Path, help="folder of pseudopotentials in place of the cache")
    parser.add_argument("--processes", type=int, default=1, help="number of engine runs at the same time")
    options = parser.parse_args()
    reports: Mapping[str, RunReport | RelaxReport | str]
    if options.join:
        reports = {"joined": str(join_additions(options.join))}
    elif options.add:
        work = options.work or options.add / "work"
        reports = {"added crystals": run_additions(options.add, work, options.processes, options.pseudo)}
    elif options.add_hybrids:
        work = options.work or options.add_hybrids / "work-hse"
        reports = {"HSE06": run_hybrids(options.add_hybrids, work, options.processes, options.pseudo)}
    else:
        reports = make_sample(options.out, options.work, options.processes, options.pseudo)
    for name, report in reports.items():
        print(f"{name}: {report}")


if __name__ == "__main__":
    run_program(main)
