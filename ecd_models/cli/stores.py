"""Verbs that write stores and check them: convert, subset, merge, reencode, verify."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from ecd_data.errors import UsageError
from ecd_models.cli.options import Quiet, Unit
from ecd_models.cli.terminal import print

if TYPE_CHECKING:
    from ecd_data.store.copy import CopyReport

SHOWN = 20  # failures; a longer list is in the journal
Workers = Annotated[int, typer.Option("--workers", "-j", help="Processes; the result does not depend on it.")]


def convert(
    sources: Annotated[
        list[str],
        typer.Argument(help="Density files, folders, patterns, tar archives, @LIST of paths; the last is the store."),
    ],
    bound: Annotated[float, typer.Option(help="eps_mae that the Fourier form may cost.")] = 1e-5,
    pipeline: Annotated[str, typer.Option(help="fourier, or real for lossless float32.")] = "fourier",
    unit: Unit = None,
    workers: Workers = 1,
    dask: Annotated[str | None, typer.Option(help="A Dask cluster: its scheduler's address or file, or local.")] = None,
    quiet: Quiet = False,
) -> None:
    """Turn density files into a store; a second call continues."""
    from ecd_data import convert
    from ecd_data.work.process_pool import connect_cluster

    if len(sources) < 2:
        raise UsageError("ecd convert wants sources and, last, the store to write: ecd convert run1/CHGCAR my.ecd")
    options = {"bound": bound, "pipeline": pipeline, "unit": unit, "workers": workers, "progress": not quiet}
    with connect_cluster(dask, workers) as cluster:
        report = convert(sources[:-1], sources[-1], cluster=cluster, **options)  # type: ignore[arg-type]
    for file, reason in list(report.failed.items())[:SHOWN]:
        print(f"left out: {file}: {reason.removeprefix(file).lstrip(':, ')}", file=sys.stderr)
    if len(report.failed) > SHOWN:
        where = f", in {report.store}/conversion.jsonl" if report.store.exists() else ""
        print(f"left out: {len(report.failed) - SHOWN} more{where}", file=sys.stderr)
    ratio = report.bytes_in / report.bytes_out if report.bytes_out else 0
    sizes = f" ({_size(report.bytes_in)} of files to {_size(report.bytes_out)}, 1/{ratio:.0f})" if ratio else ""
    print(
        f"{report.store}: {len(report.added)} added{sizes}, {len(report.skipped)} there already, "
        f"{len(report.failed)} left out" + ("" if report.store.exists() else "; no store was written")
    )
    raise typer.Exit(1 if report.failed else 0)


def subset(
    store: Annotated[str, typer.Argument(help="Store to take from: a path, a URL, pbe or hse.")],
    dest: Annotated[str, typer.Argument(help="Store to write.")],
    id: Annotated[list[str] | None, typer.Option(help="Id or pattern with * ? []; @FILE has one a line.")] = None,
    task: Annotated[str | None, typer.Option(help="Crystals of a task, for example ecd_hse.")] = None,
    part: Annotated[str | None, typer.Option(help="train, validation or test of the task.")] = None,
    elements: Annotated[str | None, typer.Option(help="It has each of these: Li,O.")] = None,
    only_elements: Annotated[str | None, typer.Option(help="It has no others than these: Li,Na,O.")] = None,
    natoms: Annotated[str, typer.Option(help="Atoms: 8, 1:20, :20 or 20:.")] = ":",
    points: Annotated[str, typer.Option(help="Grid points: :1000000 for at most a million.")] = ":",
    flag: Annotated[list[str] | None, typer.Option(help="It has this flag.")] = None,
    without_flag: Annotated[list[str] | None, typer.Option(help="It does not have this flag.")] = None,
    functional: Annotated[str | None, typer.Option(help="PBE, HSE06, ...")] = None,
    quiet: Quiet = False,
) -> None:
    """Copy the crystals that meet all conditions into a store, byte for byte; a second call continues."""
    from ecd_data import subset

    report = subset(
        store,
        dest,
        ids=_ids(id or []),
        task=task,
        part=part,
        elements=_symbols(elements),
        only_elements=_symbols(only_elements),
        natoms=_span(natoms),
        points=_span(points),
        flags=flag or (),
        without_flags=without_flag or (),
        functional=functional,
        progress=not quiet,
    )
    _say(report)


def merge(
    stores: Annotated[list[str], typer.Argument(help="Stores to merge, paths or URLs; the last one is written.")],
    duplicates: Annotated[str, typer.Option(help="Where stores differ on an id: error, first or last.")] = "error",
    quiet: Quiet = False,
) -> None:
    """Copy the crystals of several stores into one, byte for byte; a second call continues."""
    from ecd_data import merge

    if len(stores) < 2:
        raise UsageError("ecd merge wants stores and, last, the store to write: ecd merge a.ecd b.ecd all.ecd")
    _say(merge(stores[:-1], stores[-1], duplicates=duplicates, progress=not quiet))


def reencode(
    store: Annotated[str, typer.Argument(help="Store to read: a path or URL, pbe or hse.")],
    dest: Annotated[str, typer.Argument(help="Store to write.")],
    bound: Annotated[float, typer.Option(help="eps_mae against the original densities.")] = 1e-4,
    workers: Workers = 1,
    quiet: Quiet = False,
) -> None:
    """Write a store again at a looser bound; a second call continues."""
    from ecd_data import reencode

    _say(reencode(store, dest, bound, workers=workers, progress=not quiet))


def verify(
    store: Annotated[str, typer.Argument(help="Store: a path or URL, pbe or hse.")],
    workers: Workers = 1,
    quiet: Quiet = False,
) -> None:
    """Read all of a store: hash every byte, decode every density, compare the index; exit code 1 where one is bad."""
    from ecd_data import verify

    report = verify(store, workers=workers, progress=not quiet)
    for id, reason in {**report.bad, **report.bad_parts}.items():
        print(f"bad: {id}: {reason}")
    for note in report.notes:
        print(f"note: {note}")
    print(f"{report.store}: {report.checked} crystals read, {len(report.bad)} bad, {len(report.bad_parts)} bad parts")
    raise typer.Exit(0 if report.ok else 1)


def _say(report: CopyReport) -> None:
    from ecd_data.store import Store

    size = sum(Store(report.store).columns("length")["length"].to_pylist())
    print(f"{report.store}: {len(report.added)} added, {len(report.skipped)} there already, {_size(size)} in all")


def _size(count: float) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def _ids(words: list[str]) -> list[str]:
    ids: list[str] = []
    for word in words:
        if not word.startswith("@"):
            ids.append(word)
            continue
        try:
            with open(word[1:], encoding="utf-8") as file:
                ids += file.read().split()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"the list {word[1:]} cannot be read ({error}): give a text file with an id a line"
            ) from error
    return ids


def _symbols(text: str | None) -> list[str]:
    return [symbol.strip() for symbol in (text or "").split(",") if symbol.strip()]


def _span(text: str) -> tuple[float | None, float | None]:
    first, colon, last = text.partition(":")
    try:
        least = float(first) if first else None
        most = (float(last) if last else None) if colon else least
    except ValueError:
        raise UsageError(f"{text!r} is no range: write 8, 1:20, :20 or 20:") from None
    return least, most
