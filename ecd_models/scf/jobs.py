"""The crystals of `ecd scf run` and their settings, from structure files and records, or from a task or store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ecd_data.density import Density
from ecd_data.dft.settings import Job, Settings, default_settings, make_jobs, read_start_magnetization
from ecd_data.errors import UsageError

MIXING_MODES = ("plain", "TF", "local-TF")  # of pw.x
STORE_OPTIONS = "--part, --id, --data and --sample"


def make_scf_jobs(
    crystals: Sequence[str],
    *,
    part: str | None = None,
    ids: Sequence[str] | None = None,
    data_dir: str | None = None,
    sample: bool = False,
    limit: int | None = None,
    kspacing: float = 0.04,
    functional: str = "pbe",
) -> list[Job]:
    """The jobs of structure files, folders and JSON files of records; or of one task, configuration or store.

    Those of a store have the settings with which Quantum ESPRESSO made their densities.

    Parameters
    ----------
    crystals : paths, or one task, configuration or store.
    part, ids, data_dir, sample : the crystals of a task or store, as in `evaluation_data`.
    limit : the number of crystals, of which the first ones are taken.
    kspacing : k spacing in 2 pi / Å, for files.
    functional : "pbe" or "hse", for files.

    Raises
    ------
    UsageError : there is nothing to run, or an argument does not apply; also as in `make_jobs` and `evaluation_data`.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"limit must be at least 1, not {limit}")
    if len(crystals) == 1 and _names_data(crystals[0]):
        if functional != "pbe":
            raise UsageError("the crystals of a task or store are run with PBE: give structure files for a hybrid")
        jobs = _make_data_jobs(crystals[0], part, ids, data_dir, sample, limit)
    elif part or ids or data_dir or sample:
        raise UsageError(f"{STORE_OPTIONS} choose crystals of one task or store: leave them out with structure files")
    else:
        jobs = make_jobs(list(crystals), functional, kspacing)
    if not jobs:
        raise UsageError("there is no crystal to run: give structure files, or a task")
    return jobs[:limit]


def _names_data(name: str) -> bool:
    """Whether a name means a task, configuration or store rather than a structure file."""
    from ecd_data.release.configurations import configuration_names

    path = Path(name)
    if path.is_dir():
        return (path / "index.parquet").is_file()
    word = not path.exists() and not path.suffix and path.name == name  # more likely a misspelt task than a file
    return name in configuration_names() or "://" in name or path.suffix == ".ecd" or word


def _make_data_jobs(
    name: str, part: str | None, ids: Sequence[str] | None, data_dir: str | None, sample: bool, limit: int | None
) -> list[Job]:
    from ecd_models.task_data import ALL, evaluation_data

    if ids and part:
        raise UsageError("--id takes crystals of any part: leave --part out")
    data = evaluation_data(name, None, data_dir, sample)
    if ids:
        chosen = data.select_ids(list(ids)).parts["ids"]
    else:
        chosen = data.ids(part or (ALL if ALL in data.parts else "test"))
    densities = {id: data.store[id] for id in chosen[:limit]}
    return [Job(id, rho.crystal, read_settings(rho)) for id, rho in densities.items()]


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
