"""What the embedded sample says beside the paper: gaps against experiment, formation energies, times of DFT."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from ecd_data.errors import EcdError


@dataclass(frozen=True)
class Gaps:
    """Gaps in eV of crystals with a measured gap: by functional the computed and the measured one by compound."""

    by_functional: Mapping[str, Mapping[str, tuple[float, float]]]

    def mean_error(self, functional: str) -> float:
        """The mean absolute error of a functional in eV."""
        return float(
            np.mean([abs(computed - measured) for computed, measured in self.by_functional[functional].values()])
        )


@dataclass(frozen=True)
class SampleData:
    """Gaps, formation energies in eV/atom by id, and CPU seconds of DFT by functional; all are empty without sample."""

    gaps: Gaps
    energies: Mapping[str, float]
    seconds: Mapping[str, float]


@cache
def read_sample_data() -> SampleData:
    """The SampleData of the embedded sample."""
    import pandas as pd

    from ecd_data.dft.formation import elemental_energies, formation_energies
    from ecd_data.release.split_files import read_gaps
    from ecd_data.sample.table import SAMPLE_FOLDER, read_indexes
    from ecd_data.store import open_store

    try:
        frames = read_indexes()
    except EcdError:
        return SampleData(Gaps({}), {}, {})
    sets = {"PBE": pd.concat([frames["pbe"], frames["ood"]]), "HSE06": frames["hse"]}
    measured = {row["sample_id"]: float(row["gap_exp_eV"]) for row in read_gaps() if row["sample_id"]}
    gaps = {
        functional: {
            str(id): (float(gap), measured[str(id)])
            for id, gap in frame["gap_eV"].items()
            if str(id) in measured and np.isfinite(gap)
        }
        for functional, frame in sets.items()
    }
    stores = [open_store(SAMPLE_FOLDER / f"{name}.ecd") for name in ("pbe", "ood", "elements")]
    references = elemental_energies(stores)
    energies = {id: energy for store in stores for id, energy in formation_energies(store, references).items()}
    seconds = {functional: float(frame["cpu_seconds"].median()) for functional, frame in sets.items()}
    return SampleData(Gaps(gaps), energies, seconds)
