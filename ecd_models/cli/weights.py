"""The verb `models`: what can be loaded by name."""

from __future__ import annotations

from ecd_models.cli.options import Json
from ecd_models.cli.terminal import print, print_lines


def models(json: Json = False) -> None:
    """List the models that are known by name: source, licence, training data, and whether they are on this machine."""
    from ecd_models.model_list import list_models, models_json

    if json:
        print_lines(models_json())
        return
    for model in list_models():
        print_lines(model)
    print("use one with -m NAME or load_model(NAME); a published one is downloaded the first time")
