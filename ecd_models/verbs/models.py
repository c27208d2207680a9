"""Verbs for models: train, evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ecd_models.verbs.options import Data, Quiet, writable


def train(
    configs: Annotated[list[Path], typer.Argument(help="TOML files, see examples/; later ones override earlier ones.")],
    settings: Annotated[list[str] | None, typer.Option("--set", help="key=value, over the files; repeatable.")] = None,
    out: Annotated[str | None, typer.Option(help="Folder of the run, over the files'.")] = None,
    seeds: Annotated[
        int, typer.Option(help="Trainings from so many seeds, to out/seed-N; prints mean ± deviation.")
    ] = 1,
    parts: Annotated[
        list[str] | None, typer.Option("--evaluate", help="Judge on this part of the task, as test; repeatable.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Train a network; a second call continues an interrupted run. With torchrun: in several processes."""
    from ecd_models import repeats
    from ecd_models.config import load_config
    from ecd_models.distributed import is_first
    from ecd_models.screen import evaluation_progress, training_progress

    config = load_config(*configs, settings=[*(settings or []), *([f"out={out}"] if out else [])])
    shown = is_first() and not quiet
    runs = repeats.seeded(config, seeds)
    results = list(repeats.train_seeds(runs, lambda run: training_progress(run.steps, shown)))
    if not is_first():
        return
    spreads = {"validation": repeats.validated(results)}
    for result in results:
        print(f"best validation eps_mae {100 * result.best_error:.3f} %: {result.best}; log: {result.log}")
    for part in parts or []:
        spreads[part] = repeats.judged(results, config, part, lambda: evaluation_progress(shown))
    if seeds > 1 or parts:
        repeats.save_spreads(Path(config.out) / "errors.json", spreads)
        print("\n".join(f"{name} eps_mae {spread}" for name, spread in spreads.items()))
        print(f"errors: {Path(config.out) / 'errors.json'}")


def evaluate(
    task: Annotated[str, typer.Argument(help="Task or configuration, for example pbe.")],
    model: Annotated[str, typer.Option("--model", "-m", help="Checkpoint or name.")],
    part: Annotated[
        list[str] | None,
        typer.Option(
            help="train, validation, test (the default), or test_geometries, test_compositions, test_pairs,"
            " test_types of the sample; repeatable."
        ),
    ] = None,
    data: Data = None,
    limit: Annotated[int | None, typer.Option(help="Only the first crystals.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="JSON file with a row a crystal.", callback=writable)
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Measure the errors of a model on full grids."""
    from ecd_data.errors import UsageError
    from ecd_models import evaluate, load_model
    from ecd_models.screen import evaluation_progress

    parts = part or ["test"]
    if output is not None and len(parts) > 1:
        raise UsageError("--output takes the errors of one part: give one --part")
    judged = load_model(model)
    for name in parts:
        with evaluation_progress(not quiet) as report:
            result = evaluate(judged, task, part=name, data_dir=data, limit=limit, report=report)
        print(f"{result.task} {name}, {result.model}: {result.summary}")
        if result.atom_summary is not None:
            print(f"{result.task} {name}, superposed atoms: {result.atom_summary}")
        if output is not None:
            result.save(output)
            print(f"errors: {output}")
