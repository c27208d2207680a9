"""The steps of one crystal: its cell relaxed, its density converged, and what is measured from that density."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ecd_data.crystal import Crystal
from ecd_data.density import Density
from ecd_data.dft.engine import Engine, NotConvergedError, Result, RunError, Step
from ecd_data.dft.settings import Job, Settings

ELECTRON_TOLERANCE = 1e-5
ROUNDS = 6  # a relaxation keeps the plane waves of its first cell, so it is repeated until its last cell stays
AT_REST = 0.1  # GPa
FINER = 2  # points of the mesh for the gap along each axis, for one of the density's


@dataclass(frozen=True)
class Plan:
    """What to do for a crystal besides its density.

    relax: cell and atoms first; restart: count the steps from the density; bands: the gap on a finer mesh.
    """

    relax: bool = False
    restart: bool = False
    bands: bool = False


@dataclass(frozen=True)
class Finished:
    """A finished step as it was run at last, its folder and input, and the attempts that did not converge before."""

    step: Step
    folder: Path
    text: str
    result: Result
    retries: tuple[str, ...] = ()


@dataclass(frozen=True)
class Relaxed:
    """The job on its relaxed crystal, and what the relaxation found."""

    job: Job
    facts: dict[str, Any]


def attempts(settings: Settings) -> dict[str, Settings]:
    """What to try, one after the other, until a self-consistency converges: names and settings."""
    tried = {"as asked": settings}
    calm = replace(settings, mixing_beta=0.3, mixing_mode="local-TF", max_steps=2 * settings.max_steps)
    tried["mixing_beta 0.3, local-TF, more steps"] = calm
    if not settings.smearing:
        calm = replace(calm, smearing=True)
        tried["smearing, mixing_beta 0.3, local-TF, more steps"] = calm
    if settings.coarse_kmesh:
        coarse = replace(calm, kmesh=settings.coarse_kmesh, coarse_kmesh=None)
        tried["the coarser k mesh, mixing_beta 0.3, local-TF, more steps"] = coarse
    return tried


def converged(engine: Engine, step: Step, folder: Path) -> Finished:
    """A step finished in `folder` or in `retry-<n>` below; finished runs are read and failed attempts not repeated.

    Raises NotConvergedError after the last of `attempts`, and EcdError for any other failure.
    """
    failed: list[str] = []
    for number, (name, settings) in enumerate(attempts(step.settings).items()):
        tried = replace(step, settings=settings)
        where = folder / f"retry-{number}" if number else folder
        try:
            return replace(_finished(engine, tried, where), retries=tuple(failed))
        except NotConvergedError:
            failed.append(name)
    raise NotConvergedError(
        f"{step.id}: the self-consistency did not converge, tried {'; '.join(failed)}; the outputs are in {folder}"
    )


def _finished(engine: Engine, step: Step, folder: Path) -> Finished:
    text = engine.input_text(step)
    if not engine.finished(step, text, folder):
        engine.run(step, text, folder)
    return Finished(step, folder, text, engine.read(step, folder))


def relaxed(engine: Engine, job: Job, folder: Path) -> Relaxed:
    """The job on the crystal whose cell and atoms are at rest.

    Repeated from its last cell until that is at rest in its own plane waves, to 0.1 GPa. Raises RunError otherwise.
    """
    step = Step("relax", job.id, job.crystal, replace(job.settings, forces=False))
    steps, seconds = 0, 0.0
    retries: list[str] = []
    for number in range(1, ROUNDS + 1):
        done = converged(engine, step, folder / f"round-{number}")
        found, ended = done.result.properties, done.result.convergence
        steps += ended.get("relax_steps", 0)
        seconds += found["cpu_seconds"]
        retries += done.retries
        step = replace(done.step, crystal=_settled(done.result.crystal, job.crystal))
        if ended.get("relaxed") and abs(found.get("pressure_GPa", np.inf)) <= AT_REST:
            break
    else:
        raise RunError(f"{job.id}: cell and atoms did not come to rest in {ROUNDS} relaxations; see {folder}")
    facts = {
        "relax_steps": steps,
        "rounds": number,
        "cpu_seconds": round(seconds, 2),
        "retries": retries,
        "lattice_before": job.crystal.lattice.tolist(),
        "volume_ratio": step.crystal.volume / job.crystal.volume,
        **{key: found[key] for key in ("energy_eV", "pressure_GPa", "max_force_eV_A") if key in found},
    }
    settings = replace(step.settings, forces=job.settings.forces)
    return Relaxed(replace(job, crystal=step.crystal, settings=settings), facts)


def _settled(crystal: Crystal, before: Crystal) -> Crystal:
    """The crystal to 1e-10, as an input can state it; RunError where an engine gave its atoms in another order."""
    if not np.array_equal(crystal.numbers, before.numbers):
        raise RunError("the engine gave other atoms than it was given: use another version")
    return Crystal(crystal.lattice.round(10) + 0.0, crystal.numbers, crystal.frac_coords.round(10) + 0.0)


def density(engine: Engine, job: Job, folder: Path, plan: Plan = Plan()) -> Density:
    """The density of a job with everything that made it and was measured on the way.

    Finished runs of the same input in `folder` are read instead of repeated. Raises EcdError with the reason when there
    is none.
    """
    if plan.relax:
        rest = relaxed(engine, job, folder / "relax")
        job = replace(rest.job, provenance={**rest.job.provenance, "relaxation": rest.facts})
    done = converged(engine, Step("density", job.id, job.crystal, job.settings), folder)
    properties, arrays = dict(done.result.properties), dict(done.result.arrays)
    extra: dict[str, Any] = {}
    if plan.restart and job.settings.qmesh is None:  # a hybrid begins with PBE whatever density it is given
        again = _follow(engine, done, "restart", done.step.settings)
        properties = {**_at_rest(again), **properties, "scf_steps_restart": again.properties["scf_steps"]}
        arrays = {**again.arrays, **arrays}
    if plan.bands and job.settings.qmesh is None:  # a hybrid needs orbitals, not a density alone
        mesh = tuple(FINER * n for n in done.step.settings.kmesh)
        bands = _follow(engine, done, "bands", replace(done.step.settings, kmesh=mesh)).properties
        properties |= {"gap_nscf_eV": bands["gap_eV"], "gap_nscf_direct_eV": bands["gap_direct_eV"]}
        extra["kmesh_nscf"] = list(mesh)
    meta = {
        "functional": done.step.settings.label,
        "settings": {
            **done.step.settings.as_meta(),
            **done.result.settings,
            **extra,
            "pseudopotentials": engine.datasets(job.crystal),
        },
        "provenance": _provenance(engine, job, done),
        "properties": properties,
        **arrays,
    }
    values, magnetization = engine.density(done.folder, done.result.shape)
    rho = Density(job.crystal, values, magnetization, meta=meta)
    expected = engine.nelect(job.crystal)
    if abs(rho.nelect - expected) > ELECTRON_TOLERANCE:
        raise RunError(f"{job.id}: the density holds {rho.nelect:.6f} electrons instead of {expected:g}")
    return rho


def _follow(engine: Engine, done: Finished, kind: Any, settings: Settings) -> Result:
    """The result of a step that begins with the density of a finished one."""
    step = replace(done.step, kind=kind, settings=settings, start=done.folder.absolute())
    return _finished(engine, step, done.folder / kind).result


def _at_rest(result: Result) -> dict[str, float]:
    names = ("max_force_eV_A", "pressure_GPa", "max_stress_GPa")
    return {name: result.properties[name] for name in names if name in result.properties}


def _provenance(engine: Engine, job: Job, done: Finished) -> dict[str, Any]:
    return {
        "engine": engine.name,
        "engine_version": done.result.version,
        "crystal": job.id,
        "input_sha256": hashlib.sha256(done.text.encode()).hexdigest(),
        "convergence": dict(done.result.convergence),
        "retries": list(done.retries),
        **job.provenance,
    }
