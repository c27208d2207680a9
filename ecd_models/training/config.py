"""The settings of a training run: one frozen dataclass, read from TOML files, in which an unknown key is an error.

A dataclass, not pydantic's: its errors are one sentence with the file, the key and a similar key.
"""

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
    "loss": ("l1", "mse", "rms"),
    "schedule": ("exponential", "cosine", "plateau", "constant"),
    "precision": ("float32", "tf32", "bfloat16", "float16"),
}
POSITIVE = ("steps", "batch_size", "accumulate", "probes", "validate_every", "validation_crystals", "validation_probes")
NOT_NEGATIVE: tuple[str, ...] = ("seed", "workers", "threads", "cache_mb", "max_edges", "save_every")
NOT_NEGATIVE += ("warmup_steps", "patience", "lr_patience", "weight_decay", "clip_norm", "anchors")
# The keys of a run's config.json that say where its data come from and are no settings.
ORIGIN_KEYS = ("data_origin", "store_hash", "split_hash")


@dataclass(frozen=True)
class TrainConfig:
    """All settings of a training run; the defaults are the ECD paper's training of ChargE3Net.

    Data
    ----
    task, data_dir, sample : the configuration or task, from data_dir or else as `load_dataset` finds it. sample takes
        the embedded sample, or its copy in data_dir, also for a task of the benchmark, which is refused without it.
    store, split : a store of your own instead of a task, and its split: a JSON file of ids by part (`ecd split make`),
        or fractions by part with a rule and a seed: {"train": 0.8, "validation": 0.1, "test": 0.1, "rule": "random"}.
    fraction : share of the training crystals, drawn by seed; a larger share contains every smaller one.

    whole_grids : take all grid points of a crystal in place of probes, for fourier_density.
    near_nuclei : share of a crystal's probes that is drawn within 0.3 Å of nuclei. Probes are weighed by how often
        uniform ones would lie there, so that the expectation of the loss is the same.

    Probes are those of `Store.probes`: read from the store's extract if it has one, else from decoded densities
    (docs/probes.md).

    Model
    -----
    model, options : the name and the configuration of the network.
    difference, atoms : learn the difference to superposed atoms. atoms says which: "" fits them on the training
        crystals; "pseudopotentials" or a folder of UPF files takes theirs; a task or the path of a store fits them on
        its training crystals or densities; "pair_density" or the file of a fitted pair model takes that whole model.
    anchors : number of training pairs of elements to which pair_density compares all others, 0 for none.
    spin : learn the magnetization as well; for fourier_density with whole_grids.
    exact_nelect : scale predictions to the electrons of the atoms.

    Start
    -----
    start : the checkpoint whose weights the run starts with.
    continued : continue with the optimiser and the step of the checkpoint, too.

    Steps
    -----
    A step takes accumulate * batch_size crystals with probes points each in each process. pair_density is fitted in
    closed form: steps counts its passes over the crystals, and the other settings of this section do not concern it.

    max_edges : bounds the edges that pass through the network at once, and so the memory; a crystal with more passes
        alone. 0 for batch_size crystals, however many edges they have.
    loss : "l1", "mse", or, with whole_grids, "rms", the root of the mean square of each crystal.
    relative_loss : divide the errors of a crystal by its mean density, as eps_mae does.
    spin_weight : with spin, what an error of the magnetization counts where one of the density counts 1.
    lr, warmup_steps : the learning rate, and the steps in which it rises to that.
    schedule : "exponential", lr * lr_decay^(step / lr_decay_steps); "cosine", which ends at 0; "plateau", lr * lr_decay
        after each lr_patience validations without a smaller error; or "constant".
    clip_norm : bound on the norm of the gradient, 0 for none.
    ema : decay of an average of the weights, which is then validated and kept; 0 for none.
    precision : of matrix products: "float32", "tf32", or "bfloat16" and "float16" under autocast.

    Validation
    ----------
    validate_every : steps between validations; the model with the smallest eps_mae is kept.
    validation_crystals, validation_probes : the number of crystals, and of probes in each.
    patience : validations without a smaller error that end the run, 0 for none.

    Machine
    -------
    cuda_graphs : record the kernels of a step on a GPU and repeat them with one launch.
    workers : processes that read densities and draw probes.
    threads : of torch, 0 for its own choice.
    cache_mb : bounds the memory of decoded crystals (64 KiB each), neighbours and atoms that all processes on
        a machine keep together.
    save_every : steps between saves; validations save as well.
    tensorboard : write a log for TensorBoard, too.

    Raises
    ------
    UsageError : a value is outside of its range, or two settings contradict each other.
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
    anchors: int = 0
    spin: bool = False
    exact_nelect: bool = False
    start: str = ""
    continued: bool = False
    steps: int = 1_000_000
    batch_size: int = 16
    accumulate: int = 1
    max_edges: int = 0
    probes: int = 200
    whole_grids: bool = False
    near_nuclei: float = 0.0
    loss: str = "l1"
    relative_loss: bool = False
    spin_weight: float = 1.0
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
        for name in ("lr", "lr_decay", "lr_decay_steps", "spin_weight"):
            if not 0 < getattr(self, name) < float("inf"):
                raise UsageError(f"{name} must be a positive number, not {getattr(self, name)}")
        if not 0 <= self.fraction <= 1:
            raise UsageError(f"fraction must lie between 0 and 1, not be {self.fraction}")
        for name in ("ema", "near_nuclei"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name} must lie between 0 and 1, without 1, not be {getattr(self, name)}")
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise UsageError(f"{name} is one of {', '.join(choices)}, not {getattr(self, name)!r}")
        if self.whole_grids and self.near_nuclei:
            raise UsageError("whole_grids takes all grid points, those near nuclei too: leave near_nuclei out")
        if self.spin_weight != 1 and not self.spin:
            raise UsageError("spin_weight weighs errors of the magnetization: set spin = true, or leave it out")
        if self.anchors and self.model != "pair_density":
            raise UsageError(f"anchors are those of pair_density, {self.model} has none: leave anchors out")
        if self.atoms and not self.difference and self.model != "pair_density":  # which always adds to its atoms
            raise UsageError(
                f"atoms = {self.atoms!r} says what the difference is learned to, and whole densities are learned: set "
                "difference = true, or leave atoms out (--set atoms=)"
            )
        if self.loss == "rms" and not self.whole_grids:
            raise UsageError("loss = 'rms' is that of whole densities: set whole_grids = true, or take l1 or mse")
        if bool(self.store) != bool(self.split):
            raise UsageError("store and split belong together: a store of your own, and the split that divides it")
        if self.continued and not self.start:
            raise UsageError("continued goes on from a checkpoint: name it as start")
        if self.fraction == 0 and not self.start:
            raise UsageError("fraction = 0 trains on nothing: name the checkpoint to validate as start")

    def to_dict(self) -> dict[str, Any]:
        """The fields as a dictionary."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], source: str = "the configuration") -> TrainConfig:
        """The configuration from a dictionary of its fields; ORIGIN_KEYS, which a run adds, are left out.

        source: names the dictionary in messages.

        Raises
        ------
        UsageError : a key is unknown or missing, or its value has another type.
        """
        values = {key: value for key, value in values.items() if key not in ORIGIN_KEYS}
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
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            hint = f"; did you mean {near[0]!r}" if near else f"; known: {', '.join(fields)}"
            raise UsageError(f"{source} has an unknown key {key!r}{hint}")
        _check_type(source, key, value, str(fields[key].type))


