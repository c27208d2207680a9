"""The verb `fetch`, which downloads the release from its web servers into a store."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ecd_data.errors import UsageError
from ecd_models.cli.options import Quiet, Workers
from ecd_models.cli.terminal import print, print_lines

if TYPE_CHECKING:
    from ecd_data.download.fetch_release import FetchReport

MAX_REASONS = 20  # of failures that are printed; `ecd fetch --status` prints all
DRY_RUN_STALL = 10.0  # seconds that a dry run waits for an answer, which it can do without


def fetch(
    what: Annotated[
        list[str], typer.Argument(help="Tasks, sets, ids or patterns of ids (* ? []); last the store to write.")
    ],
    part: Annotated[str | None, typer.Option(help="Part of the task to fetch: train, validation or test.")] = None,
    set: Annotated[
        str | None, typer.Option(help="Set that an id is taken from where several have it: pbe, hse, mp or ood.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Largest number of crystals to fetch.")] = None,
    connections: Annotated[
        int, typer.Option(help="Number of files that are downloaded at the same time, at most 8.")
    ] = 4,
    workers: Workers = 1,
    retries: Annotated[
        int, typer.Option(min=0, help="Number of retries without progress before a file is given up.")
    ] = 6,
    pause: Annotated[
        float,
        typer.Option(min=0.0, help="Seconds before the first retry; doubled for each further one, with a random part."),
    ] = 1.0,
    stall: Annotated[
        float, typer.Option(min=0.01, help="Seconds without a byte after which a download counts as stalled.")
    ] = 30.0,
    bound: Annotated[float, typer.Option(help="Largest eps_mae (fraction) that storing a density may cost.")] = 1e-5,
    pipeline: Annotated[
        str, typer.Option(help="Form of the stored densities: fourier, or real for float32 without further loss.")
    ] = "fourier",
    mirror: Annotated[
        str | None, typer.Option(help="Base URL of a mirror, or a URL with {id}; default: ECD_MIRROR.")
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Random seed for retry delays and for the files whose size a dry run asks for.")
    ] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be fetched and its size, and fetch nothing.")
    ] = False,
    status: Annotated[
        bool, typer.Option("--status", help="Print what is done, failed and left of a store, and fetch nothing.")
    ] = False,
    recheck: Annotated[
        bool, typer.Option("--recheck", help="Ask the server whether the files of stored crystals changed.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Fetch the release, or a part of it, into a store; a second call continues and tries failures again."""
    if status:
        raise typer.Exit(_print_status(what))
    if len(what) < 2:
        raise UsageError("ecd fetch wants what to fetch and, last, the store to write: ecd fetch ecd_hse hse.ecd")
    from ecd_data import fetch
    from ecd_data.download.preview import preview_fetch
    from ecd_data.download.transfer import Patience

    patience = Patience(retries, pause, min(stall, DRY_RUN_STALL) if dry_run else stall)
    selection = {"part": part, "set": set, "limit": limit, "mirror": mirror, "seed": seed}
    options = {"bound": bound, "pipeline": pipeline, "patience": patience}
    if dry_run:
        print_lines(str(preview_fetch(what[:-1], what[-1], **selection, **options)))  # type: ignore[arg-type]
        return
    report = fetch(
        what[:-1],
        what[-1],
        **selection,  # type: ignore[arg-type]
        **options,  # type: ignore[arg-type]
        connections=connections,
        workers=workers,
        recheck=recheck,
        progress=not quiet,
    )
    _print_report(report)
    raise typer.Exit(1 if report.failed or report.changed or report.stopped else 0)


def _print_report(report: FetchReport) -> None:
    """Print the first failures, and how many files were stored."""
    for id, reason in [*report.failed.items(), *report.changed.items()][:MAX_REASONS]:
        print(f"{'changed' if id in report.changed else 'failed'}: {id}: {reason}", file=sys.stderr)
    unshown = len(report.failed) + len(report.changed) - MAX_REASONS
    if unshown > 0:
        print(f"and {unshown:,} more: `ecd fetch --status {report.dest}` lists them", file=sys.stderr)
    sizes = f" ({report.bytes_in / 1e6:.2f} MB of files to {report.bytes_out / 1e6:.2f} MB)" if report.added else ""
    changed = f", {len(report.changed):,} changed on the server" if report.changed else ""
    print(
        f"{report.dest}: {len(report.added):,} added{sizes}, {len(report.skipped):,} there already, "
        f"{len(report.failed):,} failed{changed}, {report.left:,} left"
    )
    if report.stopped:
        print(f"ecd: {report.stopped}: the same command continues later", file=sys.stderr)


def _print_status(what: list[str]) -> int:
    from ecd_data.download.journal import fetch_status

    if len(what) != 1:
        raise UsageError("ecd fetch --status wants one store: ecd fetch --status hse.ecd")
    state = fetch_status(Path(what[0]))
    print_lines(state)
    return 1 if state.failed or state.changed else 0
