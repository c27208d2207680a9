"""What the shell completes: names of tasks, models, configurations and ids. torch is not imported."""

from __future__ import annotations

import logging

import typer

from ecd_data.errors import EcdError

MAX_IDS = 200  # a shell asks before it lists more; the release has 140,646


def complete_tasks(incomplete: str) -> list[str]:
    """The tasks of the benchmark and their strict twins that begin like this."""
    from ecd_data.release.tasks import task_names

    return _choose(sorted({*task_names(), *task_names(strict=True)}), incomplete)


def complete_stores(incomplete: str) -> list[str]:
    """The configurations that begin like this, such as pbe; the shell adds the files itself."""
    from ecd_data.store.data_root import CONFIGURATIONS

    return _choose(list(CONFIGURATIONS), incomplete)


def complete_data(incomplete: str) -> list[str]:
    """Tasks and configurations that begin like this."""
    return [*complete_tasks(incomplete), *complete_stores(incomplete)]


def complete_models(incomplete: str) -> list[str]:
    """The models known by name that begin like this: those of this package, and the published ones."""
    from ecd_models.weights.catalogue import published_weights, shipped_checkpoints

    return _choose([*shipped_checkpoints(), *published_weights()], incomplete)


def complete_ids(context: typer.Context, incomplete: str) -> list[str]:
    """The ids that begin like this: of the store on the command line, else of pbe."""
    from ecd_data.store.data_root import open_store

    logging.getLogger("ecd_data").setLevel(logging.ERROR)  # a log line would stand in the line that is completed
    words = [context.params.get("store"), context.params.get("source")]
    try:
        ids = open_store(next((word for word in words if word), "pbe")).ids
    except (EcdError, OSError):  # a shell that completes shows no errors
        return []
    return _choose(ids, incomplete)[:MAX_IDS]


def _choose(names: list[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
