"""The verb that brings the release from its web servers into a store."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ecd_data.errors import UsageError
from ecd_models.cli.options import Quiet
from ecd_models.cli.terminal import print, print_lines

SHOWN = 20
DRY_STALL = 10.0  # a dry run can do without an answer


def fetch(
    what: Annotated[list[str], typer.Argument(help="Tasks or sets, ids, patterns with * ? []; the last is the store.")],
    part: Annotated[str | None, typer.Option(help="train, validation or test of the task only.")] = None,
    set: Annotated[str | None, typer.Option(help="pbe, hse, mp or ood, where an id is in several.")] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many crystals.")] = None,
    connections: Annotated[int, typer.Option(help="Files at a time, at most 8.")] = 4,
    workers: Annotated[int, typer.Option("--workers", "-j", help="Processes that decode and encode.")] = 1,
    retries: Annotated[int, typer.Option(min=0, help="Tries without progress before a file is given up.")] = 6,
    pause: Annotated[float, typer.Option(min=0.0, help="Seconds before the first retry; doubles, with jitter.")] = 1.0,
    stall: Annotated[float, typer.Option(min=0.01, help="Seconds without a byte that are a stall.")] = 30.0,
    bound: Annotated[float, typer.Option(help="eps_mae that the Fourier form may cost.")] = 1e-5,
    pipeline: Annotated[str, typer.Option(help="fourier, or real for lossless float32.")] = "fourier",
    mirror: Annotated[
        str | None, typer.Option(help="Base URL of a mirror or a URL with {id}; else ECD_MIRROR.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the pauses' jitter.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would come, and how large it is.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Say what is done, failed and left in a store.")] = False,
    recheck: Annotated[bool, typer.Option("--recheck", help="Ask whether files of stored crystals changed.")] = False,
    quiet: Quiet = False,
) -> None:
    """Fetch the release, or a part of it, into a store; a second call continues and tries failures again."""
    if status:
        raise typer.Exit(_status(what))
    if len(what) < 2:
        raise UsageError("ecd fetch wants what to fetch and, last, the store to write: ecd fetch ecd_hse hse.ecd")
    from ecd_data import fetch
    from ecd_data.download.preview import preview_fetch
    from ecd_data.download.transfer import Patience

    patience = Patience(retries, pause, min(stall, DRY_STALL) if dry_run else stall)
    meant = {"part": part, "set": set, "limit": limit, "mirror": mirror, "seed": seed}
    stored = {"bound": bound, "pipeline": pipeline, "patience": patience}
    if dry_run:
        print_lines(str(preview_fetch(what[:-1], what[-1], **meant, **stored)))  # type: ignore[arg-type]
        return
    report = fetch(
        what[:-1],
        what[-1],
        **meant,  # type: ignore[arg-type]
        **stored,  # type: ignore[arg-type]
        connections=connections,
        workers=workers,
        recheck=recheck,
        progress=not quiet,
    )
    for id, reason in [*report.failed.items(), *report.changed.items()][:SHOWN]:
        print(f"{'changed' if id in report.changed else 'failed'}: {id}: {reason}", file=sys.stderr)
    unshown = len(report.failed) + len(report.changed) - SHOWN
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
    raise typer.Exit(1 if report.failed or report.changed or report.stopped else 0)


def _status(what: list[str]) -> int:
    from ecd_data.download.journal import fetch_status

    if len(what) != 1:
        raise UsageError("ecd fetch --status wants one store: ecd fetch --status hse.ecd")
    state = fetch_status(Path(what[0]))
    print_lines(state)
    return 1 if state.failed or state.changed else 0
