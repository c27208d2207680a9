"""The runs of `ecd scf run`: crystals, starts and engine together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ecd_data.crystal import Crystal
from ecd_data.density import Density
from ecd_data.dft.pseudopotentials import load_pseudopotentials
from ecd_data.dft.settings import Job, Settings, default_settings, read_start_magnetization
from ecd_data.errors import EcdError, UsageError
from ecd_data.formats import read_run
from ecd_models.scf.bench import ATOMS, CONV_THR, ENGINE, FIRST_THRESHOLD, ORACLE, Bench, Start
from ecd_models.scf.crystal_loop import Report, ShowProgress, load_espresso, name_version, run_crystals
from ecd_models.scf.doubts import doubt_prediction
from ecd_models.scf.gains import CrystalRuns
from ecd_models.scf.scf_runs import time_call
from ecd_models.scf.vasp_restart import find_origin

if TYPE_CHECKING:
    from ecd_models.model import DensityModel

MakeStart = Callable[[Bench], Start]
MIXING_MODES = ("plain", "TF", "local-TF")  # of pw.x
OWN_THRESHOLD = ", own threshold"  # ends the name of a start that was run with pw.x's own first threshold, too


def run_starts(
    jobs: Sequence[Job],
    starts: Mapping[str, MakeStart],
    *,
    conv_thr: float = CONV_THR,
    own_restart: bool = False,
    first_threshold: float = FIRST_THRESHOLD,
    own_threshold: bool = False,
    pwx: str | Path | None = None,
    pseudo: str | Path | None = None,
    work: Path | None = None,
    show: ShowProgress | None = None,
) -> Report[CrystalRuns]:
    """The self-consistent runs of each job from superposed atoms, its converged density and each start.

    The runs of a job differ in nothing but their start. A job that fails is reported, and the others are run.

    Parameters
    ----------
    jobs : the crystals with their settings.
    starts : by name, functions that make a start for the bench of a crystal, see `model_start` and `file_start`.
    conv_thr : convergence threshold of pw.x in Ry, of all runs.
    own_restart : run pw.x's restart from its own file as well, which must agree with that of the converged density.
    first_threshold : of the orbitals in the first step of a run from a density, in Ry.
    own_threshold : run every start with pw.x's own first threshold as well, under its name and `OWN_THRESHOLD`.
    pwx, pseudo : the program pw.x and the folder of its pseudopotentials.
    work : folder that keeps the files of pw.x; finished runs of the same input are read from it and not repeated.
    show : is called with the number of jobs done, of all jobs, and the id.

    Raises
    ------
    UsageError : a start has the name of one of the other runs.
    MissingDependencyError : there is no pw.x.
    """
    if reserved := sorted({ATOMS, ORACLE, ENGINE} & set(starts)):
        raise UsageError(f"{reserved[0]!r} is run anyway: give the start another name")
    thresholds = {"": first_threshold} | ({OWN_THRESHOLD: None} if own_threshold else {})
    engine = load_espresso(pwx, pseudo)
    return run_crystals(
        engine,
        jobs,
        lambda bench: _run_crystal(bench, starts, own_restart, thresholds),
        settings={"conv_thr_Ry": conv_thr, "first_threshold_Ry": first_threshold, "engine": name_version(engine)},
        conv_thr=conv_thr,
        work=work,
        show=show,
    )


def _run_crystal(
    bench: Bench, starts: Mapping[str, MakeStart], own_restart: bool, thresholds: Mapping[str, float | None]
) -> CrystalRuns:
    """The runs of a crystal; thresholds: those of the first step, by what ends the name of a start."""
    runs = {ATOMS: bench.run_from_atoms()}
    if own_restart:
        runs[ENGINE] = bench.run_from_own_file()
    channels = dict.fromkeys(("density", "magnetization", "occupations"), "converged")
    failed: dict[str, str] = {}
    for name, make in {ORACLE: lambda b: Start(ORACLE, b.converged_density(), channels), **starts}.items():
        try:
            start = make(bench)
            for end, threshold in thresholds.items():
                runs[name + end] = bench.run_from_density(replace(start, name=name + end), threshold)
        except EcdError as error:
            failed[name] = str(error)
    return CrystalRuns(bench.job.id, bench.job.crystal.formula, len(bench.job.crystal), runs, failed)


def model_start(name: str, model: DensityModel, *, allow: bool = False, symmetry: bool = True) -> MakeStart:
    """A function that makes a start from a model's prediction on pw.x's grid, and measures its time.

    Parameters
    ----------
    name : of the start.
    model : the model.
    allow : whether other valence electrons than the pseudopotentials have are a warning instead of an error.
    symmetry : evaluate the network at irreducible grid points only, if the run uses the symmetry of the crystal.
    """
    from ecd_models.prediction.initial_moments import takes_moments
    from ecd_models.prediction.predict import Options, predict

    warm_up = _WarmUp(model)

    def make(bench: Bench) -> Start:
        crystal, shape = bench.job.crystal, bench.shape
        warm_up(crystal, shape)
        pseudo = load_pseudopotentials(bench.engine.pseudo, crystal.elements)
        options: Options = {
            "valences": {symbol: found.valence for symbol, found in pseudo.items()},
            "allow_valence_mismatch": allow,
            "symmetry": symmetry and bench.settings.symmetry,
        }
        if takes_moments(model):  # those that the run starts with
            starts = zip(bench.settings.start_magnetizations(len(crystal)), crystal.symbols, strict=True)
            options["moments"] = [start * pseudo[symbol].valence for start, symbol in starts]
        rho, seconds = time_call(lambda: predict(model, crystal, shape=shape, **options))
        if not bench.settings.start_magnetization:
            rho = replace(rho, magnetization=None)
        spin = "predicted" if rho.magnetization is not None else None
        spins = bool(bench.settings.start_magnetization)
        doubts, seen = doubt_prediction(model, crystal, rho, spin=spins, id=bench.job.id)
        channels = {"density": "predicted", "magnetization": spin}
        return Start(name, rho, channels, **seconds, seen=seen, doubts=tuple(doubts))

    return make


class _WarmUp:
    """Predicts once with and once without the compiled kernels, since loading them is no part of a start's time."""

    def __init__(self, model: DensityModel) -> None:
        self.model = model
        self._done: set[bool] = set()

    def __call__(self, crystal: Crystal, shape: tuple[int, int, int]) -> None:
        from ecd_models.prediction.network_outputs import MIN_COMPILED
        from ecd_models.prediction.predict import predict

        compiled = int(np.prod(shape)) >= MIN_COMPILED
        if compiled not in self._done:
            predict(self.model, crystal, shape=shape, refuse=False)  # irreducible points may be too few for the kernels
            self._done.add(compiled)


