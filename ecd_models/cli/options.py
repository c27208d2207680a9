"""Options that several verbs share, checks of their values, and the options of all verbs, such as --quiet."""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import update_wrapper
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from ecd_data.errors import UsageError
from ecd_data.io.network import OFFLINE
from ecd_data.safe_text import PrintableFormatter
from ecd_data.work.progress import hide_progress
from ecd_models.cli.completion import complete_ids, complete_models
from ecd_models.cli.examples import EXAMPLES

MAX_POINTS = 1 << 31  # of a grid on the command line: a larger one is a typing error, and would take 17 GB
PICTURES = (".png", ".pdf", ".svg")
PAGES = (".html", ".htm")


def check_grid(grid: tuple[int, int, int] | None) -> tuple[int, int, int] | None:
    """The grid; UsageError where a number is not positive or the grid is too large."""
    if grid and not (min(grid) > 0 and grid[0] * grid[1] * grid[2] <= MAX_POINTS):
        raise UsageError(f"a grid has three positive numbers of points and at most {MAX_POINTS:,} in all, not {grid}")
    return grid


def writable(file: Path | None) -> Path | None:
    """The file to write; UsageError where it is a folder or its folder cannot be written to."""
    if file is not None and file.is_dir():
        raise UsageError(f"{file} is a folder: name a file to write")
    if file is not None and not os.access(file.parent, os.W_OK):
        reason = "cannot be written to" if file.parent.is_dir() else "does not exist"
        raise UsageError(f"{file}: the folder {file.parent} {reason}: name another or make it")
    return file


def density_file(file: Path | None) -> Path | None:
    """The density file to write; UsageError where its name tells no format or it cannot be written."""
    from ecd_data.formats import find_renderer

    if file is not None:
        try:
            find_renderer(file)
        except UsageError as error:
            raise UsageError(f"{file}: the name tells no format: put CHGCAR or .cube in it") from error
    return writable(file)


def check_picture(file: Path | None) -> Path | None:
    """The picture to write; UsageError where its name tells no format."""
    if file is not None and file.suffix.lower() not in PICTURES:
        raise UsageError(f"{file}: the name tells no picture format; let it end in {', '.join(PICTURES)}")
    return writable(file)


def check_page(file: Path | None) -> Path | None:
    """The page to write; UsageError where its name is not that of an HTML file."""
    if file is not None and file.suffix.lower() not in PAGES:
        raise UsageError(f"{file}: a page is an HTML file: let its name end in .html")
    return writable(file)


Data = Annotated[
    str | None,
    typer.Option("--data", help="Folder or URL with the stores; default: ECD_ROOT, else the embedded sample."),
]
Sample = Annotated[
    bool, typer.Option("--sample", help="Use the embedded sample, also for a task of the benchmark; results say so.")
]
Unit = Annotated[
    str | None,
    typer.Option("--unit", help="Unit of the values in cube and XSF files, which do not state it: e/A^3 or e/bohr^3."),
]
Workers = Annotated[int, typer.Option("--workers", "-j", help="Number of processes; the result does not depend on it.")]
PredictWorkers = Annotated[
    int, typer.Option("--workers", "-j", help="Number of processes that predict at the same time.")
]
Dask = Annotated[
    str | None, typer.Option("--dask", help="Dask cluster to run on: the address or file of its scheduler, or local.")
]
Device = Annotated[str, typer.Option("--device", help="Device of the network: cpu, cuda, ...")]
Source = Annotated[
    str, typer.Argument(help="A density file, an id of the store, or STORE::ID.", autocompletion=complete_ids)
]
Json = Annotated[bool, typer.Option("--json", help="Print a JSON object instead of lines.")]
Grid = Annotated[
    tuple[int, int, int] | None, typer.Option(help="Number of grid points along a, b and c.", callback=check_grid)
]


def model_option(help: str) -> Any:
    """The option --model, -m of a verb, with its own help."""
    return typer.Option("--model", "-m", help=help, autocompletion=complete_models)


PANEL = "Options of every verb"
QUIET_HELP = "Show no progress and no notes, only results, warnings and errors."
VERBOSE_HELP = "Show what the libraries log too, with the time of each line."
OFFLINE_HELP = "Use nothing from the network; ECD_OFFLINE=1 does the same."
PACKAGES = ("ecd_data", "ecd_models")
DEBUG = "ECD_DEBUG"  # makes an error of ecd end in a traceback
LEVELS = {"ecd_data": logging.INFO, "ecd_models": logging.INFO, "urllib3": logging.ERROR}  # it logs each retry

_wanted: dict[str, bool] = {}  # of the command that runs


