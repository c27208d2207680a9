"""The crystals of the task `exp`: their measured gaps, those of HSE06 in the sample, and the jobs to run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ecd_data.crystal import Crystal
from ecd_data.crystal_match import same_crystal
from ecd_data.dft.settings import Job
from ecd_data.errors import UsageError
from ecd_models.scf.jobs import make_scf_jobs, read_settings

if TYPE_CHECKING:
    from ecd_data.store.reader import Store

TASK = "exp"
SAME_CELL = 1e-3  # relative lengths and fractional coordinates: crystals that differ by more have other gaps


def read_measured_gaps() -> dict[str, float]:
    """The measured gaps in eV, by the sample's id and by the JARVIS id of the list `splits/exp/gaps.csv`."""
    from ecd_data.release.split_files import read_gaps

    rows = read_gaps()
    return {row[key]: float(row["gap_exp_eV"]) for row in rows for key in ("id", "sample_id") if row[key]}


def make_gap_jobs(crystals: Sequence[str], *, ids: Sequence[str] | None = None, **options: Any) -> list[Job]:
    """The jobs of `make_scf_jobs`; of the task "exp" in the sample those of all its stores.

    The sample has the compounds of the list in two stores, since some of them are test crystals of unseen pairs and
    types. Raises UsageError where an id is in neither, and as `make_scf_jobs`.
    """
    if list(crystals) != [TASK] or options.get("data_dir"):
        return make_scf_jobs(crystals, ids=ids, **options)
    limit = options.pop("limit", None)
    stores = _find_stores()
    if not stores:
        raise UsageError("the stores at hand have no crystal with a measured gap: unset ECD_ROOT to take the sample's")
    if unknown := [id for id in ids or [] if id not in stores]:
        raise UsageError(f"{unknown[0]!r} is no crystal of the sample with a measured gap: `ecd split exp` lists them")
    return [_make_job(id, stores[id]) for id in list(ids or stores)[:limit]]


def _find_stores() -> dict[str, Store]:
    """The store of each crystal with a measured gap."""
    from ecd_data import open_store

    measured = read_measured_gaps()
    stores = [open_store(name) for name in ("pbe", "ood")]
    return {id: store for store in stores for id in store.ids if id in measured}


def _make_job(id: str, store: Store) -> Job:
    rho = store[id]
    return Job(id, rho.crystal, read_settings(rho))


def find_measured_gap(id: str, crystal: Crystal) -> float | None:
    """The measured gap in eV of a crystal in the list; None for another compound of the same name, such as a file's."""
    from ecd_data.release.formula import reduce_formula
    from ecd_data.release.split_files import read_gaps

    for row in read_gaps():
        if id in (row["id"], row["sample_id"]) and reduce_formula(row["formula"]) == reduce_formula(crystal.formula):
            return float(row["gap_exp_eV"])
    return None


def find_hse_gap(id: str, crystal: Crystal) -> tuple[float, float] | None:
    """The gap in eV and the CPU seconds of HSE06 of a crystal, if the sample has it in the same cell."""
    found = _read_hybrid(id, crystal)
    return None if found is None else (found["properties"]["gap_eV"], found["properties"]["cpu_seconds"])


def find_hse_mesh(id: str, crystal: Crystal) -> tuple[int, ...] | None:
    """The k and q mesh of HSE06 of a crystal, if the sample has it in the same cell."""
    found = _read_hybrid(id, crystal)
    return None if found is None else tuple(found["settings"]["qmesh"])


def _read_hybrid(id: str, crystal: Crystal) -> dict[str, Any] | None:
    """The metadata of a crystal's HSE06 density, if it is the same crystal."""
    from ecd_data import open_store

    store = open_store("hse")
    if id not in store:
        return None
    own, meta = store.describe(id)
    return meta if same_crystal(own, crystal, SAME_CELL) else None
