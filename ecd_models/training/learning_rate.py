"""The learning rate as a function of the step: nothing to save, nothing to restore."""

from __future__ import annotations

import math

from ecd_models.training.config import TrainConfig


def learning_rate(config: TrainConfig, step: int, reductions: int = 0) -> float:
    """The rate of the step after `step` steps and, for "plateau", `reductions` of it; warm-up rises linearly."""
    warm = min(1.0, (step + 1) / (config.warmup_steps + 1))
    return config.lr * warm * _shape(config, max(0, step - config.warmup_steps), reductions)


def _shape(config: TrainConfig, step: int, reductions: int) -> float:
    if config.schedule == "exponential":
        return config.lr_decay ** (step / config.lr_decay_steps)
    if config.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * min(1.0, step / max(1, config.steps - config.warmup_steps))))
    if config.schedule == "plateau":
        return config.lr_decay**reductions
    return 1.0
