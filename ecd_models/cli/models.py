"""Verbs for models: train, evaluate."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from ecd_models.cli.options import Data, Quiet, Sample, writable
from ecd_models.cli.terminal import print, print_lines


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
    sample: Sample = False,
    quiet: Quiet = False,
) -> None:
    """Train a network; a second call continues an interrupted run. With torchrun: in several processes."""
    from ecd_models.evaluation import seeds as several
    from ecd_models.training.config import load_config
    from ecd_models.training.distributed import is_first
    from ecd_models.training.progress_display import evaluation_progress, training_progress

    given = [*([f"out={out}"] if out else []), *(["sample=true"] if sample else [])]
    config = load_config(*configs, settings=[*(settings or []), *given])
    shown = is_first() and not quiet
    runs = several.seeded(config, seeds)
    results = list(several.train_seeds(runs, lambda run: training_progress(run.steps, shown)))
    if not is_first():
        return
    spreads = {"validation": several.validated(results)}
    for result in results:
        print(f"best validation eps_mae {100 * result.best_error:.3f} %: {result.best}; log: {result.log}")
    origin = results[0].origin
    print(f"data: {config.store or config.task} of {origin}")
    for part in parts or []:
        spreads[part] = several.judged(results, config, part, lambda: evaluation_progress(shown))
    if seeds > 1 or parts:
        several.save_spreads(Path(config.out) / "errors.json", spreads, origin)
        print_lines("\n".join(f"{name} eps_mae {spread}" for name, spread in spreads.items()))
        print(f"errors: {Path(config.out) / 'errors.json'}")


def evaluate(
    task: Annotated[str, typer.Argument(help="Task or configuration, for example pbe; or the path of a store.")],
    models: Annotated[
        list[str], typer.Option("--model", "-m", help="Checkpoint or name; repeatable, a row of the table each.")
    ],
    part: Annotated[
        list[str] | None,
        typer.Option(
            help="train, validation, test (the default), or test_geometries, test_compositions, test_pairs,"
            " test_types of the sample; repeatable."
        ),
    ] = None,
    split: Annotated[
        Path | None, typer.Option(help="With a store: JSON file of ids by part, as `ecd split make` writes it.")
    ] = None,
    ids: Annotated[
        list[str] | None, typer.Option("--id", help="Only this crystal, whatever part it is in; repeatable.")
    ] = None,
    data: Data = None,
    sample: Sample = False,
    limit: Annotated[int | None, typer.Option(help="Only the first crystals.")] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="JSON file with a row a crystal; of several models one each, FILE_MODEL.json.",
            callback=writable,
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Measure the errors of models on full grids, of crystals that trained them and of others apart."""
    from dataclasses import replace

    from ecd_data.errors import UsageError
    from ecd_models import evaluate, load_model
    from ecd_models.evaluation.result_table import table_of
    from ecd_models.training.progress_display import evaluation_progress

    parts: list[str | None] = [*part] if part else [None]
    if ids and part:
        raise UsageError("--id takes crystals of any part: leave --part out")
    chosen: Any = {"split": split, "ids": ids, "data_dir": data, "sample": sample, "limit": limit}
    if output is not None and len(parts) > 1:
        raise UsageError("--output takes the errors of one part: give one --part")
    files = files_of(models, output)
    judged = {name: load_model(name) for name in models}
    for name in parts:
        results = []
        for label, model in judged.items():
            with evaluation_progress(not quiet) as report:
                found = evaluate(model, task, part=name, **chosen, report=report)
            results.append(replace(found, model=label))
            if label in files:
                results[-1].save(files[label])
        print_lines(table_of(results))
        for file in files.values():
            print(f"errors: {file}")


def files_of(models: list[str], output: Path | None) -> dict[str, Path]:
    """The JSON file of each model: `output` of one, FILE_MODEL.json of several; none without an output.

    Raises UsageError where a model is named twice, or two would have one file.
    """
    from ecd_data.errors import UsageError

    if twice := [name for name in models if models.count(name) > 1]:
        raise UsageError(f"the model {twice[0]} is named twice: name each once")
    if output is None or len(models) == 1:
        return {} if output is None else {models[0]: output}
    words = {name: re.sub(r"\W+", "-", re.sub(r"\.(safetensors|pt)$", "", name)).strip("-")[-100:] for name in models}
    if len(set(words.values())) < len(models):
        raise UsageError("two of the models would have the same JSON file: give them one by one")
    return {name: output.with_name(f"{output.stem}_{word}{output.suffix}") for name, word in words.items()}
