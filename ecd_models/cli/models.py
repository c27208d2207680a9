"""Verbs for models: train, evaluate, and the list of what can be loaded by name."""

from __future__ import annotations

import re
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ecd_data.errors import UsageError
from ecd_models.cli.completion import complete_data
from ecd_models.cli.dft import Pseudo, Pwx
from ecd_models.cli.options import Data, Device, Json, PredictWorkers, Quiet, Sample, model_option, writable
from ecd_models.cli.terminal import print, print_lines

if TYPE_CHECKING:
    from ecd_models.evaluation.evaluate import Evaluation
    from ecd_models.model import DensityModel


def train(
    configs: Annotated[
        list[Path], typer.Argument(help="TOML files of settings, see examples/; later files override earlier ones.")
    ],
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting as KEY=VALUE, which overrides the files; repeatable.")
    ] = None,
    out: Annotated[str | None, typer.Option(help="Folder of the run; overrides `out` in the files.")] = None,
    seeds: Annotated[
        int, typer.Option(help="Number of trainings with different seeds, into OUT/seed-N; prints mean ± deviation.")
    ] = 1,
    parts: Annotated[
        list[str] | None,
        typer.Option("--evaluate", help="Evaluate the best model on this part, such as test; repeatable."),
    ] = None,
    sample: Sample = False,
    quiet: Quiet = False,
) -> None:
    """Train a network; the same command continues an interrupted run. Under torchrun it uses several processes.

    The exit code is 1 if a model gives no density for some crystals of a part of --evaluate; the others are evaluated.
    """
    from ecd_models.evaluation import seeds as seed_runs
    from ecd_models.evaluation.result_table import format_failures
    from ecd_models.task_data import training_data
    from ecd_models.training.config import load_config
    from ecd_models.training.distributed import is_first_process
    from ecd_models.training.progress_display import evaluation_progress, training_progress

    flags = [*([f"out={out}"] if out else []), *(["sample=true"] if sample else [])]
    config = load_config(*configs, settings=[*(settings or []), *flags])
    shown = is_first_process() and not quiet
    if parts:
        data = training_data(config)
        for part in parts:
            data.ids(part)  # a part that does not exist is an error now, not after the training
    runs = seed_runs.make_seed_configs(config, seeds)
    results = list(seed_runs.train_seeds(runs, lambda run: training_progress(run.steps, shown)))
    if not is_first_process():
        return
    errors = {"validation": seed_runs.collect_validation_errors(results)}
    for result in results:
        print(f"best validation eps_mae {100 * result.best_error:.3f} %: {result.best}; log: {result.log}")
    origin = results[0].origin
    print(f"data: {config.store or config.task} of {origin}")
    failures: list[str] = []
    for part in parts or []:
        evaluations = seed_runs.evaluate_results(results, config, part, lambda: evaluation_progress(shown))
        errors[part] = seed_runs.collect_errors(evaluations)
        failures += [line for evaluation in evaluations for line in format_failures(evaluation)]
    if seeds > 1 or parts:
        seed_runs.save_seed_errors(Path(config.out) / "errors.json", errors, origin)
        print_lines("\n".join([*(f"{name} eps_mae {error}" for name, error in errors.items()), *failures]))
        print(f"errors: {Path(config.out) / 'errors.json'}")
    raise typer.Exit(1 if failures else 0)