def file_start(path: str | Path) -> MakeStart:
    """A function that makes a start from a density file, whatever its grid."""
    rho = read_run(path)
    origin = find_origin(rho)
    spin = origin if rho.magnetization is not None else None
    return lambda bench: Start(str(path), rho, {"density": origin, "magnetization": spin})


def read_settings(rho: Density) -> Settings:
    """The settings with which Quantum ESPRESSO or GPAW made a density, default ones for others; always PBE."""
    recorded = rho.meta.get("settings", {})
    if "ecutwfc_Ry" not in recorded or recorded.get("qmesh"):
        return default_settings(rho.crystal, "pbe")
    mixing = recorded if recorded.get("mixing_mode") in MIXING_MODES else {}  # GPAW has modes of its own
    return Settings(
        functional="PBE",
        ecutwfc=float(recorded["ecutwfc_Ry"]),
        kmesh=tuple(recorded["kmesh"]),
        smearing=bool(recorded.get("smearing")),
        degauss=float(recorded.get("degauss_Ry") or Settings.degauss),
        start_magnetization=read_start_magnetization(recorded.get("start_magnetization") or 0.0, len(rho.crystal)),
        symmetry=bool(recorded.get("symmetry", True)),
        mixing_beta=float(mixing.get("mixing_beta", Settings.mixing_beta)),
        mixing_mode=str(mixing.get("mixing_mode", Settings.mixing_mode)),
        hubbard_u=tuple((recorded.get("hubbard_u_eV") or {}).items()),
    )
