"""Verbs for density files and stores: info, check and export. None of them needs torch."""

from __future__ import annotations

import json
from collections import Counter
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ecd_data.errors import UsageError
from ecd_models.cli.options import Grid, Unit, density_file
from ecd_models.cli.sources import find_density, make_not_found_error
from ecd_models.cli.terminal import print, print_lines

if TYPE_CHECKING:
    from ecd_data.checks import Report
    from ecd_data.checks.verdicts import Entry
    from ecd_data.density import Density

MAX_WITHOUT_TOTALS = 5  # of more reports the totals are printed as well


def info(
    source: Annotated[str, typer.Argument(help="Density file, OUTCAR, vasprun.xml, store (path or URL), pbe or hse.")],
    id: Annotated[str | None, typer.Argument(help="Id of a material in the store.")] = None,
    unit: Unit = None,
) -> None:
    """Print what a density file, an OUTCAR or vasprun.xml, or a store holds."""
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
            _print_density(source, read_run(source, unit))
        return
    if id is None and "::" in source:
        _print_density(source, find_density(source, unit=unit))
        return
    if unit is not None:
        raise UsageError(f"{source} is no file: leave --unit out, which states the unit of a cube or XSF")
    if source not in CONFIGURATIONS and local_path(source) is not None and not Path(source).exists():
        raise make_not_found_error(source)
    store = open_store(source)
    if id is not None:
        _print_density(id, store[id])
        return
    index = store.columns("length", "functional", "pipeline", "shape").to_pydict()
    print(f"{store.root}: {len(store)} crystals, {_format_size(sum(index['length']))}")
    if not len(store):
        return
    for column in ("functional", "pipeline"):
        counts = Counter(name or "unknown" for name in index[column]).most_common()
        print(f"{column}: " + ", ".join(f"{name} {count}" for name, count in counts))
    points = [prod(shape) for shape in index["shape"]]
    print(f"grid points: {min(points):,} to {max(points):,} a crystal, {sum(points):,} in all")
    print("ids: " + ", ".join(store.ids[:8]) + (", ..." if len(store) > 8 else ""))


def _format_size(count: float) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def _print_density(name: str, rho: Density) -> None:
    from ecd_data.checks import check

    print(f"{name}: {rho!r}")
    print("lattice (Å): " + "; ".join(" ".join(f"{x:.4f}" for x in row) for row in rho.lattice))
    print(f"electrons {rho.nelect:.6f}, density {rho.values.min():.4g} to {rho.values.max():.4g} e/Å^3")
    if rho.moment is not None:
        print(f"moment {rho.moment} Bohr magnetons")
    for key, value in rho.meta.items():
        print(f"{key}: {json.dumps(value)}")
    print(f"check: {_format_report(check(rho))}")


def check(
    sources: Annotated[list[str], typer.Argument(help="Density files, folders, patterns, stores, or STORE::ID.")],
    pair: Annotated[
        str | None, typer.Option(help="Store or file with the PBE densities of the same crystals to compare with.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object instead of lines.")] = False,
    bad: Annotated[bool, typer.Option("--bad", help="Print only the bad densities.")] = False,
    unit: Unit = None,
) -> None:
    """Check densities; the exit code is 1 if one is bad. docs/checks.md explains the problems and flags."""
    from ecd_data.checks.verdicts import check_entries, find_entries, report_json

    results = []
    for entry, report in check_entries(find_entries(sources, unit), pair):
        results.append((entry, report))
        if not json and not (bad and report.ok):
            print(f"{entry.name}: {_format_report(report)}", flush=True)
    if json:
        print_lines(report_json(results))
    elif len(results) > MAX_WITHOUT_TOTALS:
        print(_format_totals(results))
    raise typer.Exit(0 if all(report.ok for _, report in results) else 1)


def _format_report(report: Report) -> str:
    return ("; ".join(report.problems) or "ok") + (f" ({', '.join(report.flags)})" if report.flags else "")


def _format_totals(results: list[tuple[Entry, Report]]) -> str:
    """One line with the number of bad densities and of each flag."""
    flags = Counter(flag for _, report in results for flag in report.flags)
    counts = ", ".join(f"{name} {count}" for name, count in flags.most_common())
    return f"{len(results)} checked, {sum(not r.ok for _, r in results)} bad" + (f"; {counts}" if counts else "")


def export(
    source: Annotated[str, typer.Argument(metavar="ID", help="Id in the store, STORE::ID, or density file.")],
    file: Annotated[
        Path, typer.Argument(help="File to write, with CHGCAR or .cube in its name.", callback=density_file)
    ],
    store: Annotated[str | None, typer.Option(help="Store that holds the id: a path or URL; default: pbe.")] = None,
    grid: Grid = None,
    unit: Unit = None,
) -> None:
    """Write a density of a store, or of another file, as a CHGCAR or cube file."""
    from ecd_data import write

    rho = find_density(source, store, unit)
    if grid is not None:
        rho = rho.resample(grid)
    write(file, rho)
    print(f"{file}: {rho!r}")
