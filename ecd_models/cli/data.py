"""Verbs for files, stores and splits: none of them needs torch."""

from __future__ import annotations

import json
from collections import Counter
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ecd_data.errors import UsageError
from ecd_models.cli.options import Grid, Unit, density_file
from ecd_models.cli.sources import density_of, not_found
from ecd_models.cli.terminal import print, print_lines

if TYPE_CHECKING:
    from ecd_data.checks import Report
    from ecd_data.checks.verdicts import Entry
    from ecd_data.density import Density

FEW = 5  # verdicts that need no summary


def info(
    source: Annotated[str, typer.Argument(help="A density file, an OUTCAR, a store (path or URL), or pbe, hse.")],
    id: Annotated[str | None, typer.Argument(help="One material of the store.")] = None,
    unit: Unit = None,
) -> None:
    """Say what a density file, the OUTCAR or vasprun.xml of a run, or a store holds."""
    from ecd_data.io.archives import split_member
    from ecd_data.io.locations import local_path
    from ecd_data.store.data_root import CONFIGURATIONS, open_store

    if id is None and Path(split_member(source)[0]).is_file():
        from ecd_data.formats import read_run
        from ecd_data.formats.run_files import find_run_reader

        if unit is None and (reader := find_run_reader(source)):
            for key, value in reader(Path(source)).items():
                print(f"{key}: {json.dumps(value)}")
        else:
            _describe(source, read_run(source, unit))
        return
    if id is None and "::" in source:
        _describe(source, density_of(source, unit=unit))
        return
    if unit is not None:
        raise UsageError(f"{source} is no file: --unit states the unit in a cube or XSF, leave it out")
    if source not in CONFIGURATIONS and local_path(source) is not None and not Path(source).exists():
        raise not_found(source)
    store = open_store(source)
    if id is not None:
        _describe(id, store[id])
        return
    index = store.columns("length", "functional", "pipeline", "shape").to_pydict()
    print(f"{store.root}: {len(store)} crystals, {_size(sum(index['length']))}")
    if not len(store):
        return
    for column in ("functional", "pipeline"):
        counts = Counter(name or "unknown" for name in index[column]).most_common()
        print(f"{column}: " + ", ".join(f"{name} {count}" for name, count in counts))
    points = [prod(shape) for shape in index["shape"]]
    print(f"grid points: {min(points):,} to {max(points):,} a crystal, {sum(points):,} in all")
    print("ids: " + ", ".join(store.ids[:8]) + (", ..." if len(store) > 8 else ""))


def _size(count: float) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def _describe(name: str, rho: Density) -> None:
    from ecd_data.checks import check

    print(f"{name}: {rho!r}")
    print("lattice (Å): " + "; ".join(" ".join(f"{x:.4f}" for x in row) for row in rho.lattice))
    print(f"electrons {rho.nelect:.6f}, density {rho.values.min():.4g} to {rho.values.max():.4g} e/Å^3")
    if rho.moment is not None:
        print(f"moment {rho.moment} Bohr magnetons")
    for key, value in rho.meta.items():
        print(f"{key}: {json.dumps(value)}")
    print(f"check: {_verdict(check(rho))}")


def check(
    sources: Annotated[list[str], typer.Argument(help="Density files, folders, patterns, stores, STORE::ID.")],
    pair: Annotated[str | None, typer.Option(help="Store or file with the PBE densities to compare with.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object instead of lines.")] = False,
    bad: Annotated[bool, typer.Option("--bad", help="Only the bad ones.")] = False,
    unit: Unit = None,
) -> None:
    """Give a verdict on each density; exit code 1 when one is bad. docs/checks.md lists the problems and flags."""
    from ecd_data.checks.verdicts import check_entries, find_entries, report_json

    results = []
    for entry, report in check_entries(find_entries(sources, unit), pair):
        results.append((entry, report))
        if not json and not (bad and report.ok):
            print(f"{entry.name}: {_verdict(report)}", flush=True)
    if json:
        print_lines(report_json(results))
    elif len(results) > FEW:
        print(_tally(results))
    raise typer.Exit(0 if all(report.ok for _, report in results) else 1)


def _verdict(report: Report) -> str:
    return ("; ".join(report.problems) or "ok") + (f" ({', '.join(report.flags)})" if report.flags else "")


def _tally(results: list[tuple[Entry, Report]]) -> str:
    """How many were bad, and how often there was each flag."""
    flags = Counter(flag for _, report in results for flag in report.flags)
    said = ", ".join(f"{name} {count}" for name, count in flags.most_common())
    return f"{len(results)} checked, {sum(not r.ok for _, r in results)} bad" + (f"; {said}" if said else "")


def export(
    source: Annotated[str, typer.Argument(metavar="ID", help="An id of the store, STORE::ID, or a density file.")],
    file: Annotated[Path, typer.Argument(help="File to write; CHGCAR or .cube in its name.", callback=density_file)],
    store: Annotated[str | None, typer.Option(help="Store of the id: a path, a URL; default pbe.")] = None,
    grid: Grid = None,
    unit: Unit = None,
) -> None:
    """Write a density of a store, or of another file, as a CHGCAR or cube file."""
    from ecd_data import write

    rho = density_of(source, store, unit)
    if grid is not None:
        rho = rho.resample(grid)
    write(file, rho)
    print(f"{file}: {rho!r}")
