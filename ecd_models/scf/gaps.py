"""Band gaps from given densities, beside those of the self-consistency, of HSE06 and of experiments: `ecd scf gaps`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ecd_data.dft.engine import RunError
from ecd_data.dft.espresso_output import read_result
from ecd_data.dft.settings import Job
from ecd_data.errors import EcdError, UsageError
from ecd_models.scf.bench import ATOMS, Bench
from ecd_models.scf.crystal_loop import Report, ShowProgress, load_espresso, name_version, run_crystals
from ecd_models.scf.fixed_density import find_hybrid_levels, find_levels
from ecd_models.scf.measured_gaps import find_hse_gap, find_hse_mesh, find_measured_gap
from ecd_models.scf.starts import MakeStart

log = logging.getLogger("ecd_models")

SCF, HSE = "PBE, self-consistent", "HSE06, of the sample"
ONE_LOOP = ", one HSE06 loop"  # ends the name of a start whose gap is that of one exchange loop
SHOWN = 5  # ids that a message names at most
METALLIC = 1e-6  # eV: pw.x's gap of crossing bands is 0


@dataclass(frozen=True)
class Gap:
    """A gap in eV on the k points of the run, and the wall and CPU seconds that it took, prediction included."""

    gap_eV: float
    wall_seconds: float | None
    cpu_seconds: float


@dataclass(frozen=True)
class CrystalGaps:
    """The gaps of a crystal by method, the measured one where there is any, and why a method gave none."""

    id: str
    formula: str
    measured_eV: float | None
    gaps: dict[str, Gap] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The same for JSON."""
        return asdict(self)


def run_gaps(
    jobs: Sequence[Job],
    starts: Mapping[str, MakeStart],
    *,
    one_loop: bool = False,
    pwx: str | Path | None = None,
    pseudo: str | Path | None = None,
    work: Path | None = None,
    show: ShowProgress | None = None,
) -> Report[CrystalGaps]:
    """The gap of each job from its self-consistency and, without one, in the potential of each start's density.

    Parameters
    ----------
    starts : mapping
        By name what makes a density for a crystal's bench, such as `model_start` or `file_start`.
    one_loop : bool
        Also the gap of one exchange loop of HSE06 from each start, for crystals whose HSE06 mesh the sample has.
    work : Path, optional
        Keep the engine's files here; finished runs of the same input are read and not repeated.

    Raises
    ------
    UsageError : where a start has the name of another row, or no crystal has an HSE06 mesh for the loop.
    MissingDependencyError : without pw.x.
    """
    if taken := sorted({SCF, HSE} & set(starts)):
        raise UsageError(f"{taken[0]!r} is another row of the table: give the start another name")
    if one_loop:
        _warn_of_missing_meshes(jobs)
    engine = load_espresso(pwx, pseudo)
    return run_crystals(
        engine,
        [make_mesh_even(job) for job in jobs],
        lambda bench: _find_gaps(bench, starts, one_loop),
        settings={"engine": name_version(engine), "functional": "PBE", "k_points": "even numbers along each axis"},
        work=work,
        show=show,
    )


def _warn_of_missing_meshes(jobs: Sequence[Job]) -> None:
    """Warn of crystals without an HSE06 mesh, which get no exchange loop; raises UsageError where none has one."""
    missing = [job.id for job in jobs if find_hse_mesh(job.id, job.crystal) is None]
    if not missing:
        return
    named = ", ".join(missing[:SHOWN]) + (f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else "")
    if len(missing) == len(jobs):
        raise UsageError(
            f"the loop of HSE06 takes the k and q mesh of the crystal's HSE06 density in `hse`, which has no {named}:"
            " leave out --one-loop (one_loop=True)"
        )
    log.warning("no loop of HSE06 for %s: `hse` has no HSE06 density of them, whose k and q mesh it takes", named)


def _find_gaps(bench: Bench, starts: Mapping[str, MakeStart], one_loop: bool) -> CrystalGaps:
    job = bench.job
    refuse_odd_electrons(bench)
    measured, hse = find_measured_gap(job.id, job.crystal), find_hse_gap(job.id, job.crystal)
    found = CrystalGaps(job.id, job.crystal.formula, measured)
    found.gaps[SCF] = find_converged_gap(bench)
    if found.gaps[SCF].gap_eV < METALLIC and measured is None:
        raise UsageError(f"{job.id} is a metal with PBE and has no measured gap: leave it out of a list of gaps")
    if hse is not None:
        found.gaps[HSE] = Gap(hse[0], None, hse[1])
    mesh = find_hse_mesh(job.id, job.crystal) if one_loop else None
    for name, make in starts.items():
        try:
            start = make(bench)
            levels = find_levels(bench, start)
            found.gaps[name] = Gap(levels.gap_eV, levels.seconds("wall"), levels.seconds("cpu"))
            if mesh is not None:
                levels = find_hybrid_levels(bench, start, mesh)
                found.gaps[name + ONE_LOOP] = Gap(levels.gap_eV, levels.seconds("wall"), levels.seconds("cpu"))
        except EcdError as error:
            found.failed[name] = str(error)
    return found


def make_mesh_even(job: Job) -> Job:
    """The job with a k mesh of even numbers, which has the boundary of the Brillouin zone, where band edges often lie.

    A single point along an axis, as of molecules, stays alone.
    """
    kmesh = tuple(n + (n > 1 and n % 2) for n in job.settings.kmesh)
    return replace(job, settings=replace(job.settings, kmesh=kmesh))


def refuse_odd_electrons(bench: Bench) -> None:
    """Raises UsageError where a cell without spin has an odd number of electrons, and so no gap."""
    electrons = bench.engine.nelect(bench.job.crystal)
    if not bench.settings.start_magnetization and round(electrons) % 2:
        raise UsageError(
            f"{bench.job.id} has {electrons:g} valence electrons, an odd number, so its bands are partly filled: it is"
            " a metal and has no gap; leave it out"
        )


def find_converged_gap(bench: Bench) -> Gap:
    """The gap of the self-consistency from superposed atoms; raises RunError where that does not converge."""
    run = bench.run_from_atoms()
    if run.steps is None:
        raise RunError(f"{bench.job.id}: the self-consistency did not converge, so there is no gap to compare with")
    properties = read_result(bench.folder / ATOMS, bands_only=True).properties
    return Gap(float(properties["gap_eV"]), run.wall_seconds, run.cpu_seconds)


def measure_error(crystals: Sequence[CrystalGaps], method: str) -> float:
    """The mean absolute difference in eV of a method's gaps from measured ones; raises UsageError without any."""
    errors = [
        abs(c.gaps[method].gap_eV - c.measured_eV) for c in crystals if method in c.gaps and c.measured_eV is not None
    ]
    if not errors:
        raise UsageError(f"{method} has no crystal with a measured gap: there is nothing to compare")
    return float(np.mean(errors))
