"""Checks of many densities: files, folders, patterns and the entries of stores."""

from __future__ import annotations

import glob
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ecd_data.checks import Report, check, check_pair
from ecd_data.checks.report import flag, problem
from ecd_data.conversion.sources import default_id, find_sources
from ecd_data.density import Density
from ecd_data.errors import EcdError, UnknownIdError, UsageError
from ecd_data.formats import choose_unit, read_run
from ecd_data.store.data_root import CONFIGURATIONS, open_store
from ecd_data.store.index import INDEX
from ecd_data.store.reader import Store
from ecd_data.work.processors import count_processors


@dataclass(frozen=True)
class Entry:
    """One density to check: its name in the output, its id, a function that loads it, and whether its unit is open."""

    name: str
    id: str
    load: Callable[[], Density]
    open_unit: bool = False


Partner = Callable[[Entry, Density], Report]


def find_entries(sources: Iterable[str | Path], unit: str | None = None) -> list[Entry]:
    """The densities in some sources.

    A file that does not exist and a folder without densities are entries too; their Reports say what is wrong.

    Parameters
    ----------
    sources : files, folders, patterns, stores (a path, a URL, or pbe, hse, ...) and entries of stores, `store::id`.
    unit : of the cubes and XSFs among the files, as for `read`; files that state their unit are read as they are.

    Raises
    ------
    StoreError : a store is damaged.
    UsageError : the unit is unknown, or no file leaves its unit open.
    """
    entries = [entry for source in sources for entry in _find_entries(str(source), unit)]
    if unit is not None and not any(entry.open_unit for entry in entries):
        raise UsageError("none of these is a cube or XSF, which alone leave the unit open: leave --unit out")
    return entries


def check_entries(found: Iterable[Entry], pbe: str | Path | None = None) -> Iterator[tuple[Entry, Report]]:
    """Each entry with its Report, in the order of the entries.

    An entry that cannot be read has the problem "unreadable". An entry with the density of an earlier one has the flag
    "duplicate". Several densities are decoded at a time; none is kept in memory.

    Parameters
    ----------
    found : the entries.
    pbe : a store or file with the PBE densities of the same ids. `check_pair` compares each entry with its PBE
        density; an entry without one that can be read has the flag "pair-missing".

    Raises
    ------
    UsageError : no entry has a PBE density.
    """
    found = list(found)
    partner = _find_partner(pbe, found) if pbe is not None else None
    seen: dict[bytes, str] = {}
    pool = ThreadPoolExecutor(count_processors())
    try:
        for entry, (report, key) in zip(
            found, pool.map(lambda entry: _check_entry(entry, partner), found), strict=True
        ):
            first = seen.setdefault(key, entry.name) if key else entry.name
            if first != entry.name:
                report += flag("duplicate", f"the same crystal and density as {first}")
            yield entry, report
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _check_entry(entry: Entry, partner: Partner | None) -> tuple[Report, bytes]:
    """The Report on one entry and the fingerprint of its density, b"" where it cannot be read."""
    try:
        rho = entry.load()
    except EcdError as error:
        return problem("unreadable", _strip_name(str(error), entry.name)), b""
    return check(rho) + (partner(entry, rho) if partner else Report()), fingerprint(rho)


def _strip_name(sentence: str, name: str) -> str:
    """The sentence without the name at its start, which must be followed by a colon, comma or space."""
    rest = sentence.removeprefix(name)
    return rest.lstrip(":, ") if rest[:1] in (":", ",", " ") else sentence


def fingerprint(rho: Density) -> bytes:
    """A hash of the crystal and the density; equal hashes mean that every number is equal."""
    digest = hashlib.blake2b(digest_size=16)
    for array in (rho.lattice, rho.numbers, rho.frac_coords, rho.values):
        digest.update(array.data)
    return digest.digest()


def report_json(results: Iterable[tuple[Entry, Report]]) -> str:
    """The results as JSON: {"ok": bool, "checked": n, "bad": n, "entries": {name: {"ok", "problems", "flags"}}}."""
    by_name = {entry.name: report.as_dict() for entry, report in results}
    bad = sum(not one["ok"] for one in by_name.values())
    return json.dumps({"ok": not bad, "checked": len(by_name), "bad": bad, "entries": by_name}, indent=1)


def _find_entries(source: str, unit: str | None) -> Iterator[Entry]:
    store, mark, id = source.rpartition("::")
    if _is_store(source):
        opened = open_store(source)
        yield from (Entry(f"{source}::{id}", id, _load_from_store(opened, id)) for id in opened.ids)
    elif mark and not Path(source).exists() and _is_store(store):
        yield Entry(source, id, _load_from_store(open_store(store), id))
    elif Path(source).is_dir():
        try:
            found = find_sources(source, predictions=True)
            yield from (_file_entry(str(file), file.id, unit) for file in found)
        except UsageError as error:
            yield Entry(source, "", _raise(error))
    else:
        matches = [] if Path(source).exists() else sorted(glob.glob(source, recursive=True))
        for path in matches or [source]:
            if path != source and Path(path).is_dir():  # a run folder or a store that matches the pattern
                yield from _find_entries(path, unit)
            else:
                yield _file_entry(path, default_id(path), unit)


def _file_entry(path: str, id: str, unit: str | None) -> Entry:
    stated = choose_unit(path, unit)
    return Entry(path, id, _load_file(path, stated), stated is not None)


def _is_store(source: str) -> bool:
    path = Path(source)
    if path.exists():
        return path.is_dir() and ((path / INDEX).exists() or path.suffix == ".ecd")
    return source in CONFIGURATIONS or ("://" in source and "::" not in source)


def _load_from_store(store: Store, id: str) -> Callable[[], Density]:
    return lambda: store[id]


def _load_file(path: str, unit: str | None) -> Callable[[], Density]:
    return lambda: read_run(path, unit)


def _raise(error: EcdError) -> Callable[[], Density]:
    def load() -> Density:
        raise error

    return load


def _find_partner(pbe: str | Path, found: list[Entry]) -> Partner:
    """A function that compares an entry with the PBE density of its id, or with the density of a file."""
    source = str(pbe)
    if not _is_store(source):
        only = read_run(source)
        return lambda entry, rho: check_pair(only, rho)
    store = open_store(source)
    if found and not any(entry.id in store for entry in found):
        raise UsageError(
            f"none of the {len(found)} densities has a partner in {source}, which has no {found[0].id!r}: "
            "give the store with the PBE densities of the same ids"
        )

    def compare(entry: Entry, rho: Density) -> Report:
        try:
            pbe = store[entry.id]
        except UnknownIdError:
            return flag("pair-missing", f"{source} has no {entry.id}")
        except EcdError as error:
            return flag("pair-missing", f"that of {source} cannot be read: {_strip_name(str(error), entry.id)}")
        return check_pair(pbe, rho)

    return compare