def evaluate(
    task: Annotated[
        str,
        typer.Argument(
            help="Task or configuration, such as pbe; or the path of a store.", autocompletion=complete_data
        ),
    ],
    models: Annotated[
        list[str], model_option("Checkpoint or name of a model; repeatable, with a row of the table for each.")
    ],
    part: Annotated[
        list[str] | None,
        typer.Option(
            help="Part to evaluate: train, validation, test (the default), or of the sample test_geometries,"
            " test_compositions, test_pairs, test_rare_elements, test_types, validation_geometries,"
            " validation_compositions; repeatable."
        ),
    ] = None,
    split: Annotated[
        Path | None, typer.Option(help="Split of a store: the JSON file that `ecd split make` writes.")
    ] = None,
    ids: Annotated[
        list[str] | None, typer.Option("--id", help="Evaluate only this crystal, whatever its part; repeatable.")
    ] = None,
    data: Data = None,
    sample: Sample = False,
    limit: Annotated[
        int | None, typer.Option(help="Largest number of crystals to evaluate, the first ones of the part.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Results file (JSON) for the errors of each crystal; with several models one file each,"
            " FILE_MODEL.json. With it the same command continues an interrupted evaluation.",
            callback=writable,
        ),
    ] = None,
    seeds: Annotated[
        bool,
        typer.Option(
            "--seeds", help="The models are one with different seeds: print the mean and deviation over them as well."
        ),
    ] = False,
    workers: PredictWorkers = 1,
    device: Device = "cpu",
    gaps: Annotated[
        bool | None,
        typer.Option(
            "--gaps/--no-gaps",
            help="With the task exp: compute band gaps from the densities too, by pw.x, and compare them with measured"
            " ones; default: compute them.",
        ),
    ] = None,
    work: Annotated[
        Path | None, typer.Option(help="With gaps: folder that keeps the files of pw.x, to continue.")
    ] = None,
    pwx: Pwx = None,
    pseudo: Pseudo = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure the errors of models on full grids, separately for crystals that trained them and other crystals.

    The task exp also compares band gaps from the densities with measured ones, which needs Quantum ESPRESSO. The exit
    code is 1 if a model gives no density or no gap for some of the crystals; the others are evaluated.
    """
    from ecd_models import load_model
    from ecd_models.cli.gap_evaluation import compute_gaps, plan_gaps
    from ecd_models.cli.predict import on_device

    if ids and part:
        raise UsageError("--id takes crystals of any part: leave --part out")
    if output is not None and part and len(part) > 1:
        raise UsageError("--output takes the errors of one part: give one --part")
    if seeds and (json or len(models) < 2):
        raise UsageError("--seeds adds a line on several models to the table: name each seed's with -m, without --json")
    files = name_files(models, output)
    chosen: Any = {"part": part, "ids": ids, "limit": limit, "data_dir": data, "sample": sample}
    options: Any = {"split": split, "ids": ids, "data_dir": data, "sample": sample, "limit": limit, "workers": workers}
    plan = plan_gaps(task, gaps, **chosen, pwx=pwx, pseudo=pseudo, work=work)
    if plan is not None and ids:
        options["ids"] = plan.density_ids
    loaded = {name: on_device(load_model(name), device) for name in models}
    parts: list[str | None] = [*part] if part else [None]
    by_part = []
    for name in parts if options["ids"] != [] else []:  # gaps have crystals in stores without density errors
        by_part.append([_evaluate(model, task, name, files, quiet, **options) for model in loaded.items()])
        if not json:
            _print_errors(by_part[-1], files, seeds)
    results = [result for row in by_part for result in row]
    found = None if plan is None else compute_gaps(plan, loaded, output, show=not json, quiet=quiet)
    if json:
        printed: list[Any] = [result.results.model_dump(mode="json") for result in results]
        print_lines(dumps(printed if found is None else [*printed, {"gaps": found.record}], indent=1))
    failed = any(result.failures for result in results) or (found is not None and found.failed)
    raise typer.Exit(1 if failed else 0)


def _print_errors(results: list[Evaluation], files: dict[str, Path], seeds: bool) -> None:
    """Print the table of one part, the mean over seeds where it is asked for, and the files that were written."""
    from ecd_models.evaluation.result_table import format_table
    from ecd_models.evaluation.seeds import summarize_seeds

    print_lines(format_table(results))
    if seeds:
        print(f"over seeds: {summarize_seeds(results)}")
    for file in files.values():
        print(f"errors: {file}")


def _evaluate(
    model: tuple[str, DensityModel], task: str, part: str | None, files: dict[str, Path], quiet: bool, **options: Any
) -> Evaluation:
    """The Evaluation of a model, which has its name; it is saved where the model has a file."""
    from ecd_models import evaluate
    from ecd_models.evaluation.partial_results import ENDING, remove_partial
    from ecd_models.training.progress_display import evaluation_progress

    name, file = model[0], files.get(model[0])
    partial = None if file is None else file.with_name(file.name + ENDING)
    with evaluation_progress(not quiet) as report:
        found = evaluate(model[1], task, part=part, **options, partial=partial, report=report).rename(name)
    if file is not None and partial is not None:
        found.save(file)
        remove_partial(partial)
    return found


def name_files(models: list[str], output: Path | None) -> dict[str, Path]:
    """The JSON file of each model: `output` for one model, FILE_MODEL.json for several; empty without an output.

    Raises
    ------
    UsageError : a model is named twice, or two models would have the same file.
    """
    if twice := [name for name in models if models.count(name) > 1]:
        raise UsageError(f"the model {twice[0]} is named twice: name each once")
    if output is None or len(models) == 1:
        return {} if output is None else {models[0]: output}
    words = {name: re.sub(r"\W+", "-", re.sub(r"\.(safetensors|pt)$", "", name)).strip("-")[-100:] for name in models}
    if len(set(words.values())) < len(models):
        raise UsageError("two of the models would have the same JSON file: give them one by one")
    ending = "".join(output.suffixes[-2:]) if output.suffix == ".gz" else output.suffix
    stem = output.name.removesuffix(ending)
    return {name: output.with_name(f"{stem}_{word}{ending}") for name, word in words.items()}


def models(json: Json = False) -> None:
    """List the models that are known by name: source, licence, training data, and whether they are on this machine."""
    from ecd_models.model_list import list_models, models_json

    if json:
        print_lines(models_json())
        return
    for model in list_models():
        print_lines(model)
    print("use one with -m NAME or load_model(NAME); a published one is downloaded the first time")
