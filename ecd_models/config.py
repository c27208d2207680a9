"""The record of a training run: one frozen dataclass from one TOML file; an unknown key is an error."""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ecd_data.errors import UsageError


@dataclass(frozen=True)
class TrainConfig:
    """Everything that a run depends on; the defaults are the ECD paper's training of ChargE3Net.

    task: configuration or task of the data, from data_dir or else as `load_dataset` finds it; model, options: network;
    difference: learn the difference to superposed atoms; steps of batch_size crystals x probes points;
    lr * lr_decay^(step / lr_decay_steps); best checkpoint by eps_mae on validation_probes points of up to
    validation_crystals crystals every validate_every steps; workers: processes that draw samples; threads: of torch, 0
    for its own choice; cache_mb bounds the decoded densities that are kept.
    """

    out: str
    task: str = "ecd_pbe"
    data_dir: str = ""
    model: str = "charge3net"
    options: dict[str, Any] = field(default_factory=dict)
    difference: bool = False
    steps: int = 1_000_000
    batch_size: int = 16
    probes: int = 200
    lr: float = 0.005
    lr_decay: float = 0.96
    lr_decay_steps: float = 3000.0
    validate_every: int = 5000
    validation_crystals: int = 512
    validation_probes: int = 400
    seed: int = 42
    device: str = "cpu"
    workers: int = 0
    threads: int = 0
    cache_mb: int = 2048

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "probes", "validate_every", "validation_crystals", "validation_probes"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("seed", "workers", "threads", "cache_mb"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} must not be negative, it is {getattr(self, name)}")
        for name in ("lr", "lr_decay", "lr_decay_steps"):
            if not 0 < getattr(self, name) < float("inf"):
                raise UsageError(f"{name} must be a positive number, not {getattr(self, name)}")

    def to_dict(self) -> dict[str, Any]:
        """The fields as a dictionary."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any], source: str = "the configuration") -> TrainConfig:
        """The configuration of a dictionary; raises UsageError for unknown, missing or mistyped keys."""
        fields = {f.name: f for f in dataclasses.fields(cls)}
        for key, value in values.items():
            if key not in fields:
                near = difflib.get_close_matches(key, fields, n=1)
                hint = f"; did you mean {near[0]!r}" if near else f"; known: {', '.join(fields)}"
                raise UsageError(f"{source} has an unknown key {key!r}{hint}")
            _check_type(source, key, value, str(fields[key].type))
        if "out" not in values:
            raise UsageError(f"{source} lacks 'out', the folder of the run")
        return cls(**values)


def _check_type(source: str, key: str, value: Any, wanted: str) -> None:
    kinds = {"int": int, "float": (int, float), "str": str, "bool": bool}
    kind = kinds.get(wanted, dict)
    if not isinstance(value, kind) or (isinstance(value, bool) and wanted != "bool"):  # type: ignore[arg-type]
        raise UsageError(f"{source} has {key} = {value!r} where {wanted} is due")


def load_config(path: str | Path) -> TrainConfig:
    """The configuration of a TOML file; raises UsageError where the file is missing or wrong."""
    try:
        with open(path, "rb") as file:
            return TrainConfig.from_dict(tomllib.load(file), str(path))
    except OSError as error:
        raise UsageError(f"{path} cannot be opened ({error.strerror}): name a TOML configuration") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not TOML ({error})") from error
