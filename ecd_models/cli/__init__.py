"""The command `ecd`: its verbs, its exit codes, and one sentence for each failure."""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, Any

import typer

from ecd_data import __version__
from ecd_data.errors import EcdError, UsageError
from ecd_data.optional_packages import missing_extra
from ecd_models.cli import (
    data,
    dft,
    fetch,
    leaderboard,
    models,
    predict,
    probes,
    report,
    scf,
    splits,
    stores,
    views,
    weights,
)
from ecd_models.cli.options import INTERRUPTED
from ecd_models.cli.terminal import print, show_log

app = typer.Typer(
    name="ecd",
    help="Electron densities of crystals: files, stores, splits and models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
engine = typer.Typer(help="Compute densities with Quantum ESPRESSO or GPAW.", no_args_is_help=True)
consistency = typer.Typer(help="What a density saves in a self-consistency.", no_args_is_help=True)
VERBS: list[Callable[..., None]] = [
    data.info,
    data.check,
    stores.convert,
    fetch.fetch,
    data.export,
    splits.split,
    splits.leakage,
    splits.similar,
]
VERBS += [stores.subset, stores.merge, stores.reencode, stores.verify]
VERBS += [models.train, predict.predict, models.evaluate, weights.models]
VERBS += [views.plot, views.view, views.compare]
VERBS += [report.report, leaderboard.submit, leaderboard.leaderboard]
for verb in VERBS:
    app.command()(verb)
app.command("probes")(probes.extract)
app.command()(probes.export_hub)
engine.command()(dft.setup)
engine.command()(dft.relax)
engine.command()(dft.run)
engine.command()(dft.select)
engine.command()(dft.formation)
engine.command()(dft.vasp_inputs)
app.add_typer(engine, name="dft")
consistency.command()(scf.run)
consistency.command()(scf.steps)
consistency.command()(scf.restart)
app.add_typer(consistency, name="scf")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"ecd {__version__}")
        raise typer.Exit


@app.callback()
def _read_options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", callback=_print_version)] = False,
) -> None:
    pass


# Recent versions of Typer carry their own copy of click: its class is found through one that Typer exports.
CommandLineError: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")

RESUMABLE = ("convert", "fetch", "subset", "merge", "reencode", "probes", "export-hub", "train", "dft", "report")
DISK_REMEDIES = {  # what to do about an error number of the system
    errno.ENOSPC: ": free some space and run the same command again",
    errno.EDQUOT: ": free some of your quota and run the same command again",
    errno.EFBIG: ": it is larger than `ulimit -f` or the file system allows a file to be; raise the limit (ulimit -f"
    " unlimited) or write elsewhere, and run the same command again",
}
STOPPED_IN_FILE = "the current file was not written, those written before are complete: run it again"
STOPPED_BETWEEN_FILES = "the density files that exist are complete: the same command writes the others"


def main() -> None:
    """Run the command line and exit: 0 done, 1 bad data or a failed run, 2 wrong usage, 130 interrupted."""
    show_log()
    logging.getLogger("ecd_data").setLevel(logging.INFO)
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # it would print a line for each retry
    sys.exit(_run(sys.argv[1:]))


def _run(arguments: list[str]) -> int:
    try:
        return _end_verb(app(arguments, standalone_mode=False), arguments)
    except typer.Exit as leave:
        return _end_verb(leave.exit_code, arguments)
    except (typer.Abort, KeyboardInterrupt):
        return _end_verb(INTERRUPTED, arguments)
    except CommandLineError as error:
        command = error.ctx.command_path if getattr(error, "ctx", None) else "ecd"
        what = error.format_message().rstrip(".")
        return _print_error(f"{what or 'a verb is missing'}; see `{command} --help`", 2)
    except UsageError as error:
        return _print_error(str(error), 2)
    except EcdError as error:
        return _print_error(str(error), 1)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of the output left; Python would print an error while flushing
        return 1
    except OSError as error:
        remedy = DISK_REMEDIES.get(error.errno or 0, "")
        # Arrow's reasons are long and unclear
        reason = os.strerror(error.errno or 0) if remedy else error.strerror or error
        return _print_error(f"{error.filename or _find_output(arguments)}: {reason}{remedy}", 1)
    except MemoryError as error:
        return _print_error(f"not enough memory ({error}): take a coarser grid or another machine", 1)
    except Exception as error:
        if isinstance(error, ImportError) and (missing := missing_extra(error)):
            return _print_error(str(missing), 1)
        if os.environ.get("ECD_DEBUG"):
            raise
        what = " ".join(str(error).split())[:300]
        return _print_error(
            f"{type(error).__name__}: {what}; this is an error of ecd: report it with what ECD_DEBUG=1 prints", 1
        )


def _find_output(arguments: list[str]) -> str:
    """The output file of a command line, for errors in which the system names no file."""
    outputs = [after for option, after in pairwise(arguments) if option in ("-o", "--output")]
    return outputs[-1] if outputs else "the output"


def _end_verb(code: object, arguments: list[str]) -> int:
    if code == INTERRUPTED:  # typer turns Ctrl-C into this code and prints nothing
        resumed = arguments and arguments[0] in RESUMABLE
        if arguments and arguments[0] == "evaluate":
            resumed = not {"-o", "--output"}.isdisjoint(arguments)  # it keeps finished crystals beside its output
        between = arguments and arguments[0] == "predict"
        remedy = (
            "the same command continues where it stopped"
            if resumed
            else STOPPED_BETWEEN_FILES
            if between
            else STOPPED_IN_FILE
        )
        return _print_error(f"interrupted; {remedy}", INTERRUPTED)
    return code if isinstance(code, int) else 0


def _print_error(message: str, code: int) -> int:
    print(f"ecd: {message}", file=sys.stderr)
    return code
