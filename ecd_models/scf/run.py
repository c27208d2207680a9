"""Crystals, starts and engine together: the runs of `ecd scf run`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from ecd_data.density import Density
from ecd_data.dft.engines import load_engine
from ecd_data.dft.espresso import Espresso
from ecd_data.dft.pseudopotentials import load_pseudopotentials
from ecd_data.dft.settings import Job, Settings, default_settings
from ecd_data.errors import EcdError, UsageError
from ecd_data.formats import read_run
from ecd_models.scf.bench import ATOMS, CONV_THR, ENGINE, ORACLE, Bench, Start
from ecd_models.scf.measure import CrystalRuns
from ecd_models.scf.scf_runs import time_call
from ecd_models.scf.vasp_restart import find_origin

if TYPE_CHECKING:
    from ecd_models.model import DensityModel

MakeStart = Callable[[Bench], Start]
ShowProgress = Callable[[int, int, str], None]


@dataclass
class ScfReport:
    """The runs of each crystal, and the reasons for those whose default run failed."""

    crystals: list[CrystalRuns] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)


def run_starts(
    jobs: Sequence[Job],
    starts: Mapping[str, MakeStart],
    *,
    conv_thr: float = CONV_THR,
    own_restart: bool = False,
    pwx: str | Path | None = None,
    pseudo: str | Path | None = None,
    work: Path | None = None,
    show: ShowProgress | None = None,
) -> ScfReport:
    """The self-consistencies of each job from superposed atoms, its converged density and each start, alike but for it.

    Parameters
    ----------
    starts : mapping
        By name what makes a start for a crystal's bench, such as `model_start` or `file_start`.
    conv_thr : float
        pw.x's convergence threshold in Ry, of all runs.
    own_restart : bool
        Also pw.x's restart from its own file, which the converged density must equal.
    work : Path, optional
        Keep the engine's files here; finished runs of the same input are read and not repeated.

    Raises
    ------
    UsageError
        Where a start has the name of another.
    MissingDependencyError
        Without pw.x.
    """
    if taken := sorted({ATOMS, ORACLE, ENGINE} & set(starts)):
        raise UsageError(f"{taken[0]!r} is run anyway: give the start another name")
    engine = load_engine("espresso", pwx, pseudo)
    assert isinstance(engine, Espresso)
    report = ScfReport(settings={"conv_thr_Ry": conv_thr, "engine": f"pw.x {'.'.join(map(str, engine.version))}"})
    try:
        with nullcontext(str(work)) if work else TemporaryDirectory(prefix="ecd-scf-") as folder:
            for number, job in enumerate(jobs, 1):
                bench = Bench(engine, job, Path(folder) / job.id, conv_thr)
                try:
                    report.crystals.append(_run_crystal(bench, starts, own_restart))
                except EcdError as error:
                    report.failed[job.id] = str(error)
                if show is not None:
                    show(number, len(jobs), job.id)
    finally:
        engine.stop()  # pw.x does not hear an interrupt
    return report


def _run_crystal(bench: Bench, starts: Mapping[str, MakeStart], own_restart: bool) -> CrystalRuns:
    runs = {ATOMS: bench.from_atoms()}
    if own_restart:
        runs[ENGINE] = bench.from_own_file()
    channels = dict.fromkeys(("density", "magnetization"), "converged")
    failed: dict[str, str] = {}
    for name, make in {ORACLE: lambda b: Start(ORACLE, b.converged(), channels), **starts}.items():
        try:
            runs[name] = bench.from_density(make(bench))
        except EcdError as error:
            failed[name] = str(error)
    return CrystalRuns(bench.job.id, bench.job.crystal.formula, len(bench.job.crystal), runs, failed)


def model_start(name: str, model: DensityModel, *, allow: bool = False, symmetry: bool = True) -> MakeStart:
    """What makes a start of a model's prediction on pw.x's grid, and takes its time.

    symmetry: ask the network at irreducible grid points only, where the run uses the symmetry of the crystal. What is
    compiled or loaded with the first prediction is no part of its time. A model of other valence electrons than the
    pseudopotentials is refused unless allowed.
    """
    from ecd_models.prediction.network_outputs import MIN_COMPILED
    from ecd_models.prediction.predict import predict
    from ecd_models.training.trained_on import TrainedOn

    trained_on = TrainedOn.from_metadata(model.metadata)
    warm: set[bool] = set()  # whether with the compiled kernels or without

    def make(bench: Bench) -> Start:
        crystal, shape = bench.job.crystal, bench.shape
        pseudo = load_pseudopotentials(bench.engine.pseudo, crystal.elements)
        valences = {symbol: found.valence for symbol, found in pseudo.items()}
        irreducible = symmetry and bench.settings.symmetry

        def ask() -> Density:
            return predict(
                model,
                crystal,
                shape=shape,
                valences=valences,
                allow_valence_mismatch=allow,
                symmetry=irreducible,
            )

        if (large := int(np.prod(shape)) >= MIN_COMPILED) not in warm:
            predict(model, crystal, shape=shape, refuse=False)  # at all points, which kernels are compiled for
            warm.add(large)
        rho, seconds = time_call(ask)
        if not bench.settings.start_magnetization:
            rho = replace(rho, magnetization=None)
        spin = "predicted" if rho.magnetization is not None else None
        seen = None if trained_on is None else trained_on.seen(bench.job.id, crystal.formula)
        return Start(name, rho, {"density": "predicted", "magnetization": spin}, **seconds, seen=seen)

    return make


def file_start(path: str | Path) -> MakeStart:
    """What makes a start of a density file, whatever its grid."""
    rho = read_run(path)
    origin = find_origin(rho)
    spin = origin if rho.magnetization is not None else None
    return lambda bench: Start(str(path), rho, {"density": origin, "magnetization": spin})


def read_settings(rho: Density) -> Settings:
    """The settings of a stored density that Quantum ESPRESSO made, default ones for others; PBE always."""
    said = rho.meta.get("settings", {})
    if "ecutwfc_Ry" not in said or said.get("qmesh"):
        return default_settings(rho.crystal, "pbe")
    return Settings(
        functional="PBE",
        ecutwfc=float(said["ecutwfc_Ry"]),
        kmesh=tuple(said["kmesh"]),
        smearing=bool(said.get("smearing")),
        degauss=float(said.get("degauss_Ry") or Settings.degauss),
        start_magnetization=float(said.get("start_magnetization") or 0.0),
        symmetry=bool(said.get("symmetry", True)),
        mixing_beta=float(said.get("mixing_beta", Settings.mixing_beta)),
        mixing_mode=str(said.get("mixing_mode", Settings.mixing_mode)),
        hubbard_u=tuple((said.get("hubbard_u_eV") or {}).items()),
    )
