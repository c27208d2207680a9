"""From crystals to relaxed ones: a JSON of records that `ecd dft run` takes, resumable, failures set aside."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from concurrent.futures import CancelledError, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecd_data.dft.engine import Engine
from ecd_data.dft.engines import ready
from ecd_data.dft.flow import terminable, told, workers
from ecd_data.dft.settings import chosen, usable_jobs
from ecd_data.dft.steps import Relaxed, relaxed
from ecd_data.dft.vasp_inputs import DENSE
from ecd_data.errors import EcdError, UsageError
from ecd_data.io.atomic_write import write_whole
from ecd_data.work.progress import show_progress

if TYPE_CHECKING:
    from ecd_data.work.process_pool import Cluster


@dataclass
class RelaxReport:
    """What `relax` did: ids relaxed now, ids the file had already, and the reason for each id or file left out."""

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
    """Relaxes cell and atoms of every crystal with PBE (+U) into a JSON file of records and returns a report.

    Forces fall below 1e-4 Ry/bohr (2.6 meV/Å) and the pressure of the last cell below 0.1 GPa. A record has the
    crystal, its settings and, under "relaxation", the steps, energy, pressure and the lattice before. The arguments are
    those of `run`. Every relaxed crystal is in the file at once; a second call continues. Raises UsageError for a file
    that holds no records, MissingDependencyError without an engine.
    """
    file = Path(output)
    records = _records(file)
    if processes < 1:
        raise UsageError(f"processes must be at least 1, not {processes}")
    folder = Path(work) if work is not None else Path(f"{file}.work")
    jobs, failed = usable_jobs(crystals, "pbe", kspacing)
    jobs = [chosen(job, spin=spin, smearing=smearing, hubbard_u=hubbard_u) for job in jobs]
    report = RelaxReport(present=[job.id for job in jobs if job.id in records], failures=told(failed))
    engine = ready(engine, pwx, pseudo)
    wanted = [job for job in jobs if job.id not in records]
    with terminable(), show_progress("cells", len(wanted)) as progress, workers(engine, processes, cluster) as pool:
        futures = {pool.submit(relaxed, engine, job, (folder / job.id).absolute()): job.id for job in wanted}
        for future in as_completed(futures):
            id = futures[future]
            try:
                records[id] = _record(future.result())
            except (EcdError, CancelledError) as error:
                report.failures[id] = str(error) or f"{id}: its worker was lost; run again"
                reason = report.failures[id].removeprefix(f"{id}: ")
                progress.say(f"left out: {id}: {reason}")
            else:
                _save(records, file)
                report.done.append(id)
                if work is None:
                    shutil.rmtree(folder / id, ignore_errors=True)
            progress.advance(id)
    if work is None and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
    return report


def _record(done: Relaxed) -> dict[str, Any]:
    settings = done.job.settings
    return {
        **done.job.provenance,
        **done.job.crystal.to_record(),
        "ecutwfc_Ry": settings.ecutwfc,
        "kmesh": list(settings.kmesh),
        "metal": settings.smearing,
        "start_magnetisation": settings.start_magnetization,
        "symmetry": settings.symmetry,
        "relaxation": done.facts,
    }


def _records(file: Path) -> dict[str, Any]:
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


def _save(records: Mapping[str, Any], file: Path) -> None:
    """Replaces the file, all at once."""
    with write_whole(file) as aside:
        aside.write_text(json.dumps(records, indent=1) + "\n")
