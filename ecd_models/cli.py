"""The command `ecd`: every verb is a thin mapping onto a public function; imports wait until a verb needs them."""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ecd_data.errors import EcdError, UsageError

if TYPE_CHECKING:
    from ecd_data.density import Density

app = typer.Typer(
    name="ecd",
    help="Electron densities of crystals: files, stores, splits, models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
dft = typer.Typer(help="Compute densities with Quantum ESPRESSO.", no_args_is_help=True)
app.add_typer(dft, name="dft")

# Typer carries its own copy of click since 0.2x, so click's class has to be found through one that typer exports.
WrongCall: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")

INTERRUPTED = 130
MAX_POINTS = 1 << 31


def _positive_grid(grid: tuple[int, int, int] | None) -> tuple[int, int, int] | None:
    if grid and not (min(grid) > 0 and grid[0] * grid[1] * grid[2] <= MAX_POINTS):
        raise UsageError(f"a grid has three positive numbers of points and at most {MAX_POINTS:,} in all, not {grid}")
    return grid


def _output(file: Path | None) -> Path | None:
    """The file to write, refused before the work is done and not after."""
    if file is not None and file.is_dir():
        raise UsageError(f"{file} is a folder: name a file to write")
    if file is not None and not os.access(file.parent, os.W_OK):
        reason = "cannot be written to" if file.parent.is_dir() else "does not exist"
        raise UsageError(f"{file}: the folder {file.parent} {reason}: name another or make it")
    return file


Data = Annotated[
    str | None, typer.Option("--data", help="Folder or URL with the stores; default ECD_ROOT, the sample.")
]
Grid = Annotated[tuple[int, int, int] | None, typer.Option(help="Grid points along a, b, c.", callback=_positive_grid)]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]


@app.command()
def info(
    source: Annotated[str, typer.Argument(help="A density file, a store (path or URL), or pbe, hse.")],
    id: Annotated[str | None, typer.Argument(help="One material of the store.")] = None,
) -> None:
    """Say what a density file or a store holds."""
    from ecd_data.store import open_store

    if id is None and Path(source).is_file():
        from ecd_data import read

        _describe(source, read(source))
        return
    store = open_store(source)
    if id is not None:
        _describe(id, store[id])
        return
    index = store.index
    print(f"{store.root}: {len(store)} crystals, {_size(index['length'].sum())}")
    if not len(store):
        return
    for column in ("functional", "pipeline"):
        counts = index[column].fillna("unknown").value_counts()
        print(f"{column}: " + ", ".join(f"{name} {count}" for name, count in counts.items()))
    points = index["shape"].map(lambda s: int(s[0]) * int(s[1]) * int(s[2]))
    print(f"grid points: {points.min():,} to {points.max():,} a crystal, {points.sum():,} in all")
    print("ids: " + ", ".join(store.ids[:8]) + (", ..." if len(store) > 8 else ""))


def _size(count: float) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def _describe(name: str, rho: Density) -> None:
    from ecd_data.checks import check

    report = check(rho)
    print(f"{name}: {rho!r}")
    print("lattice (Å): " + "; ".join(" ".join(f"{x:.4f}" for x in row) for row in rho.lattice))
    print(f"electrons {rho.nelect:.6f}, density {rho.values.min():.4g} to {rho.values.max():.4g} e/Å^3")
    if rho.moment is not None:
        print(f"moment {rho.moment} Bohr magnetons")
    for key, value in rho.meta.items():
        print(f"{key}: {json.dumps(value)}")
    print("check: " + ("; ".join(report.problems) or "ok") + (f" ({', '.join(report.flags)})" if report.flags else ""))


@app.command()
def check(files: Annotated[list[Path], typer.Argument(help="CHGCAR files.")]) -> None:
    """Give a verdict on each density file; exit code 1 when one is bad."""
    from ecd_data import check, read

    bad = 0
    for file in files:
        try:
            report = check(read(file))
            verdict = "; ".join(report.problems) or "ok"
            flags = f" ({', '.join(report.flags)})" if report.flags else ""
        except EcdError as error:
            verdict, flags = str(error).removeprefix(f"{file}").lstrip(":, "), ""
        bad += verdict != "ok"
        print(f"{file}: {verdict}{flags}")
    raise typer.Exit(1 if bad else 0)