@contextmanager
def keep_settings() -> Iterator[None]:
    """Undo at the end what the options of a command change: levels of the log and the environment."""
    environment = {name: os.environ.get(name) for name in (OFFLINE, DEBUG)}
    levels = {name: logging.getLogger(name).level for name in LEVELS}
    _wanted.clear()
    try:
        yield
    finally:
        hide_progress(False)
        for name, value in environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def set_quiet(value: bool) -> bool:
    """Whether the command is quiet: by this option, or by `ecd --quiet`."""
    if value:
        _choose("quiet", "verbose")
        hide_progress()
        for name in PACKAGES:
            logging.getLogger(name).setLevel(logging.WARNING)
    return value or "quiet" in _wanted


def set_verbose(value: bool) -> bool:
    """Whether the command is verbose; it then logs more, with times, and shows the traceback of an error of ecd."""
    if value:
        _choose("verbose", "quiet")
        os.environ[DEBUG] = os.environ.get(DEBUG) or "1"
        for name in LEVELS:
            logging.getLogger(name).setLevel(logging.DEBUG)
        for handler in logging.getLogger().handlers:
            if isinstance(handler.formatter, PrintableFormatter):
                handler.setFormatter(PrintableFormatter("%(asctime)s %(name)s: %(message)s", "%H:%M:%S"))
    return value


def set_offline(value: bool) -> bool:
    """Whether the network is forbidden, for this process and those that it starts."""
    if value:
        os.environ[OFFLINE] = "1"
    return value


def _choose(one: str, other: str) -> None:
    if other in _wanted:
        raise UsageError("--quiet and --verbose contradict each other: give one of them")
    _wanted[one] = True


Quiet = Annotated[bool, typer.Option("--quiet", "-q", help=QUIET_HELP, callback=set_quiet, rich_help_panel=PANEL)]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help=VERBOSE_HELP, callback=set_verbose, rich_help_panel=PANEL)
]
Offline = Annotated[bool, typer.Option("--offline", help=OFFLINE_HELP, callback=set_offline, rich_help_panel=PANEL)]
SHARED = {"quiet": Quiet, "verbose": Verbose, "offline": Offline}


def add_verb(app: typer.Typer, verb: Callable[..., None], name: str | None = None, group: str = "") -> None:
    """Add a verb to an app, with its examples and the options of every verb."""
    name = name or verb.__name__.replace("_", "-")
    lines = EXAMPLES.get(f"{group} {name}".strip(), [])
    heading = [] if not lines else ["Example:"] if len(lines) == 1 else ["Examples:"]
    app.command(name, cls=Verb, epilog="\n\n".join([*heading, *lines]))(_add_shared_options(verb))


class Verb(TyperCommand):
    """A command that refuses an option given twice that takes one value, of which only the last would count.

    Its help shows no type behind an option that takes no value, since `--json true` would be wrong.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments into `ctx`; raises UsageError for an option that is given twice and takes one value."""
        if not ctx.resilient_parsing:  # as the completion of shells is, of unfinished commands
            given = self.make_parser(ctx).parse_args(args=list(args))[2]
            for option in given:
                takes_more = option.multiple or getattr(option, "is_flag", False)
                if option.param_type_name == "option" and not takes_more and given.count(option) > 1:
                    name = max(option.opts, key=len)
                    raise UsageError(f"{name} is given {given.count(option)} times and takes one value: give it once")
        return super().parse_args(ctx, args)

    def get_params(self, ctx: Any) -> list[Any]:
        """The options and arguments of the verb, with --help."""
        parameters = super().get_params(ctx)
        for parameter in parameters:
            if getattr(parameter, "is_flag", False) and parameter.metavar is None:
                parameter.metavar = ""
        return parameters


def _add_shared_options(verb: Callable[..., None]) -> Callable[..., None]:
    """The verb with the shared options that it does not have itself; their callbacks act, the verb never sees them."""
    own = inspect.signature(verb, eval_str=True).parameters
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=option)
        for name, option in SHARED.items()
        if name not in own
    ]

    def run(**values: Any) -> None:
        verb(**{name: value for name, value in values.items() if name in own})

    return change_options(verb, run, [*own.values(), *shared])


def change_options(
    verb: Callable[..., None], run: Callable[..., None], options: list[inspect.Parameter]
) -> Callable[..., None]:
    """`run` with the name and the help of a verb, and with these options for typer to read."""
    update_wrapper(run, verb, updated=())
    del run.__wrapped__  # type: ignore[attr-defined]
    run.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    run.__annotations__ = {option.name: option.annotation for option in options}
    return run
