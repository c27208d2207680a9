"""The relaxation of many crystals into a JSON file of records; it can be continued, and failures are reported."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError, Future, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ecd_data.dft.engine import Engine, exit_on_sigterm, open_pool, own_folder
from ecd_data.dft.engines import load_engine
from ecd_data.dft.flow import print_failures
from ecd_data.dft.present_densities import SAME
from ecd_data.dft.settings import Job, apply_choices, make_usable_jobs
from ecd_data.dft.steps import RelaxedJob, relax_job
from ecd_data.dft.vasp_inputs import DENSE
from ecd_data.errors import EcdError, UsageError
from ecd_data.io.atomic_write import write_json
from ecd_data.work.progress import Progress, show_progress

if TYPE_CHECKING:
    from ecd_data.work.process_pool import Cluster


@dataclass
class RelaxReport:
    """The result of `relax`: ids relaxed now, ids that the file had already, and reasons by id or file of failures."""

    done: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{len(self.done)} relaxed, {len(self.present)} present already, {len(self.failures)} failed"


def relax(
    crystals: Any,
    output: str | Path,
    *,
    kspacing: float = DENSE,
    spin: bool | None = None,
    smearing: bool | None = None,
    hubbard_u: Mapping[str, float] | None = None,
    processes: int = 1,
    cluster: Cluster | None = None,
    pwx: str | Path | None = None,
    pseudo: str | Path | None = None,
    work: str | Path | None = None,
    engine: Engine | str | None = None,
) -> RelaxReport:
    """A report of the relaxation of every crystal's cell and atoms with PBE (+U) into a JSON file of records.

    Forces fall below 1e-4 Ry/bohr (2.6 meV/Å) and the pressure of the last cell below 0.1 GPa. A record has the
    crystal, its settings and, under "relaxation", the steps, energy, pressure and the lattice before; `run` takes the
    file. Each relaxed crystal is written at once, so a second call continues an interrupted one.

    Parameters
    ----------
    output : the JSON file.
    crystals, kspacing, spin, smearing, hubbard_u, processes, cluster, pwx, pseudo, work, engine : as in `run`.

    Raises
    ------
    UsageError : the file has other contents, or an argument is impossible.
    RunError : another process relaxes crystals into the file.
    MissingDependencyError : there is no engine.
    """
    file = Path(output)
    if processes < 1:
        raise UsageError(f"processes must be at least 1, not {processes}")
    jobs, failed = make_usable_jobs(crystals, "pbe", kspacing)
    jobs = [apply_choices(job, spin=spin, smearing=smearing, hubbard_u=hubbard_u) for job in jobs]
    engine = load_engine(engine, pwx, pseudo)
    with own_folder(_own_work(file), str(file), "file for the relaxed crystals"):
        return _relax_into_file(file, jobs, failed, engine, processes, cluster, work)


def _own_work(file: Path) -> Path:
    """The work folder of a file, whose lock keeps two calls from writing the file, each without the other's records."""
    return Path(f"{file}.work")


def _relax_into_file(
    file: Path,
    jobs: Sequence[Job],
    failed: dict[str, str],
    engine: Engine,
    processes: int,
    cluster: Cluster | None,
    work: str | Path | None,
) -> RelaxReport:
    records = _read_records(file)
    folder = _own_work(file) if work is None else Path(work)
    present = [job for job in jobs if job.id in records]
    other = {job.id: reason for job in present if (reason := _find_other_contents(job, records[job.id], file))}
    here = [job.id for job in present if job.id not in other]
    report = RelaxReport(present=here, failures=print_failures(failed | other))
    new_jobs = [job for job in jobs if job.id not in records]
    with (
        exit_on_sigterm(),
        show_progress("cells", len(new_jobs)) as progress,
        open_pool(engine, processes, cluster) as pool,
    ):
        futures = {pool.submit(relax_job, engine, job, (folder / job.id).absolute()): job.id for job in new_jobs}
        for future in as_completed(futures):
            id = futures[future]
            if _save_result(future, id, records, file, report, progress) and work is None:
                shutil.rmtree(folder / id, ignore_errors=True)
            progress.advance(id)
    return report


def _find_other_contents(job: Job, record: Mapping[str, Any], file: Path) -> str | None:
    """The reason why a record of the file is not that of a job: another crystal, or other settings; None if it is."""
    relaxation, wanted = record["relaxation"], job.settings.as_meta()
    before = relaxation.get("lattice_before")
    if list(record["numbers"]) != job.crystal.numbers.tolist() or (
        before is not None and not np.allclose(before, job.crystal.lattice, atol=SAME)
    ):
        return f"{job.id} is in {file} already, relaxed from another crystal: name another file or another id"
    pairs = {
        "a cutoff in Ry": (record.get("ecutwfc_Ry"), wanted["ecutwfc_Ry"]),
        "U in eV": (relaxation.get("hubbard_u_eV"), wanted["hubbard_u_eV"]),
        "a start magnetization": (record.get("start_magnetisation"), wanted["start_magnetization"]),
    }
    if not relaxation.get("retries"):  # these may change both
        pairs |= {
            "a k mesh": (record.get("kmesh"), wanted["kmesh"]),
            "smearing": (record.get("metal"), job.settings.smearing),
        }
    for name, (found, asked) in pairs.items():
        if found is not None and found != asked:
            return f"{job.id} is in {file} already with {name} of {found}, not {asked}: name another file or another id"
    return None


def _save_result(
    future: Future[RelaxedJob],
    id: str,
    records: dict[str, Any],
    file: Path,
    report: RelaxReport,
    progress: Progress,
) -> bool:
    """Write the record of a relaxed crystal and report it, or report why there is none; whether there is one."""
    try:
        records[id] = _make_record(future.result())
    except (EcdError, CancelledError) as error:
        report.failures[id] = str(error) or f"{id}: its worker was lost; run again"
        reason = report.failures[id].removeprefix(f"{id}: ")
        progress.say(f"left out: {id}: {reason}")
        return False
    write_json(file, records)
    report.done.append(id)
    return True


def _make_record(done: RelaxedJob) -> dict[str, Any]:
    settings = done.job.settings
    return {
        **done.job.provenance,
        **done.job.crystal.to_record(),
        "ecutwfc_Ry": settings.ecutwfc,
        "kmesh": list(settings.kmesh),
        "metal": settings.smearing,
        "start_magnetisation": settings.start_magnetization,
        "symmetry": settings.symmetry,
        **({"qmesh_hse": list(done.job.qmesh_hse)} if done.job.qmesh_hse else {}),
        "relaxation": done.facts,
    }


def _read_records(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {}
    try:
        records = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{file} cannot be read as JSON ({error}): name another file for the relaxed crystals"
        ) from None
    if not isinstance(records, dict) or not all(isinstance(r, dict) and "relaxation" in r for r in records.values()):
        raise UsageError(f"{file} does not hold relaxed crystals: name another file for them")
    return records
