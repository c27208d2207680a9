"""Verbs that write and verify stores: convert, subset, merge, reencode, verify."""

from __future__ import annotations

import sys
from json import dumps
from typing import TYPE_CHECKING, Annotated

import typer

from ecd_data.errors import UsageError
from ecd_models.cli.options import Dask, Json, Quiet, Unit, Workers
from ecd_models.cli.terminal import print, print_lines

if TYPE_CHECKING:
    from ecd_data.store.copy import CopyReport

MAX_REASONS = 20  # of files left out that are printed; conversion.jsonl has all


def convert(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Density files, folders, patterns, tar archives, @FILE with a list of them; last the store to write."
        ),
    ],
    bound: Annotated[float, typer.Option(help="Largest eps_mae (fraction) that storing a density may cost.")] = 1e-5,
    pipeline: Annotated[
        str, typer.Option(help="Form of the stored densities: fourier, or real for float32 without further loss.")
    ] = "fourier",
    unit: Unit = None,
    workers: Workers = 1,
    dask: Dask = None,
    quiet: Quiet = False,
) -> None:
    """Convert density files to a store; a second call continues."""
    from ecd_data import convert
    from ecd_data.work.process_pool import connect_cluster

    if len(sources) < 2:
        raise UsageError("ecd convert wants sources and, last, the store to write: ecd convert run1/CHGCAR my.ecd")
    options = {"bound": bound, "pipeline": pipeline, "unit": unit, "workers": workers, "progress": not quiet}
    with connect_cluster(dask, workers) as cluster:
        report = convert(sources[:-1], sources[-1], cluster=cluster, **options)  # type: ignore[arg-type]
    for file, reason in list(report.failed.items())[:MAX_REASONS]:
        print(f"left out: {file}: {reason.removeprefix(file).lstrip(':, ')}", file=sys.stderr)
    if len(report.failed) > MAX_REASONS:
        where = f", in {report.store}/conversion.jsonl" if report.store.exists() else ""
        print(f"left out: {len(report.failed) - MAX_REASONS} more{where}", file=sys.stderr)
    ratio = report.bytes_in / report.bytes_out if report.bytes_out else 0
    sizes = (
        f" ({_format_size(report.bytes_in)} of files to {_format_size(report.bytes_out)}, 1/{ratio:.0f})"
        if ratio
        else ""
    )
    print(
        f"{report.store}: {len(report.added)} added{sizes}, {len(report.skipped)} there already, "
        f"{len(report.failed)} left out" + ("" if report.store.exists() else "; no store was written")
    )
    raise typer.Exit(1 if report.failed else 0)