@app.command()
def convert(
    sources: Annotated[list[str], typer.Argument(help="CHGCAR files, folders or patterns; the last one is the store.")],
    bound: Annotated[float, typer.Option(help="eps_mae that the Fourier form may cost.")] = 1e-5,
    pipeline: Annotated[str, typer.Option(help="fourier, or real for lossless float32.")] = "fourier",
    quiet: Quiet = False,
) -> None:
    """Turn CHGCAR files into a store; a second call continues."""
    from ecd_data import convert

    if len(sources) < 2:
        raise UsageError("ecd convert wants sources and, last, the store to write: ecd convert run1/CHGCAR my.ecd")
    report = convert(sources[:-1], sources[-1], bound=bound, pipeline=pipeline, progress=not quiet)
    for file, reason in report.failed.items():
        print(f"left out: {file}: {reason}", file=sys.stderr)
    ratio = report.bytes_in / report.bytes_out if report.bytes_out else 0
    sizes = f" ({_size(report.bytes_in)} of files to {_size(report.bytes_out)}, 1/{ratio:.0f})" if ratio else ""
    print(
        f"{report.store}: {len(report.added)} added{sizes}, {len(report.skipped)} there already, "
        f"{len(report.failed)} left out"
    )
    raise typer.Exit(1 if report.failed else 0)


@app.command()
def export(
    id: Annotated[str, typer.Argument(help="Material id.")],
    file: Annotated[Path, typer.Argument(help="File to write; CHGCAR in its name.", callback=_output)],
    store: Annotated[str, typer.Option(help="Store, or pbe, hse.")] = "pbe",
    grid: Grid = None,
) -> None:
    """Write a density of a store as a CHGCAR."""
    from ecd_data import open_store, write

    rho = open_store(store)[id]
    write(file, rho.resample(grid) if grid else rho)
    print(f"{file}: {rho!r}")


@app.command()
def split(
    task: Annotated[str, typer.Argument(help="Task, for example ecd_hse or ECD-HSE-id.")],
    part: Annotated[str | None, typer.Option(help="Print the ids of this part.")] = None,
) -> None:
    """Say how a task splits its crystals, or list the ids of a part."""
    from ecd_data.release.splits import SAMPLE_SPLITS, load_split, split_summary

    parts = load_split(task)
    if part is None:
        if task in SAMPLE_SPLITS:
            print("\n".join(f"{name}: {len(ids)}" for name, ids in parts.items()))
        else:
            print(split_summary(task))
        return
    if part not in parts:
        raise UsageError(f"{task} has no part {part!r}; it has {', '.join(parts)}")
    print("\n".join(parts[part]))


@app.command()
def leakage(task: Annotated[str, typer.Argument(help="Task, for example ecd_pbe_hse.")]) -> None:
    """Say how many test crystals a task's model has seen in training."""
    from ecd_data.release.splits import leakage

    print(leakage(task))


@app.command()
def train(config: Annotated[Path, typer.Argument(help="TOML file, see examples/.")], quiet: Quiet = False) -> None:
    """Train a network; a second call continues an interrupted run."""
    from ecd_models import train
    from ecd_models.config import load_config
    from ecd_models.screen import training_progress

    settings = load_config(config)
    with training_progress(settings.steps, not quiet) as report:
        result = train(settings, report)
    print(f"best validation eps_mae {100 * result.best_error:.3f} %: {result.best}")
    print(f"log: {result.log}")


@app.command()
def predict(
    structure: Annotated[Path, typer.Argument(help="CHGCAR, CIF, POSCAR or what pymatgen reads.")],
    model: Annotated[str, typer.Option("--model", "-m", help="Checkpoint or name.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File to write; CHGCAR in its name.", callback=_output)
    ],
    grid: Grid = None,
    like: Annotated[Path | None, typer.Option(help="Take the grid of this CHGCAR.")] = None,
    quiet: Quiet = False,
) -> None:
    """Predict the density of a structure and write a CHGCAR."""
    from ecd_data import read, write
    from ecd_data.formats.structure import read_structure
    from ecd_models import load_model, predict
    from ecd_models.screen import counting

    if (grid is None) == (like is None):
        raise UsageError("give the grid: --grid A B C, or --like CHGCAR")
    crystal = read_structure(structure)
    shape = grid if like is None else read(like).shape
    assert shape is not None
    network = load_model(model)
    with counting("points", shape[0] * shape[1] * shape[2], not quiet) as advance:
        rho = predict(network, crystal, shape=shape, advance=advance)
    write(output, rho)
    print(f"{output}: {rho!r}; without augmentation occupancies, which a PAW restart needs")


