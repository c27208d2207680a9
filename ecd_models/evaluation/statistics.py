"""Statistics over the crystals of an evaluation: by element, size, functional, crystal system; regions, electrons."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ecd_models.evaluation.crystal_result import CrystalResult
from ecd_models.evaluation.regions import REGIONS, RegionError
from ecd_models.evaluation.strict import Strict
from ecd_models.metrics import Summary, summarize

SIZES = (1, 2, 4, 8, 16, 32, 64, 128)  # atoms in the smallest crystal of each group
UNKNOWN = "unknown"


class Groups(Strict):
    """Statistics of eps_mae by property of the crystal; a crystal is in the group of each of its elements."""

    element: dict[str, Summary]
    atoms: dict[str, Summary]
    functional: dict[str, Summary]
    crystal_system: dict[str, Summary]


class RegionSummary(Strict):
    """Means over crystals: eps_mae in the region, its share of the error, its parts of the volume and the electrons.

    The median of eps_mae is given too: a region of a few points with few electrons may have any error.
    """

    crystals: int
    eps_mae_percent: float | None
    median_percent: float | None
    error_share_percent: float | None
    volume_percent: float
    electrons_percent: float


class ElementElectrons(Strict):
    """The electrons in the spheres of an element's atoms: the mean error by atom, relative to the true mean too."""

    crystals: int
    atoms: int
    electrons: float
    error: float
    largest_error: float
    largest_in: str


class ElectronSummary(Strict):
    """Errors of the number of electrons of crystals and of atoms, in electrons; potential_error_eV is a mean."""

    count_error: float
    largest_count_error: float
    largest_in: str
    potential_error_eV: float
    by_element: dict[str, ElementElectrons]


class Cost(Strict):
    """What the predictions took: totals in seconds, the median of grid points a second, the largest memory in MB."""

    io_seconds: float
    graph_seconds: float
    network_seconds: float
    error_seconds: float
    median_points_per_second: float
    median_seconds_per_crystal: float
    peak_memory_MB: float
    peak_device_memory_MB: float | None


def summarize_crystals(crystals: Sequence[CrystalResult]) -> Summary:
    """The Summary of crystals, with intervals bootstrapped by compound."""
    return summarize([c.eps_mae_percent / 100 for c in crystals], [c.compound for c in crystals])


def group_crystals(crystals: Sequence[CrystalResult]) -> Groups:
    """The statistics of each group of crystals."""
    return Groups(
        element=_summarize_by((e, c) for c in crystals for e in sorted(c.elements)),
        atoms=_summarize_by((name_size(c.natoms), c) for c in sorted(crystals, key=lambda c: c.natoms)),
        functional=_summarize_by((c.functional or UNKNOWN, c) for c in crystals),
        crystal_system=_summarize_by((c.crystal_system or UNKNOWN, c) for c in crystals),
    )


def _summarize_by(pairs: Iterable[tuple[str, CrystalResult]]) -> dict[str, Summary]:
    groups: dict[str, list[CrystalResult]] = {}
    for name, crystal in pairs:
        groups.setdefault(name, []).append(crystal)
    return {name: summarize_crystals(members) for name, members in groups.items()}


def name_size(natoms: int) -> str:
    """The group of a number of atoms, such as "5-8"."""
    last = next((size for size in SIZES if natoms <= size), None)
    if last is None:
        return f"over {SIZES[-1]}"
    first = 1 + max((size for size in SIZES if size < last), default=0)
    return str(last) if first == last else f"{first}-{last}"


def summarize_regions(crystals: Sequence[CrystalResult]) -> dict[str, RegionSummary]:
    """The RegionSummary of each region over the crystals that have regions; empty where none has."""
    divided = [c.regions for c in crystals if c.regions is not None]
    return {name: _summarize_region([regions[name] for regions in divided]) for name in REGIONS if divided}


def _summarize_region(parts: Sequence[RegionError]) -> RegionSummary:
    errors = [part.eps_mae for part in parts if part.eps_mae is not None]
    shares = [part.share for part in parts if part.share is not None]
    return RegionSummary(
        crystals=len(errors),
        eps_mae_percent=100 * float(np.mean(errors)) if errors else None,
        median_percent=100 * float(np.median(errors)) if errors else None,
        error_share_percent=100 * float(np.mean(shares)) if shares else None,
        volume_percent=100 * float(np.mean([part.volume for part in parts])),
        electrons_percent=100 * float(np.mean([part.electrons for part in parts])),
    )


def summarize_electrons(crystals: Sequence[CrystalResult]) -> ElectronSummary:
    """The errors of the electron counts of crystals and atoms."""
    errors = np.array([c.predicted_electrons - c.electrons for c in crystals])
    worst = int(np.abs(errors).argmax())
    elements = sorted({e for c in crystals for e in c.atom_electrons or ()})
    return ElectronSummary(
        count_error=float(np.abs(errors).mean()),
        largest_count_error=float(errors[worst]),
        largest_in=crystals[worst].id,
        potential_error_eV=float(np.mean([c.potential_error_eV for c in crystals])),
        by_element={element: _summarize_element(crystals, element) for element in elements},
    )


def _summarize_element(crystals: Sequence[CrystalResult], element: str) -> ElementElectrons:
    found = [(c.id, c.atom_electrons[element]) for c in crystals if c.atom_electrons and element in c.atom_electrons]
    atoms = [own.atoms for _, own in found]
    worst, largest = max(found, key=lambda pair: abs(pair[1].largest_error))
    return ElementElectrons(
        crystals=len(found),
        atoms=sum(atoms),
        electrons=float(np.average([own.electrons for _, own in found], weights=atoms)),
        error=float(np.average([own.error for _, own in found], weights=atoms)),
        largest_error=largest.largest_error,
        largest_in=worst,
    )


def summarize_cost(crystals: Sequence[CrystalResult]) -> Cost:
    """The totals and medians of what the predictions took; the first crystal of a process also loads the kernels."""
    seconds = [c.seconds for c in crystals]
    predicting = np.array([max(s.graph + s.network, 1e-9) for s in seconds])
    on_device = [c.peak_device_memory_MB for c in crystals if c.peak_device_memory_MB is not None]
    return Cost(
        io_seconds=sum(s.io for s in seconds),
        graph_seconds=sum(s.graph for s in seconds),
        network_seconds=sum(s.network for s in seconds),
        error_seconds=sum(s.errors for s in seconds),
        median_points_per_second=float(np.median(np.array([c.points for c in crystals]) / predicting)),
        median_seconds_per_crystal=float(np.median(predicting)),
        peak_memory_MB=max(c.peak_memory_MB for c in crystals),
        peak_device_memory_MB=max(on_device, default=None),
    )
