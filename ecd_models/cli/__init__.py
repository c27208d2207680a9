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
from ecd_data.errors import EcdError, UsageError, missing_extra
from ecd_models.cli import (
    data,
    dft,
    fetch,
    fit,
    installation,
    models,
    predict,
    probes,
    results,
    scf,
    scf_levels,
    scf_restart,
    splits,
    stores,
    views,
)
from ecd_models.cli.options import LEVELS, Offline, Quiet, Verbose, add_verb, keep_settings
from ecd_models.cli.terminal import DONE, FAILED, INTERRUPTED, WRONG_USAGE, list_exit_codes, print, show_log

app = typer.Typer(
    name="ecd",
    help="Electron densities of crystals: files, stores, splits and models.",
    no_args_is_help=True,
    epilog=f"{list_exit_codes()} `ecd VERB --help` explains a verb; docs/cli.md explains what all have in common.",
    pretty_exceptions_enable=False,
)
engine = typer.Typer(help="Compute densities with Quantum ESPRESSO or GPAW.", no_args_is_help=True)
consistency = typer.Typer(
    help="Measure what a predicted density is worth to a DFT program: steps, gaps, energies.", no_args_is_help=True
)
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
VERBS += [models.train, predict.predict, models.evaluate, models.models]
VERBS += [views.plot, views.view, views.compare, results.report, results.submit, results.leaderboard]
VERBS += [fit.fit, installation.doctor]
for verb in VERBS:
    add_verb(app, verb)
add_verb(app, probes.extract, "probes")
add_verb(app, probes.export_hub)
for verb in (dft.setup, dft.relax, dft.run, dft.select, dft.formation, dft.vasp_inputs):
    add_verb(engine, verb, group="dft")
SCF = (
    scf.run,
    scf.steps,
    scf_restart.restart,
    scf_levels.gaps,
    scf_levels.energies,
    scf_levels.table,
    scf_levels.figure,
)
for verb in SCF:
    add_verb(consistency, verb, group="scf")
app.add_typer(engine, name="dft")
app.add_typer(consistency, name="scf")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"ecd {__version__}")
        raise typer.Exit


@app.callback()
def _read_options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", callback=_print_version)] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    offline: Offline = False,
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
    for name, level in LEVELS.items():
        logging.getLogger(name).setLevel(level)
    sys.exit(_run(sys.argv[1:]))


def _run(arguments: list[str]) -> int:
    with keep_settings():
        return _run_verb(arguments)


def _run_verb(arguments: list[str]) -> int:
    try:
        return _end_verb(app(arguments, standalone_mode=False), arguments)
    except typer.Exit as leave:
        return _end_verb(leave.exit_code, arguments)
    except (typer.Abort, KeyboardInterrupt):
        return _end_verb(INTERRUPTED, arguments)
    except CommandLineError as error:
        command = error.ctx.command_path if getattr(error, "ctx", None) else "ecd"
        what = error.format_message().rstrip(".")
        return _print_error(f"{what or 'a verb is missing'}; see `{command} --help`", WRONG_USAGE)
    except UsageError as error:
        return _print_error(str(error), WRONG_USAGE)
    except EcdError as error:
        return _print_error(str(error), FAILED)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of the output left; Python would print an error while flushing
        return FAILED
    except (OSError, MemoryError, ImportError) as error:
        return _print_error(_explain_system_error(error, arguments) or _explain_own_error(error), FAILED)
    except Exception as error:
        return _print_error(_explain_own_error(error), FAILED)


def _explain_system_error(error: OSError | MemoryError | ImportError, arguments: list[str]) -> str | None:
    """The sentence on a file, a disk, the memory or a missing extra; None for an import that fails otherwise."""
    if isinstance(error, ImportError):
        missing = missing_extra(error)
        return None if missing is None else str(missing)
    if isinstance(error, MemoryError):
        return f"not enough memory ({error}): take a coarser grid or another machine"
    remedy = DISK_REMEDIES.get(error.errno or 0, "")
    reason = os.strerror(error.errno or 0) if remedy else error.strerror or error  # Arrow's reasons are long, unclear
    return f"{error.filename or _find_output(arguments)}: {reason}{remedy}"


def _explain_own_error(error: Exception) -> str:
    """The sentence on an error that nobody foresaw; with ECD_DEBUG it is raised again, with its traceback."""
    if os.environ.get("ECD_DEBUG"):
        raise error
    what = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {what}; this is an error of ecd: report it with what --verbose prints"


def _find_output(arguments: list[str]) -> str:
    """The output file of a command line, for errors in which the system names no file."""
    outputs = [after for option, after in pairwise(arguments) if option in ("-o", "--output")]
    return outputs[-1] if outputs else "the output"


def _end_verb(code: object, arguments: list[str]) -> int:
    verb = next((word for word in arguments if not word.startswith("-")), "")
    if code == INTERRUPTED:  # typer turns Ctrl-C into this code and prints nothing
        resumed = verb in RESUMABLE
        if verb == "evaluate":
            resumed = not {"-o", "--output"}.isdisjoint(arguments)  # it keeps finished crystals beside its output
        between = verb == "predict"
        remedy = (
            "the same command continues where it stopped"
            if resumed
            else STOPPED_BETWEEN_FILES
            if between
            else STOPPED_IN_FILE
        )
        return _print_error(f"interrupted; {remedy}", INTERRUPTED)
    return code if isinstance(code, int) else DONE


def _print_error(message: str, code: int) -> int:
    print(f"ecd: {message}", file=sys.stderr)
    return code