def subset(
    store: Annotated[str, typer.Argument(help="Store to copy from: a path, a URL, pbe, hse or ood.")],
    dest: Annotated[str, typer.Argument(help="Store to write.")],
    id: Annotated[
        list[str] | None, typer.Option(help="Id, pattern of ids (* ? []), or @FILE with one on each line; repeatable.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="Task whose crystals are copied, such as ecd_hse.")] = None,
    part: Annotated[str | None, typer.Option(help="Part of the task: train, validation or test.")] = None,
    elements: Annotated[str | None, typer.Option(help="Elements that a crystal must have: Li,O.")] = None,
    only_elements: Annotated[str | None, typer.Option(help="Elements that a crystal may have: Li,Na,O.")] = None,
    natoms: Annotated[str, typer.Option(help="Number of atoms: 8, 1:20, :20 or 20:.")] = ":",
    points: Annotated[str, typer.Option(help="Number of grid points: :1000000 for at most a million.")] = ":",
    flag: Annotated[
        list[str] | None, typer.Option(help="Flag of `ecd check` that a crystal must have; repeatable.")
    ] = None,
    without_flag: Annotated[
        list[str] | None, typer.Option(help="Flag of `ecd check` that a crystal must not have; repeatable.")
    ] = None,
    functional: Annotated[str | None, typer.Option(help="Functional of the densities: PBE, HSE06, ...")] = None,
    quiet: Quiet = False,
) -> None:
    """Copy the crystals that meet all conditions into a store, byte for byte; a second call continues."""
    from ecd_data import subset

    report = subset(
        store,
        dest,
        ids=_read_ids(id or []),
        task=task,
        part=part,
        elements=_parse_symbols(elements),
        only_elements=_parse_symbols(only_elements),
        natoms=_parse_range(natoms),
        points=_parse_range(points),
        flags=flag or (),
        without_flags=without_flag or (),
        functional=functional,
        progress=not quiet,
    )
    _print_copy(report)


def merge(
    stores: Annotated[list[str], typer.Argument(help="Stores to merge, paths or URLs; last the store to write.")],
    duplicates: Annotated[
        str, typer.Option(help="Which density counts where stores differ for an id: first, last, or error for none.")
    ] = "error",
    quiet: Quiet = False,
) -> None:
    """Copy the crystals of several stores into one, byte for byte; a second call continues."""
    from ecd_data import merge

    if len(stores) < 2:
        raise UsageError("ecd merge wants stores and, last, the store to write: ecd merge a.ecd b.ecd all.ecd")
    _print_copy(merge(stores[:-1], stores[-1], duplicates=duplicates, progress=not quiet))


def reencode(
    store: Annotated[str, typer.Argument(help="Store to read: a path or URL, pbe, hse or ood.")],
    dest: Annotated[str, typer.Argument(help="Store to write.")],
    bound: Annotated[float, typer.Option(help="Largest eps_mae (fraction) from the original densities.")] = 1e-4,
    workers: Workers = 1,
    quiet: Quiet = False,
) -> None:
    """Write a store again with a larger error bound; a second call continues."""
    from ecd_data import reencode

    _print_copy(reencode(store, dest, bound, workers=workers, progress=not quiet))


def verify(
    store: Annotated[str, typer.Argument(help="Store to read: a path or URL, pbe, hse or ood.")],
    workers: Workers = 1,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Read a whole store: hash each byte, decode each density, compare the index; exit code 1 if anything is bad."""
    from ecd_data import verify

    report = verify(store, workers=workers, progress=not quiet)
    if json:
        print_lines(dumps({"ok": report.ok, **vars(report)}, indent=1))
        raise typer.Exit(0 if report.ok else 1)
    for id, reason in {**report.bad, **report.bad_parts}.items():
        print(f"bad: {id}: {reason}")
    for note in report.notes:
        print(f"note: {note}")
    print(f"{report.store}: {report.checked} crystals read, {len(report.bad)} bad, {len(report.bad_parts)} bad parts")
    raise typer.Exit(0 if report.ok else 1)


def _print_copy(report: CopyReport) -> None:
    from ecd_data.store import Store

    size = sum(Store(report.store).columns("length")["length"].to_pylist())
    print(
        f"{report.store}: {len(report.added)} added, {len(report.skipped)} there already, {_format_size(size)} in all"
    )


def _format_size(count: float) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def _read_ids(words: list[str]) -> list[str]:
    ids: list[str] = []
    for word in words:
        if not word.startswith("@"):
            ids.append(word)
            continue
        try:
            with open(word[1:], encoding="utf-8-sig") as file:
                ids += [line.strip() for line in file if line.strip()]  # an id may have spaces
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"the list {word[1:]} cannot be read ({error}): give a text file with an id a line"
            ) from error
    return ids


def _parse_symbols(text: str | None) -> list[str]:
    return [symbol.strip() for symbol in (text or "").split(",") if symbol.strip()]


def _parse_range(text: str) -> tuple[float | None, float | None]:
    first, colon, last = text.partition(":")
    try:
        least = float(first) if first else None
        most = (float(last) if last else None) if colon else least
    except ValueError:
        raise UsageError(f"{text!r} is no range: write 8, 1:20, :20 or 20:") from None
    return least, most