@app.command()
def evaluate(
    task: Annotated[str, typer.Argument(help="Task or configuration, for example pbe.")],
    model: Annotated[str, typer.Option("--model", "-m", help="Checkpoint or name.")],
    part: Annotated[str, typer.Option(help="train, validation, test, test_geometries, test_compositions.")] = "test",
    data: Data = None,
    limit: Annotated[int | None, typer.Option(help="Only the first crystals.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="JSON file with a row a crystal.", callback=_output)
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Measure the errors of a model on full grids."""
    from ecd_models import evaluate, load_model
    from ecd_models.screen import evaluation_progress

    with evaluation_progress(not quiet) as report:
        result = evaluate(load_model(model), task, part=part, data_dir=data, limit=limit, report=report)
    print(f"{result.task} {part}, {result.model}: {result.summary}")
    if result.atom_summary is not None:
        print(f"{result.task} {part}, superposed atoms: {result.atom_summary}")
    if output is not None:
        result.save(output)
        print(f"errors: {output}")


@app.command()
def plot(
    id: Annotated[str, typer.Argument(help="Material id.")],
    model: Annotated[str, typer.Option("--model", "-m", help="Checkpoint or name.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="PNG to write.", callback=_output)],
    store: Annotated[str, typer.Option(help="Store, or pbe, hse.")] = "pbe",
) -> None:
    """Draw slices of a stored density, its prediction and the error."""
    from ecd_data import open_store
    from ecd_data.plot import plot_slices
    from ecd_models import load_model, predict

    rho = open_store(store)[id]
    plot_slices(rho, predict(load_model(model), rho.crystal, shape=rho.shape), output, id)
    print(f"picture: {output}")


@dft.command("setup")
def dft_setup(
    pwx: Annotated[Path | None, typer.Option(help="The pw.x program; default ECD_PWX, then the PATH.")] = None,
    pseudo: Annotated[Path | None, typer.Option(help="Folder of <symbol>.upf; default the cache.")] = None,
) -> None:
    """Find Quantum ESPRESSO and fetch pseudopotentials into the user's cache."""
    from ecd_data.dft import setup

    print(setup(pwx, pseudo))


@dft.command("run")
def dft_run(
    crystals: Annotated[list[Path], typer.Argument(help="CIF, POSCAR or JSON files; the last one is the store.")],
    functional: Annotated[str, typer.Option("--functional", "-f", help="pbe or hse.")] = "pbe",
    processes: Annotated[int, typer.Option("--processes", "-p", help="Runs at a time.")] = 1,
    pwx: Annotated[Path | None, typer.Option(help="The pw.x program; default ECD_PWX, then the PATH.")] = None,
    pseudo: Annotated[Path | None, typer.Option(help="Folder of <symbol>.upf; default the cache.")] = None,
    work: Annotated[Path | None, typer.Option(help="Keep all engine files in this folder.")] = None,
) -> None:
    """Compute the densities of crystals into a store; a second call continues."""
    from ecd_data.dft import run

    if len(crystals) < 2:
        raise UsageError("ecd dft run wants structure files and, last, the store to write: ecd dft run Si.cif my.ecd")
    report = run(crystals[:-1], crystals[-1], functional, processes=processes, pwx=pwx, pseudo=pseudo, work=work)
    print(f"{crystals[-1]}: {report}")
    raise typer.Exit(1 if report.failures else 0)


def main() -> None:
    """Run the command line: 0 done, 1 bad data or a failed run, 2 wrong usage, 130 interrupted."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("ecd_data").setLevel(logging.INFO)
    sys.exit(_run(sys.argv[1:]))


def _run(arguments: list[str]) -> int:
    try:
        return _finished(app(arguments, standalone_mode=False))
    except typer.Exit as leave:
        return _finished(leave.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        return _finished(INTERRUPTED)
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
        full = error.errno == errno.ENOSPC
        remedy = ": free some space and run the same command again" if full else ""
        return _say(f"{error.filename or 'the output'}: {error.strerror or error}{remedy}", 1)
    except MemoryError as error:
        return _say(f"not enough memory ({error}): take a coarser grid or another machine", 1)
    except Exception as error:
        if os.environ.get("ECD_DEBUG"):
            raise
        what = " ".join(str(error).split())[:300]
        return _say(f"{type(error).__name__}: {what}; this is not foreseen: ECD_DEBUG=1 shows where it happened", 1)


def _finished(code: object) -> int:
    if code == INTERRUPTED:  # typer turns Ctrl-C into this code, without a word
        return _say("interrupted; the same command continues where it stopped", INTERRUPTED)
    return code if isinstance(code, int) else 0


def _say(message: str, code: int) -> int:
    print(f"ecd: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