def _check_type(source: str, key: str, value: Any, type_name: str) -> None:
    kinds = {"int": int, "float": (int, float), "str": str, "bool": bool, "str | dict[str, Any]": (str, dict)}
    kind = kinds.get(type_name, dict)
    if not isinstance(value, kind) or (isinstance(value, bool) and type_name != "bool"):  # type: ignore[arg-type]
        raise UsageError(f"{source} has {key} = {value!r} where {type_name} is due")


def load_config(*paths: str | Path, settings: Sequence[str] = ()) -> TrainConfig:
    """The configuration from TOML files and `settings`; each overrides what comes before it.

    Options of the network are merged unless the model changes. {model} in out and start stands for the model's name.

    Parameters
    ----------
    paths : TOML files.
    settings : texts "key=value", such as "lr=0.001".

    Raises
    ------
    UsageError : a file is missing or not TOML, or a key or its value is wrong.
    """
    values: dict[str, Any] = {}
    parts = [(str(path), _read_file(path)) for path in paths]
    parts += [(f"the setting {text!r}", _parse_setting(text)) for text in settings]
    for source, part in parts:
        if origin_keys := [key for key in ORIGIN_KEYS if key in part]:
            raise UsageError(f"{source}: {origin_keys[0]} is no setting, a run writes it into its record: leave it out")
        _check_keys(part, source)  # checked here, where the source of a wrong key is still known
        values = _override(values, part)
    config = TrainConfig.from_dict(values, ", ".join(map(str, paths)) or "the configuration")
    out, start = (text.replace("{model}", config.model) for text in (config.out, config.start))
    return dataclasses.replace(config, out=out, start=start)


def _override(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    same = after.get("model", before.get("model")) == before.get("model")
    merge = isinstance(before.get("options"), dict) and isinstance(after.get("options"), dict) and same
    options = {"options": before["options"] | after["options"]} if merge else {}
    no_options: dict[str, Any] = {} if same or "options" in after else {"options": {}}
    return before | after | options | no_options


def _parse_setting(text: str) -> dict[str, Any]:
    """The key and the value of "key=value"; the value is TOML, or else a plain string."""
    key, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"{text!r} sets nothing: write key=value")
    try:
        return tomllib.loads(f"{key} = {value}")
    except tomllib.TOMLDecodeError:
        return _parse(f"{key} = {json.dumps(value)}", repr(text))


def _read_file(path: str | Path) -> dict[str, Any]:
    try:
        return _parse(Path(path).read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise UsageError(f"{path} cannot be opened ({error.strerror}): name a TOML configuration") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not TOML ({error})") from error


def _parse(text: str, source: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{source} is not TOML ({error})") from error
