"""The steps for one crystal: relaxation, the converged density, and further runs that start from it."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ecd_data.crystal import Crystal
from ecd_data.density import INITIAL_MOMENTS, Density
from ecd_data.dft.engine import Engine, NotConvergedError, Result, RunError, Step, own_folder
from ecd_data.dft.settings import Job, Settings

log = logging.getLogger("ecd_data")

ELECTRON_TOLERANCE = 1e-5  # electrons by which the integral of a density may differ; more is a failed run
MAX_ROUNDS = 6  # a relaxation keeps the plane waves of its first cell, so it is repeated until the cell stays
MAX_PRESSURE = 0.1  # GPa; a cell below it counts as relaxed
BOUNDARY = 2  # points along an axis: the zone centre and the zone boundary, which a mesh of odd points misses
NSCF_FACTOR = 2  # the k mesh for the gap has so many times the points of the density's along each axis
LOOSE_LEVELS = 1e-6  # Ry: levels converge to it that do not to the first threshold; gaps are right to 1e-5 eV
GAPS = ("gap_eV", "gap_direct_eV")


@dataclass(frozen=True)
class StepPlan:
    """The further steps for a crystal.

    Attributes
    ----------
    relax : relax cell and atoms first.
    restart : run once more from the converged density, to count the steps.
    bands : compute the gap on a finer mesh.
    """

    relax: bool = False
    restart: bool = False
    bands: bool = False


@dataclass(frozen=True)
class FinishedStep:
    """A finished step with its last settings, its folder and input, and the attempts before that did not converge."""

    step: Step
    folder: Path
    text: str
    result: Result
    retries: tuple[str, ...] = ()


@dataclass(frozen=True)
class RelaxedJob:
    """The job with its relaxed crystal, and facts of the relaxation."""

    job: Job
    facts: dict[str, Any]


def list_attempts(settings: Settings) -> dict[str, Settings]:
    """The settings to try by name, one after the other, until a calculation converges."""
    attempts = {"as asked": settings}
    slow = replace(settings, mixing_beta=0.3, mixing_mode="local-TF", max_steps=2 * settings.max_steps)
    attempts["mixing_beta 0.3, local-TF, more steps"] = slow
    if not settings.smearing:
        slow = replace(slow, smearing=True)
        attempts["smearing, mixing_beta 0.3, local-TF, more steps"] = slow
    if settings.coarse_kmesh:
        coarse = replace(slow, kmesh=settings.coarse_kmesh, coarse_kmesh=None)
        attempts["the coarser k mesh, mixing_beta 0.3, local-TF, more steps"] = coarse
    return attempts


def run_until_converged(engine: Engine, step: Step, folder: Path) -> FinishedStep:
    """The step, finished with the first settings that converge; finished runs are read and not repeated.

    The first attempt runs in `folder`, the others in `retry-<n>` below it. Raises NotConvergedError if none of
    `list_attempts` converges, and EcdError for any other failure.
    """
    failed: list[str] = []
    for number, (name, settings) in enumerate(list_attempts(step.settings).items()):
        attempt = replace(step, settings=settings)
        run_folder = folder / f"retry-{number}" if number else folder
        try:
            return replace(_run_or_read(engine, attempt, run_folder), retries=tuple(failed))
        except NotConvergedError:
            failed.append(name)
    raise NotConvergedError(
        f"{step.id}: the self-consistency did not converge, tried {'; '.join(failed)}; the outputs are in {folder}"
    )


def _run_or_read(engine: Engine, step: Step, folder: Path) -> FinishedStep:
    text = engine.input_text(step)
    if not engine.is_finished(step, text, folder):
        engine.run(step, text, folder)
    return FinishedStep(step, folder, text, engine.read(step, folder))


def relax_job(engine: Engine, job: Job, folder: Path) -> RelaxedJob:
    """The job with relaxed cell and atoms.

    A relaxation is repeated from its last cell, with the plane waves of that cell, until its pressure is below 0.1 GPa.
    Raises RunError if that takes too many rounds, or if another process computes in the folder.
    """
    with own_folder(folder, job.id):
        return _relax_until_at_rest(engine, job, folder)


def _relax_until_at_rest(engine: Engine, job: Job, folder: Path) -> RelaxedJob:
    step = Step("relax", job.id, job.crystal, replace(job.settings, forces=False))
    steps, seconds = 0, 0.0
    retries: list[str] = []
    for number in range(1, MAX_ROUNDS + 1):
        done = run_until_converged(engine, step, folder / f"round-{number}")
        found, ended = done.result.properties, done.result.convergence
        steps += ended.get("relax_steps", 0)
        seconds += found["cpu_seconds"]
        retries += done.retries
        step = replace(done.step, crystal=_round_crystal(done.result.crystal, job.crystal))
        if ended.get("relaxed") and abs(found.get("pressure_GPa", np.inf)) <= MAX_PRESSURE:
            break
    else:
        raise RunError(f"{job.id}: {MAX_ROUNDS} relaxations in turn did not suffice for cell and atoms: see {folder}")
    facts = {
        "relax_steps": steps,
        "rounds": number,
        "cpu_seconds": round(seconds, 2),
        "retries": retries,
        "hubbard_u_eV": dict(job.settings.hubbard_u),
        "lattice_before": job.crystal.lattice.tolist(),
        "volume_ratio": step.crystal.volume / job.crystal.volume,
        **{key: found[key] for key in ("energy_eV", "pressure_GPa", "max_force_eV_A") if key in found},
    }
    settings = replace(step.settings, forces=job.settings.forces)
    return RelaxedJob(replace(job, crystal=step.crystal, settings=settings), facts)


def _round_crystal(crystal: Crystal, before: Crystal) -> Crystal:
    """The crystal rounded to 1e-10, as inputs are written; raises RunError if the engine changed the order of atoms."""
    if not np.array_equal(crystal.numbers, before.numbers):
        raise RunError("the engine returned the atoms in another order than in its input: use another version of it")
    return Crystal(crystal.lattice.round(10) + 0.0, crystal.numbers, crystal.frac_coords.round(10) + 0.0)


def compute_density(engine: Engine, job: Job, folder: Path, plan: StepPlan = StepPlan()) -> Density:
    """The Density of a job, with settings, provenance and measured properties in its meta.

    Parameters
    ----------
    engine : the program that computes it.
    job : the crystal and its settings.
    folder : the folder of the runs; finished runs of the same input there are read and not repeated.
    plan : the further steps.

    Raises
    ------
    EcdError : there is no density, for the reason that the message states.
    """
    with own_folder(folder, job.id):
        return _compute_steps(engine, job, folder, plan)


def _compute_steps(engine: Engine, job: Job, folder: Path, plan: StepPlan) -> Density:
    if plan.relax:
        rest = relax_job(engine, job, folder / "relax")
        job = replace(rest.job, provenance={**rest.job.provenance, "relaxation": rest.facts})
    done = run_until_converged(engine, Step("density", job.id, job.crystal, job.settings), folder)
    found = _run_further_steps(engine, done, plan)
    settings = {**done.step.settings.as_meta(), **done.result.settings, **found.settings}
    meta = {
        "functional": done.step.settings.label,
        "settings": {**settings, "pseudopotentials": engine.datasets(job.crystal)},
        "provenance": _provenance(engine, job, done),
        "properties": found.properties,
        **found.arrays,
    }
    if isinstance(starts := job.settings.start_magnetization, tuple):
        meta[INITIAL_MOMENTS] = _list_moments(engine, job.crystal, starts)
    values, magnetization = engine.density(done.folder, done.result.shape)
    rho = Density(job.crystal, values, magnetization, meta=meta)
    expected = engine.nelect(job.crystal)
    if abs(rho.nelect - expected) > ELECTRON_TOLERANCE:
        raise RunError(f"{job.id}: the density holds {rho.nelect:.6f} electrons instead of {expected:g}")
    return rho


def _list_moments(engine: Engine, crystal: Crystal, starts: tuple[float, ...]) -> list[float]:
    """The moments in Bohr magnetons of atoms that start with fractions of their valence electrons."""
    alone = [Crystal(crystal.lattice, crystal.numbers[[k]], crystal.frac_coords[[k]]) for k in range(len(crystal))]
    return [round(start * engine.nelect(atom), 6) for start, atom in zip(starts, alone, strict=True)]


@dataclass(frozen=True)
class Measurements:
    """What the runs for a density measured: properties and arrays by name, and settings of its further runs."""

    properties: dict[str, Any]
    arrays: dict[str, Any]
    settings: dict[str, Any]


def _run_further_steps(engine: Engine, done: FinishedStep, plan: StepPlan) -> Measurements:
    """The Measurements of a converged density and of the runs in the plan that start from it."""
    properties, arrays = dict(done.result.properties), dict(done.result.arrays)
    settings: dict[str, Any] = {}
    hybrid = done.step.settings.qmesh is not None
    if plan.restart and not hybrid:  # pw.x starts a hybrid with PBE, whichever density it reads
        again = _run_from_density(engine, done, "restart", done.step.settings)
        properties = {**_final_forces(again), **properties, "scf_steps_restart": again.properties["scf_steps"]}
        arrays = {**again.arrays, **arrays}
    if not hybrid:  # a hybrid needs orbitals too, not only a density
        found = _find_gaps(engine, done)
        properties = {k: v for k, v in properties.items() if k not in GAPS} | found.properties
        settings |= found.settings
    if plan.bands and not hybrid:
        mesh = tuple(NSCF_FACTOR * n for n in done.step.settings.kmesh)
        if (bands := _find_levels(engine, done, mesh, "bands")) is not None:
            properties |= {"gap_nscf_eV": bands.properties["gap_eV"]}
            properties |= {"gap_nscf_direct_eV": bands.properties["gap_direct_eV"]}
            settings["kmesh_nscf"] = list(mesh)
    return Measurements(properties, arrays, settings)


def _find_gaps(engine: Engine, done: FinishedStep) -> Measurements:
    """The gaps of a finished density on its k points and on the boundary of the Brillouin zone, as Measurements.

    Band edges often lie on the boundary, which a mesh of odd points along an axis misses: then one run more, in the
    density, gives the levels there, and without them there is no gap. Metals need none, and a single k point, which
    molecules have, stays alone.
    """
    edges, kmesh = done.result.edges, done.step.settings.kmesh
    own = {name: done.result.properties[name] for name in GAPS if name in done.result.properties}
    if edges is None or not edges.gap or all(n == 1 or n % 2 == 0 for n in kmesh):
        return Measurements(own, {}, {})
    mesh = tuple(min(n, BOUNDARY) for n in kmesh)
    levels = _find_levels(engine, done, mesh, "boundary")
    if levels is None:
        return Measurements({}, {}, {})
    edges = edges if levels.edges is None else edges.join(levels.edges)
    return Measurements({"gap_eV": edges.gap, "gap_direct_eV": edges.direct_gap}, {}, {"kmesh_gap": list(mesh)})


def _find_levels(engine: Engine, done: FinishedStep, mesh: tuple[int, ...], folder: str) -> Result | None:
    """The levels in a finished density on a mesh; None, with a warning, if the engine does not converge them."""
    settings = replace(done.step.settings, kmesh=mesh)
    for name, threshold in ((folder, None), (f"{folder}-loose", LOOSE_LEVELS)):
        try:
            return _run_from_density(engine, done, "bands", replace(settings, first_threshold=threshold), name)
        except NotConvergedError:
            continue
    points = "x".join(map(str, mesh))
    log.warning("%s: levels on %s k points did not converge: the density is stored without gap", done.step.id, points)
    return None


def _run_from_density(engine: Engine, done: FinishedStep, kind: Any, settings: Settings, folder: str = "") -> Result:
    """The result of a step that starts from the density of a finished one, in the folder of its kind or another."""
    step = replace(done.step, kind=kind, settings=settings, start=done.folder.absolute())
    return _run_or_read(engine, step, done.folder / (folder or kind)).result


def _final_forces(result: Result) -> dict[str, float]:
    names = ("max_force_eV_A", "pressure_GPa", "max_stress_GPa")
    return {name: result.properties[name] for name in names if name in result.properties}


def _provenance(engine: Engine, job: Job, done: FinishedStep) -> dict[str, Any]:
    return {
        "engine": engine.name,
        "engine_version": done.result.version,
        "crystal": job.id,
        "input_sha256": hashlib.sha256(done.text.encode()).hexdigest(),
        "convergence": dict(done.result.convergence),
        "retries": list(done.retries),
        **job.provenance,
    }
