"""The self-consistent runs of each crystal from several starts: `ecd scf run`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ecd_data.dft.settings import Job
from ecd_data.errors import EcdError, UsageError
from ecd_models.scf.bench import ATOMS, CONV_THR, ENGINE, FIRST_THRESHOLD, ORACLE, Bench, Start
from ecd_models.scf.crystal_loop import Report, ShowProgress, load_espresso, name_version, run_crystals
from ecd_models.scf.gains import CrystalRuns
from ecd_models.scf.starts import MakeStart

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
