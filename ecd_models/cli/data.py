"""Verbs for density files and stores: info, check and export. None of them needs torch."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ecd_data.errors import UsageError
from ecd_models.cli.completion import complete_ids, complete_stores
from ecd_models.cli.options import Grid, Json, Unit, density_file
from ecd_models.cli.sources import find_density, make_not_found_error
from ecd_models.cli.terminal import print, print_lines

if TYPE_CHECKING:
    from ecd_data.checks import Report
    from ecd_data.checks.verdicts import Entry
    from ecd_models.cli.facts import DensityFacts, RunFacts, StoreFacts

MAX_WITHOUT_TOTALS = 5  # of more reports the totals are printed as well


def info(
    source: Annotated[
        str,
        typer.Argument(
            help="Density file, OUTCAR, vasprun.xml, store (path or URL), pbe, hse or ood.",
            autocompletion=complete_stores,
        ),
    ],
    id: Annotated[
        str | None, typer.Argument(help="Id of a material in the store.", autocompletion=complete_ids)
    ] = None,
    json: Json = False,
    unit: Unit = None,
) -> None:
    """Print what a density file, an OUTCAR or vasprun.xml, or a store holds."""
    facts = _find_facts(source, id, unit)
    if json:
        print_lines(dumps(facts.to_dict(), indent=1))
    else:
        print(*facts.lines(), sep="\n")


def _find_facts(source: str, id: str | None, unit: str | None) -> DensityFacts | StoreFacts | RunFacts:
    from ecd_data.formats import read_run
    from ecd_data.formats.run_files import find_run_reader
    from ecd_data.io.archives import split_member
    from ecd_data.io.locations import local_path
    from ecd_data.store.data_root import CONFIGURATIONS, open_store
    from ecd_models.cli.facts import DensityFacts, RunFacts, StoreFacts

    if id is None and Path(split_member(source)[0]).is_file():
        if unit is None and (reader := find_run_reader(source)):
            return RunFacts(source, reader(Path(source)))
        return DensityFacts.of(source, read_run(source, unit))
    if id is None and "::" in source:
        return DensityFacts.of(source, find_density(source, unit=unit))
    if unit is not None:
        raise UsageError(f"{source} is no file: leave --unit out, which states the unit of a cube or XSF")
    if source not in CONFIGURATIONS and local_path(source) is not None and not Path(source).exists():
        raise make_not_found_error(source)
    store = open_store(source)
    return StoreFacts.of(store) if id is None else DensityFacts.of(id, store[id])


def check(
    sources: Annotated[list[str], typer.Argument(help="Density files, folders, patterns, stores, or STORE::ID.")],
    pair: Annotated[
        str | None, typer.Option(help="Store or file with the PBE densities of the same crystals to compare with.")
    ] = None,
    json: Json = False,
    bad: Annotated[bool, typer.Option("--bad", help="Print only the bad densities.")] = False,
    unit: Unit = None,
) -> None:
    """Check densities; the exit code is 1 if one is bad. docs/checks.md explains the problems and flags."""
    from ecd_data.checks.verdicts import check_entries, find_entries, report_json
    from ecd_models.cli.facts import format_report

    results = []
    for entry, report in check_entries(find_entries(sources, unit), pair):
        results.append((entry, report))
        if not json and not (bad and report.ok):
            print(f"{entry.name}: {format_report(report)}", flush=True)
    if json:
        print_lines(report_json(results))
    elif len(results) > MAX_WITHOUT_TOTALS:
        print(_format_totals(results))
    raise typer.Exit(0 if all(report.ok for _, report in results) else 1)


def _format_totals(results: list[tuple[Entry, Report]]) -> str:
    """One line with the number of bad densities and of each flag."""
    flags = Counter(flag for _, report in results for flag in report.flags)
    counts = ", ".join(f"{name} {count}" for name, count in flags.most_common())
    return f"{len(results)} checked, {sum(not r.ok for _, r in results)} bad" + (f"; {counts}" if counts else "")


def export(
    source: Annotated[
        str,
        typer.Argument(metavar="ID", help="Id in the store, STORE::ID, or density file.", autocompletion=complete_ids),
    ],
    file: Annotated[
        Path, typer.Argument(help="File to write, with CHGCAR or .cube in its name.", callback=density_file)
    ],
    store: Annotated[str | None, typer.Option(help="Store that holds the id: a path or URL; default: pbe.")] = None,
    grid: Grid = None,
    unit: Unit = None,
) -> None:
    """Write a density of a store, or of another file, as a CHGCAR or cube file."""
    from ecd_data import write
    from ecd_data.formats import cube, find_renderer

    rho = find_density(source, store, unit)
    if grid is not None:
        rho = rho.resample(grid)
    write(file, rho)
    if rho.magnetization is None or find_renderer(file) is not cube.render:
        print(f"{file}: {rho!r}")
    else:
        print(f"{file}: {replace(rho, magnetization=None)!r}; its magnetization is left out, a cube has no room for it")
