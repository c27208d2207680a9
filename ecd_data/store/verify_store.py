"""Whether a store is what it says: every byte hashed, every density decoded, the index compared with both."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from ecd_data.errors import EcdError
from ecd_data.io.locations import open_url
from ecd_data.store.copy import Run, runs
from ecd_data.store.crystal_group import unpack
from ecd_data.store.data_root import open_store
from ecd_data.store.index import Row
from ecd_data.store.reader import Store
from ecd_data.work.process_pool import Lost, spread
from ecd_data.work.progress import progress_of

NELECT = 1e-6  # relative; the index and the group state it to full precision


@dataclass
class Verification:
    """What a verification found: how many crystals were read, id -> reason for bad ones, part -> reason, and notes."""

    store: str
    checked: int = 0
    bad: dict[str, str] = field(default_factory=dict)
    bad_parts: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every crystal and every part is sound."""
        return not self.bad and not self.bad_parts


def verify(store: str | Path | Store, *, workers: int = 1, progress: bool = False) -> Verification:
    """What reading all of a store says: hashes, decoding, finite values, index, and the directories of its parts.

    Goes on over bad crystals and names each. workers: processes. Raises StoreError only where the index cannot be read.
    """
    opened = store if isinstance(store, Store) else open_store(store)
    report = Verification(opened.root)
    seen = pc.value_counts(opened.columns("id")["id"]).to_pylist()
    report.bad |= {entry["values"]: "the index names it twice" for entry in seen if entry["counts"] > 1}
    found = list(runs(opened.root, opened.columns()))
    with progress_of("verifying", len(opened), progress) as shown:
        for run, bad in spread(_verified, found, workers=workers):
            if isinstance(bad, Lost):
                bad = {row["id"]: "the system ended the process that read it" for row in run.rows}
            report.checked += len(run.rows)
            report.bad |= bad
            for row in run.rows:
                shown.advance(f"{row['id']}: bad" if row["id"] in bad else row["id"])
    _verify_parts(opened, report)
    return report


def _verified(run: Run) -> dict[str, str]:
    """The bad crystals of a run with reasons."""
    try:
        data = run.read()
    except EcdError as error:
        return {row["id"]: str(error) for row in run.rows}
    bad: dict[str, str] = {}
    for row in run.rows:
        try:
            if differs := _differences(row, unpack(run.entries(data, row))):
                bad[row["id"]] = f"the index says otherwise about its {differs}: convert it again"
        except EcdError as error:
            bad[row["id"]] = str(error).removeprefix(f"{row['id']}: ")
        except Exception as error:  # damage that has the right hash: what a decoder says of it cannot be foreseen
            bad[row["id"]] = f"it does not decode ({type(error).__name__}: {error}): convert it again"
    return bad


def _differences(row: Row, density: Any) -> str:
    """What the index says otherwise than the density."""
    crystal, meta = density.crystal, density.meta
    told = {
        "grid": (list(density.shape), row["shape"]),
        "atoms": (crystal.numbers.tolist(), row["numbers"]),
        "lattice": (crystal.lattice.tolist(), row["lattice"]),
        "coordinates": (crystal.frac_coords.tolist(), row["frac_coords"]),
        "spin": (density.magnetization is not None, row["spin"]),
        "bound": (meta.get("bound", 0.0), row["bound"]),
        "flags": (list(meta.get("flags", ())), row["flags"] or []),
    }
    wrong = [name for name, (stored, said) in told.items() if stored != said]
    if abs(density.nelect - row["nelect"]) > NELECT * max(1.0, abs(row["nelect"])):
        wrong.append("electrons")
    if not all(np.isfinite(grid).all() for grid in (density.values, density.magnetization) if grid is not None):
        wrong.append("values, which are not finite")
    return ", ".join(wrong)


def _verify_parts(store: Store, report: Verification) -> None:
    """Each part must open as the ZIP file that zarr reads, with the crystals that the index places there."""
    placed: dict[str, set[str]] = {}
    for id, part in zip(store.ids, store.columns("part")["part"].to_pylist(), strict=True):
        placed.setdefault(part, set()).add(id)
    for part, ids in placed.items():
        url = f"{store.root}/parts/{part}"
        try:
            source = open_url(url, small=1)
            with zipfile.ZipFile(io.BytesIO(source) if isinstance(source, bytes) else source) as archive:
                inside = {name.partition("/")[0] for name in archive.namelist() if "/" in name}
        except Exception as error:  # of the ZIP file, of a damaged place
            report.bad_parts[part] = f"{url} does not open as a ZIP file ({error or type(error).__name__})"
            continue
        if missing := sorted(ids - inside):
            report.bad_parts[part] = f"its directory lacks {missing[0]}{' and others' if len(missing) > 1 else ''}"
        if extra := len(inside - ids):
            report.notes.append(f"{part} has {extra} crystals that the index does not name")
    if "://" not in store.root:
        for path in sorted(Path(store.root, "parts").glob("*")):
            if path.name not in placed:
                report.notes.append(f"parts/{path.name} belongs to no crystal of the index")
