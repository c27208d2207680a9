"""The learning rate as a function of the step, so that a continued run has nothing to restore."""

from __future__ import annotations

import math

from ecd_models.training.config import TrainConfig


def learning_rate(config: TrainConfig, step: int, reductions: int = 0) -> float:
    """The learning rate of the step that follows `step` steps; it rises linearly during config.warmup_steps.

    reductions: how often "plateau" has reduced the rate so far.
    """
    warmup = min(1.0, (step + 1) / (config.warmup_steps + 1))
    return config.lr * warmup * _decay(config, max(0, step - config.warmup_steps), reductions)


def _decay(config: TrainConfig, step: int, reductions: int) -> float:
    if config.schedule == "exponential":
        return config.lr_decay ** (step / config.lr_decay_steps)
    if config.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * min(1.0, step / max(1, config.steps - config.warmup_steps))))
    if config.schedule == "plateau":
        return config.lr_decay**reductions
    return 1.0
