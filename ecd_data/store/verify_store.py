"""Verifying a store: every byte is hashed, every density is decoded, and both are compared with the index.

The files of an extract of probes are hashed too, since training reads them without a check.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from ecd_data.errors import EcdError
from ecd_data.io.locations import open_url, read_url
from ecd_data.store.copy import ReadRequest, plan_requests
from ecd_data.store.crystal_group import unpack_density
from ecd_data.store.data_root import open_store
from ecd_data.store.index import Row
from ecd_data.store.probes.extract import hash_in_name
from ecd_data.store.probes.index import FOLDER, load_table
from ecd_data.store.reader import Store
from ecd_data.work.process_pool import LostJob, run_jobs
from ecd_data.work.progress import show_progress

ELECTRON_TOLERANCE = 1e-6  # relative difference of the electron counts of the index and the density


@dataclass
class Verification:
    """The result of a verification.

    checked: the number of crystals that were read; bad: id -> reason; bad_parts: part, or file of probes, -> reason;
    notes: sentences about what is not wrong.
    """

    store: str
    checked: int = 0
    bad: dict[str, str] = field(default_factory=dict)
    bad_parts: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether no crystal and no part is bad."""
        return not self.bad and not self.bad_parts


def verify(store: str | Path | Store, *, workers: int = 1, progress: bool = False) -> Verification:
    """The result of reading a whole store: its hashes, densities, index, the directories of its parts, its probes.

    Bad crystals are listed and do not end the verification.

    Parameters
    ----------
    store : a path, a URL, a configuration name or a Store.
    workers : the number of processes.
    progress : whether a bar is shown.

    Raises
    ------
    StoreError : the index cannot be read.
    """
    opened = store if isinstance(store, Store) else open_store(store)
    report = Verification(opened.root)
    counts = pc.value_counts(opened.columns("id")["id"]).to_pylist()
    report.bad |= {entry["values"]: "the index has it twice" for entry in counts if entry["counts"] > 1}
    requests = list(plan_requests(opened.root, opened.columns()))
    with show_progress("verifying", len(opened), progress) as shown:
        for request, bad in run_jobs(_verify_request, requests, workers=workers):
            if isinstance(bad, LostJob):
                bad = {row["id"]: "the system ended the process that read it" for row in request.rows}
            report.checked += len(request.rows)
            report.bad |= bad
            for row in request.rows:
                shown.advance(f"{row['id']}: bad" if row["id"] in bad else row["id"])
    _verify_parts(opened, report)
    _verify_probes(opened, report)
    return report


def _verify_request(request: ReadRequest) -> dict[str, str]:
    """The bad crystals of a run with reasons."""
    try:
        data = request.read()
    except EcdError as error:
        return {row["id"]: str(error) for row in request.rows}
    bad: dict[str, str] = {}
    for row in request.rows:
        try:
            if differs := _find_differences(row, unpack_density(request.entries(data, row))):
                bad[row["id"]] = f"the index has other values of its {differs}: convert it again"
        except EcdError as error:
            bad[row["id"]] = str(error).removeprefix(f"{row['id']}: ")
        except Exception as error:  # damage with the right hash: a decoder may raise anything
            bad[row["id"]] = f"it does not decode ({type(error).__name__}: {error}): convert it again"
    return bad


def _find_differences(row: Row, density: Any) -> str:
    """The names of what differs between the index and the density, separated by commas; "" where nothing does."""
    crystal, meta = density.crystal, density.meta
    pairs = {
        "grid": (list(density.shape), row["shape"]),
        "atoms": (crystal.numbers.tolist(), row["numbers"]),
        "lattice": (crystal.lattice.tolist(), row["lattice"]),
        "coordinates": (crystal.frac_coords.tolist(), row["frac_coords"]),
        "spin": (density.magnetization is not None, row["spin"]),
        "bound": (meta.get("bound", 0.0), row["bound"]),
        "flags": (list(meta.get("flags", ())), row["flags"] or []),
    }
    wrong = [name for name, (stored, indexed) in pairs.items() if stored != indexed]
    if abs(density.nelect - row["nelect"]) > ELECTRON_TOLERANCE * max(1.0, abs(row["nelect"])):
        wrong.append("electrons")
    if not all(np.isfinite(grid).all() for grid in (density.values, density.magnetization) if grid is not None):
        wrong.append("values, which are not finite")
    return ", ".join(wrong)


def _verify_parts(store: Store, report: Verification) -> None:
    """Report parts that do not open as ZIP files, and parts whose crystals differ from those in the index."""
    placed: dict[str, set[str]] = {}
    for id, part in zip(store.ids, store.columns("part")["part"].to_pylist(), strict=True):
        placed.setdefault(part, set()).add(id)
    for part, ids in placed.items():
        url = f"{store.root}/parts/{part}"
        try:
            source = open_url(url, small=1)
            with zipfile.ZipFile(io.BytesIO(source) if isinstance(source, bytes) else source) as archive:
                inside = {name.partition("/")[0] for name in archive.namelist() if "/" in name}
        except Exception as error:  # zipfile and fsspec raise many kinds of errors
            report.bad_parts[part] = f"{url} does not open as a ZIP file ({error or type(error).__name__})"
            continue
        if missing := sorted(ids - inside):
            report.bad_parts[part] = f"its directory lacks {missing[0]}{' and others' if len(missing) > 1 else ''}"
        if extra := len(inside - ids):
            report.notes.append(f"{part} has {extra} crystals that are not in the index")
    if "://" not in store.root:
        for path in sorted(Path(store.root, "parts").glob("*")):
            if path.name not in placed:
                report.notes.append(f"parts/{path.name} has no crystal of the index")


def _verify_probes(store: Store, report: Verification) -> None:
    """Report the files of the extract of probes that are missing or have other bytes than their names say."""
    try:
        loaded = load_table(store.root, ["file"])
    except EcdError as error:
        report.bad_parts[FOLDER] = str(error)
        return
    for name in sorted(set(loaded[0]["file"].to_pylist())) if loaded else ():
        try:
            begin, digest = hash_in_name(name), hashlib.sha256(read_url(f"{store.root}/{FOLDER}/{name}")).hexdigest()
        except (EcdError, FileNotFoundError) as error:
            report.bad_parts[f"{FOLDER}/{name}"] = f"it cannot be read ({error}): run `ecd probes` again"
            continue
        if not digest.startswith(begin):
            report.bad_parts[f"{FOLDER}/{name}"] = "it is cut or altered: run `ecd probes` again"
