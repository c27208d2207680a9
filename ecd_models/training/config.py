"""The record of a training run: one frozen dataclass from TOML files; an unknown key is an error."""

from __future__ import annotations

import dataclasses
import difflib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ecd_data.errors import UsageError

CHOICES = {
    "loss": ("l1", "mse"),
    "schedule": ("exponential", "cosine", "plateau", "constant"),
    "precision": ("float32", "tf32", "bfloat16", "float16"),
}
POSITIVE = ("steps", "batch_size", "accumulate", "probes", "validate_every", "validation_crystals", "validation_probes")
NOT_NEGATIVE: tuple[str, ...] = ("seed", "workers", "threads", "cache_mb", "max_edges", "save_every")
RECORDED = (
    "data_origin",
    "store_hash",
    "split_hash",
)  # in a run's config.json: where its data come from, not a setting
REMOVED = ("pool", "cache_dir", "extract")  # settings of earlier versions
REMOVED_WHY = "Probes come from the store's extract where `ecd probes` wrote one, else from decoded densities."
NOT_NEGATIVE += ("warmup_steps", "patience", "lr_patience", "weight_decay", "clip_norm")


@dataclass(frozen=True)
class TrainConfig:
    """Everything that a run depends on; the defaults are the ECD paper's training of ChargE3Net.

    Data. task: configuration or task, from data_dir or else as `load_dataset` finds it; sample: take the embedded
    sample, or its copy in data_dir, also for a task of the benchmark, which is refused without; store: a store of one's
    own instead of a task, with its split: a JSON file of ids by part (`ecd split make`), or fractions by part with a
    rule and a seed, such as {"train": 0.8, "validation": 0.1, "test": 0.1, "rule": "random"}; fraction: share of the
    training crystals, a subset drawn by seed that contains every smaller one. Probes are those of `Store.probes`: read
    from the store's extract where it has one, else from decoded densities (docs/probes.md).

    Model. model, options: the network; difference: learn the difference to superposed atoms, which atoms says: "" fits
    them on the training crystals, "pseudopotentials" or a folder of UPF files takes theirs, a task or a store's path
    fits them on its training crystals or densities, "pair_density" or a fitted pair model's file takes the whole of
    that; spin: learn the magnetization as well; exact_nelect: scale
    predictions to the electrons of the atoms.

    Start. start: checkpoint whose weights the run begins with; continued: go on with its optimiser and step, too.

    Steps. A step takes accumulate * batch_size crystals x probes points in each process; max_edges bounds the edges
    that pass through the network at once (a crystal that has more passes alone), 0 for batch_size crystals whatever
    they have. loss: l1 or mse; relative_loss: of a crystal's errors divided by its mean density, as eps_mae
    counts them. lr after warmup_steps: exponential, lr * lr_decay^(step / lr_decay_steps); cosine, to 0
    at the last step; plateau, * lr_decay after lr_patience validations without a better one; constant. clip_norm: bound
    on the gradient's norm; ema: decay of an average of the weights, which is what is judged and kept; 0 for neither.
    precision: of matrix products, where the device has it: float32, tf32, or bfloat16 and float16 under autocast.
    The model pair_density is fitted at once: steps counts its passes over the crystals, probes their points in a pass,
    and nothing else here concerns it.

    Judging. The best checkpoint by eps_mae on validation_probes points of up to validation_crystals crystals every
    validate_every steps; patience: validations without a better one that end the run, 0 for none.

    Machine. cuda_graphs: record what a GPU does in a step and repeat it with one launch; workers: processes that draw
    samples; threads: of torch, 0 for its own choice; cache_mb bounds what all processes on a machine keep together of
    decoded crystals (64 KiB each), neighbours and superposed atoms; save_every: steps between saves, with those at
    validations; tensorboard: a log for it, too.
    """

    out: str
    task: str = "ecd_pbe"
    data_dir: str = ""
    sample: bool = False
    store: str = ""
    split: str | dict[str, Any] = ""
    fraction: float = 1.0
    model: str = "charge3net"
    options: dict[str, Any] = field(default_factory=dict)
    difference: bool = False
    atoms: str = ""
    spin: bool = False
    exact_nelect: bool = False
    start: str = ""
    continued: bool = False
    steps: int = 1_000_000
    batch_size: int = 16
    accumulate: int = 1
    max_edges: int = 0
    probes: int = 200
    loss: str = "l1"
    relative_loss: bool = False
    lr: float = 0.005
    schedule: str = "exponential"
    lr_decay: float = 0.96
    lr_decay_steps: float = 3000.0
    lr_patience: int = 5
    warmup_steps: int = 0
    weight_decay: float = 0.0
    clip_norm: float = 0.0
    ema: float = 0.0
    precision: str = "float32"
    validate_every: int = 5000
    validation_crystals: int = 512
    validation_probes: int = 400
    patience: int = 0
    save_every: int = 500
    tensorboard: bool = False
    seed: int = 42
    device: str = "cpu"
    cuda_graphs: bool = True
    workers: int = 0
    threads: int = 0
    cache_mb: int = 2048

    def __post_init__(self) -> None:
        for name in POSITIVE:
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in NOT_NEGATIVE:
            if not 0 <= getattr(self, name) < float("inf"):
                raise UsageError(f"{name} must not be negative, it is {getattr(self, name)}")
        for name in ("lr", "lr_decay", "lr_decay_steps"):
            if not 0 < getattr(self, name) < float("inf"):
                raise UsageError(f"{name} must be a positive number, not {getattr(self, name)}")
        if not 0 <= self.fraction <= 1:
            raise UsageError(f"fraction must lie between 0 and 1, not be {self.fraction}")
        if not 0 <= self.ema < 1:
            raise UsageError(f"ema must lie between 0 and 1, without 1, not be {self.ema}")
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise UsageError(f"{name} is one of {', '.join(known)}, not {getattr(self, name)!r}")
        if bool(self.store) != bool(self.split):
            raise UsageError("store and split belong together: a store of your own, and the split that divides it")
        if self.continued and not self.start:
            raise UsageError("continued goes on from a checkpoint: name it as start")
        if self.fraction == 0 and not self.start:
            raise UsageError("fraction = 0 trains on nothing: name the checkpoint to judge as start")

    def to_dict(self) -> dict[str, Any]:
        """The fields as a dictionary."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], source: str = "the configuration") -> TrainConfig:
        """The configuration of a dictionary; raises UsageError for unknown, missing or mistyped keys.

        What a run adds of its data to its config.json (RECORDED) is left out.
        """
        values = {key: value for key, value in values.items() if key not in RECORDED}
        _check_keys(values, source)
        default = TrainConfig.task
        if values.get("store") and values.get("task", default) != default:
            raise UsageError(f"{source} names a task and a store: take one of them, `task` or `store` with `split`")
        if "out" not in values:
            raise UsageError(f"{source} lacks 'out', the folder of the run")
        return cls(**values)


def _check_keys(values: Mapping[str, Any], source: str) -> None:
    fields = {f.name: f for f in dataclasses.fields(TrainConfig)}
    for key, value in values.items():
        if key in REMOVED:
            raise UsageError(f"{source} has {key!r}, which is no setting any more: leave it out. {REMOVED_WHY}")
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            hint = f"; did you mean {near[0]!r}" if near else f"; known: {', '.join(fields)}"
            raise UsageError(f"{source} has an unknown key {key!r}{hint}")
        _check_type(source, key, value, str(fields[key].type))


def _check_type(source: str, key: str, value: Any, wanted: str) -> None:
    kinds = {"int": int, "float": (int, float), "str": str, "bool": bool, "str | dict[str, Any]": (str, dict)}
    kind = kinds.get(wanted, dict)
    if not isinstance(value, kind) or (isinstance(value, bool) and wanted != "bool"):  # type: ignore[arg-type]
        raise UsageError(f"{source} has {key} = {value!r} where {wanted} is due")


def load_config(*paths: str | Path, settings: Sequence[str] = ()) -> TrainConfig:
    """The configuration of TOML files, of which later ones override earlier ones, and of `settings`, "key=value".

    Options of the network are joined unless the model changes; {model} in out and start stands for its name. Raises
    UsageError where a file is missing or wrong.
    """
    values: dict[str, Any] = {}
    parts = [(str(path), _read(path)) for path in paths]
    parts += [(f"the setting {text!r}", _setting(text)) for text in settings]
    for source, part in parts:
        if recorded := [key for key in RECORDED if key in part]:
            raise UsageError(f"{source}: {recorded[0]} is what a run records of its data: leave it out")
        _check_keys(part, source)  # here, where it is known who says so
        values = _overridden(values, part)
    config = TrainConfig.from_dict(values, ", ".join(map(str, paths)) or "the configuration")
    out, start = (text.replace("{model}", config.model) for text in (config.out, config.start))
    return dataclasses.replace(config, out=out, start=start)


def _overridden(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    same = after.get("model", before.get("model")) == before.get("model")
    joined = isinstance(before.get("options"), dict) and isinstance(after.get("options"), dict) and same
    options = {"options": before["options"] | after["options"]} if joined else {}
    dropped: dict[str, Any] = {} if same or "options" in after else {"options": {}}
    return before | after | options | dropped


def _setting(text: str) -> dict[str, Any]:
    """The one value of "key=value", read as TOML or else as a plain string."""
    key, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"{text!r} sets nothing: write key=value")
    try:
        return tomllib.loads(f"{key} = {value}")
    except tomllib.TOMLDecodeError:
        return _parsed(f"{key} = {json.dumps(value)}", repr(text))


def _read(path: str | Path) -> dict[str, Any]:
    try:
        return _parsed(Path(path).read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise UsageError(f"{path} cannot be opened ({error.strerror}): name a TOML configuration") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not TOML ({error})") from error


def _parsed(text: str, source: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{source} is not TOML ({error})") from error
