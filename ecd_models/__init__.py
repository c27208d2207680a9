"""Networks that predict the electron density of crystals: train, predict, evaluate. Names are loaded on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ecd_models.checkpoint import load_model
    from ecd_models.evaluation.evaluate import evaluate
    from ecd_models.prediction.error_estimate import estimate_error
    from ecd_models.prediction.predict import predict
    from ecd_models.training.loop import train

_MODULES = {
    "estimate_error": "ecd_models.prediction.error_estimate",
    "evaluate": "ecd_models.evaluation.evaluate",
    "load_model": "ecd_models.checkpoint",
    "predict": "ecd_models.prediction.predict",
    "train": "ecd_models.training.loop",
}

__all__ = ["estimate_error", "evaluate", "load_model", "predict", "train"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(_MODULES[name]), name)
    except ImportError as error:
        from ecd_data.errors import missing_extra

        raise missing_extra(error) or error from None
