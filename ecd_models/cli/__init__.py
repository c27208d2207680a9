"""The command `ecd`: its verbs, its exit codes, and one sentence for everything that can go wrong."""

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
from ecd_models.cli import data, dft, fetch, models, predict, probes, splits, stores, views
from ecd_models.cli.options import INTERRUPTED
from ecd_models.cli.terminal import print, show_log

app = typer.Typer(
    name="ecd",
    help="Electron densities of crystals: files, stores, splits, models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
engine = typer.Typer(help="Compute densities with Quantum ESPRESSO or GPAW.", no_args_is_help=True)
VERBS: list[Callable[..., None]] = [
    data.info,
    data.check,
    stores.convert,
    fetch.fetch,
    data.export,
    splits.split,
    splits.leakage,
]
VERBS += [stores.subset, stores.merge, stores.reencode, stores.verify]
VERBS += [models.train, predict.predict, models.evaluate, views.plot, views.compare]
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


def _version(wanted: bool) -> None:
    if wanted:
        print(f"ecd {__version__}")
        raise typer.Exit


@app.callback()
def _ecd(
    version: Annotated[bool, typer.Option("--version", help="Say which one this is.", callback=_version)] = False,
) -> None:
    pass


# Typer carries its own copy of click since 0.2x, so click's class has to be found through one that typer exports.
WrongCall: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")

RESUMED = ("convert", "fetch", "subset", "merge", "reencode", "probes", "export-hub", "train", "dft")
NO_ROOM = {  # remedies by what the system said
    errno.ENOSPC: ": free some space and run the same command again",
    errno.EDQUOT: ": free some of your quota and run the same command again",
    errno.EFBIG: ": it is larger than `ulimit -f` or the file system allows a file to be; raise the limit (ulimit -f"
    " unlimited) or write elsewhere, and run the same command again",
}
STOPPED = "the file under way was not written, those written before are complete: run it again"
STOPPED_BETWEEN = "density files that are there are complete, the others were not written: the same command writes them"


def main() -> None:
    """Run the command line: 0 done, 1 bad data or a failed run, 2 wrong usage, 130 interrupted."""
    show_log()
    logging.getLogger("ecd_data").setLevel(logging.INFO)
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # what it tries again is not worth a line
    sys.exit(_run(sys.argv[1:]))


def _run(arguments: list[str]) -> int:
    try:
        return _finished(app(arguments, standalone_mode=False), arguments)
    except typer.Exit as leave:
        return _finished(leave.exit_code, arguments)
    except (typer.Abort, KeyboardInterrupt):
        return _finished(INTERRUPTED, arguments)
    except WrongCall as error:
        command = error.ctx.command_path if getattr(error, "ctx", None) else "ecd"
        what = error.format_message().rstrip(".")
        return _say(f"{what or 'a verb is missing'}; see `{command} --help`", 2)
    except UsageError as error:
        return _say(str(error), 2)
    except EcdError as error:
        return _say(str(error), 1)
    except BrokenPipeError:
        sys.stderr.close()  # the reader left; Python would complain while flushing
        return 1
    except OSError as error:
        remedy = NO_ROOM.get(error.errno or 0, "")
        reason = os.strerror(error.errno or 0) if remedy else error.strerror or error  # Arrow's own are longer
        return _say(f"{error.filename or _output(arguments)}: {reason}{remedy}", 1)
    except MemoryError as error:
        return _say(f"not enough memory ({error}): take a coarser grid or another machine", 1)
    except Exception as error:
        if isinstance(error, ImportError) and (missing := missing_extra(error)):
            return _say(str(missing), 1)
        if os.environ.get("ECD_DEBUG"):
            raise
        what = " ".join(str(error).split())[:300]
        return _say(f"{type(error).__name__}: {what}; this is not foreseen: ECD_DEBUG=1 shows where it happened", 1)


def _output(arguments: list[str]) -> str:
    """The file that a command line was to write, which the system does not name."""
    given = [after for option, after in pairwise(arguments) if option in ("-o", "--output")]
    return given[-1] if given else "the output"


def _finished(code: object, arguments: list[str]) -> int:
    if code == INTERRUPTED:  # typer turns Ctrl-C into this code, without a word
        resumed = arguments and arguments[0] in RESUMED
        between = arguments and arguments[0] == "predict"
        remedy = "the same command continues where it stopped" if resumed else STOPPED_BETWEEN if between else STOPPED
        return _say(f"interrupted; {remedy}", INTERRUPTED)
    return code if isinstance(code, int) else 0


def _say(message: str, code: int) -> int:
    print(f"ecd: {message}", file=sys.stderr)
    return code
