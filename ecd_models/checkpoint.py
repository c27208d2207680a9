"""Trained models on disk: our safetensors files, whose header names the model, and the published .pt files."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ecd_data.arguments import path_text
from ecd_data.errors import EcdError, FormatError, UsageError
from ecd_data.io.atomic_write import write_whole
from ecd_models.atoms.fitted import SuperposedAtoms
from ecd_models.atoms.valences import Learned
from ecd_models.checkpoint_header import write_header
from ecd_models.model import DensityModel
from ecd_models.networks import MODELS, model_class
from ecd_models.networks.pair_density.functions import PairDensityConfig
from ecd_models.networks.pair_density.model import PairDensity
from ecd_models.networks.pair_density.start import BondedAtoms
from ecd_models.networks.published import PUBLISHED, misfits, recognised
from ecd_models.networks.species import ONE_HOT

FORMAT = "ecd-model-1"
PRETRAINED = Path(__file__).parent / "pretrained"
DEFAULT = "charge3net-sample"
# Of numpy, what a training script may have left in a checkpoint: single numbers, under their names of numpy 1 and 2.
NUMBERS: list[Any] = [
    *((np.float64(0).__reduce__()[0], f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    np.dtype,
    *(type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64)),
]
LEARNED = "learned"  # header: electrons of each element in the training data and what made them
BONDED = "bonded_atoms"  # header: configuration of the pair model that the network's atoms are
OWN_KEYS = ("format", "model", "config", "metadata", LEARNED, BONDED)  # of a file's header; `add_metadata` adds others
ATOMS, PAIRS, STATE, VALENCES = (
    "atoms:",
    "pairs:",
    "state:",
    "valences:",
)  # what precedes names of tensors that are not the network's


class Checkpoint(NamedTuple):
    """A model in evaluation mode and what was written next to it: JSON metadata, tensors of an interrupted run."""

    model: DensityModel
    metadata: dict[str, Any]
    state: dict[str, Tensor]


def save_checkpoint(
    path: str | Path,
    model: nn.Module,
    metadata: Mapping[str, Any] | None = None,
    state: Mapping[str, Tensor] | None = None,
) -> None:
    """Write a DensityModel or bare network to a safetensors file: weights, atoms, valences, name, hyperparameters.

    metadata: anything JSON can hold; state: further tensors, such as an optimiser's.
    """
    network = model.network if isinstance(model, DensityModel) else model
    atoms = model.atoms if isinstance(model, DensityModel) else None
    valences = model.valences if isinstance(model, DensityModel) else None
    config: Any = network.config
    header = {
        "format": FORMAT,
        "model": registered_name(network),
        "config": json.dumps(asdict(config)),
        "metadata": json.dumps(dict(metadata or {})),
    }
    if isinstance(model, DensityModel) and model.learned is not None:
        header[LEARNED] = json.dumps(model.learned.to_record())
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    if atoms is not None:
        free = asdict(atoms.free)
        tensors |= {ATOMS + name: torch.from_numpy(np.array(value)) for name, value in free.items()}
    if isinstance(atoms, BondedAtoms):
        header[BONDED] = json.dumps(asdict(atoms.pairs.config))
        tensors |= {PAIRS + name: value.detach().cpu().contiguous() for name, value in atoms.pairs.state_dict().items()}
    if valences is not None:
        tensors[VALENCES] = torch.from_numpy(np.array(valences))
    tensors |= {STATE + name: value.detach().cpu().contiguous() for name, value in (state or {}).items()}
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with write_whole(path) as aside:  # a killed run leaves the old checkpoint whole
            save_file(tensors, aside, header)
    except SafetensorError as error:  # what safetensors makes of a full disk
        raise EcdError(
            f"{path} could not be written ({error}): free some space and run the same command again"
        ) from error


def add_metadata(path: str | Path, extra: Mapping[str, str]) -> None:
    """Add texts by name to the header of a checkpoint that is there; its tensors keep their bytes.

    `load_checkpoint` gives them among the metadata; a name that is there already is replaced. Raises UsageError for a
    name that is the checkpoint's own, FormatError where the file is no whole checkpoint of ours.
    """
    if taken := sorted(set(extra) & set(OWN_KEYS)):
        raise UsageError(f"{taken[0]!r} is what every checkpoint has: add it under another name")
    load_checkpoint(path)  # raises where the file is not one
    write_header(path, dict(extra))


def registered_name(model: nn.Module) -> str:
    """The name under which the model's class is found again; its exact configuration's name where there is one."""
    cls: Any = type(model)
    names = getattr(cls, "configurations", {})
    equal = [name for name, config in names.items() if config == model.config]
    for name in [*equal, *names, *(n for n, registered in MODELS.items() if registered is cls)]:
        if model_class(name) is cls:
            return name
    raise UsageError(f"{cls.__name__} is not registered: add it to the entry point group 'ecd.models'")


def load_checkpoint(path: str | Path) -> Checkpoint:
    """The model and metadata of a file that `save_checkpoint` wrote."""
    header, tensors = _read_safetensors(Path(path))
    if header.get("format") != FORMAT:
        raise FormatError(f"{path} has no ecd model header: give a checkpoint that `ecd train` wrote")
    try:
        cls: Any = model_class(header["model"])
        config = next(iter(cls.configurations.values()))
        model = cls(type(config)(**json.loads(header["config"])))
        metadata = json.loads(header["metadata"]) | {name: header[name] for name in header if name not in OWN_KEYS}
        learned = Learned.from_record(json.loads(header[LEARNED])) if LEARNED in header else None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{path} was written for another version of the model ({error}): update ecd") from error
    atoms = _atoms(tensors, header, str(path))
    state = _taken(tensors, STATE)
    valences = [value.numpy() for value in _taken(tensors, VALENCES).values()]
    _fill(model, tensors, str(path))
    known = DensityModel(model, atoms, header["model"], valences[0] if valences else None, learned)
    known.metadata = metadata
    return Checkpoint(known.eval(), metadata, state)


def _atoms(tensors: dict[str, Tensor], header: Mapping[str, str], name: str) -> SuperposedAtoms | None:
    """The atoms that a network is added to, None where there are none; removed from `tensors`."""
    tables = {key: value.numpy() for key, value in _taken(tensors, ATOMS).items()}
    weights = _taken(tensors, PAIRS)
    if not tables or BONDED not in header:
        return SuperposedAtoms(**tables) if tables else None
    try:
        pairs = PairDensity(PairDensityConfig(**json.loads(header[BONDED])))
    except (TypeError, ValueError, UsageError) as error:
        raise FormatError(f"{name} was written for another version of the model ({error}): update ecd") from error
    _fill(pairs, weights, name)
    return BondedAtoms(**tables, pairs=pairs.eval())


def _taken(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, without it, removed from `tensors`."""
    names = [name for name in tensors if name.startswith(prefix)]
    return {name.removeprefix(prefix): tensors.pop(name) for name in names}


def load_published(source: str | Path | Mapping[str, Any], cutoff: float = 4.0, num_neighbors: float = 20.0) -> Any:
    """The ChargE3Net, DeepDFT or InvDeepDFT of a published checkpoint file or state dict, with the same output.

    Which model it is, and its sizes, follow from the weights; cutoff (Å) and num_neighbors leave no trace in them. A
    file is only read as data.
    """
    name = str(source) if isinstance(source, str | Path) else "the state dict"
    content = _read_pickle(Path(source)) if isinstance(source, str | Path) else source
    weights = _plain_names(_state_dict(content, name))
    published = recognised(weights)
    if published is None:
        known = ", ".join(model.name for model in PUBLISHED)
        raise FormatError(f"{name} is no checkpoint of {known}: it has {', '.join(list(weights)[:3])}")
    try:
        config = published.config(weights, cutoff, num_neighbors)
    except KeyError as error:
        raise FormatError(f"{name} is no {published.name} checkpoint: {error.args[0]} is missing") from error
    except (IndexError, ValueError) as error:
        raise FormatError(f"{name} is no {published.name} checkpoint: its weights have impossible sizes") from error
    shapes = published.shapes(config)
    absent, extra = misfits(weights, shapes)
    if absent:
        reason = f"{', '.join(absent[:3])} missing or misshapen"
        raise FormatError(f"{name} is no whole {published.name} checkpoint: {reason}")
    if extra:
        raise FormatError(f"{name} is no {published.name} checkpoint: it also has {', '.join(extra[:3])}")
    model = published.cls(config)
    _fill(model, published.read({key: weights[key] for key in shapes}, config), name)
    return model.eval()


def load_published_run(path: str | Path) -> Checkpoint:
    """A published checkpoint as its training left it: the model, {"step": n}, and the state of its Adam optimiser.

    The state has a tensor "optimizer.<number>.<name>" for each parameter of the model. Raises FormatError where the
    file has weights alone.
    """
    path = Path(path)
    content = _read_pickle(path)
    network = load_published(path)
    published = next(p for p in PUBLISHED if type(network) is p.cls)
    weights = _plain_names(_state_dict(content, str(path)))
    shapes = published.shapes(network.config)
    trained = [name for name in weights if name in shapes and ".basis." not in name]  # in the order of their numbers
    try:
        moments, step = content["optimizer"]["state"], int(content["step"])
        states: dict[str, Tensor] = {}
        for name in ("exp_avg", "exp_avg_sq"):
            theirs = weights | {key: moments[number][name].view(shapes[key]) for number, key in enumerate(trained)}
            ours = published.read({key: theirs[key] for key in shapes}, network.config)
            for number, (key, _) in enumerate(network.named_parameters()):
                states[f"optimizer.{number}.{name}"] = ours[key]
        for number, _ in enumerate(network.parameters()):
            states[f"optimizer.{number}.step"] = torch.tensor(float(moments[0]["step"]))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise FormatError(
            f"{path} holds no Adam optimiser of its model: it can be started from, with continued = false"
        ) from error
    return Checkpoint(DensityModel(network, name=registered_name(network)).eval(), {"step": step}, states)


def export_published(model: nn.Module, path: str | Path) -> None:
    """Write a ChargE3Net, DeepDFT or InvDeepDFT as a checkpoint that the published code loads.

    The weights of ChargE3Net that no density depends on are not kept here and are written as zeros: in the published
    code, too, they get no gradient, so neither densities nor training differ. Raises UsageError for other models and
    for difference learning, which the published code does not know.
    """
    network: Any = model.network if isinstance(model, DensityModel) else model
    if isinstance(model, DensityModel) and model.atoms is not None:
        raise UsageError("the published code adds no superposed atoms: save_checkpoint keeps this model whole")
    published = next((p for p in PUBLISHED if type(network) is p.cls), None)
    if published is not None and getattr(network.config, "outputs", 1) != 1:
        raise UsageError("the published layout has no magnetization: save_checkpoint keeps this model whole")
    if published is not None and network.config.species != ONE_HOT:
        raise UsageError("the published layout has no element descriptors: save_checkpoint keeps this model whole")
    if published is None:
        known = ", ".join(p.name for p in PUBLISHED)
        raise UsageError(f"{type(network).__name__} has no published layout, which {known} have: use save_checkpoint")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_whole(path) as aside:
        torch.save({"model": published.written(network.state_dict(), network.config)}, aside)


def load_model(name_or_path: str | Path | None = None) -> DensityModel:
    """A trained model: a shipped one by name (without a name the default), our .safetensors, or a published .pt."""
    path = Path(path_text(DEFAULT if name_or_path is None else name_or_path, "a checkpoint"))
    shipped = {file.stem: file for file in sorted(PRETRAINED.glob("*.safetensors"))}
    if str(path) in shipped:
        return load_checkpoint(shipped[str(path)]).model
    if path.suffix == ".safetensors":
        return load_checkpoint(path).model
    if path.is_file():
        network = load_published(path)
        return DensityModel(network, name=registered_name(network)).eval()
    available = f"shipped are {', '.join(shipped)}" if shipped else "none is shipped with this version"
    raise UsageError(f"{path} is neither a file nor a shipped checkpoint ({available}): give a .safetensors or .pt")


def _read_safetensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise UsageError(f"{path} does not exist: give the path of a checkpoint") from error
    except (SafetensorError, OSError) as error:
        raise FormatError(f"{path} is not a whole safetensors file ({error}): copy or download it again") from error


def _read_pickle(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals(NUMBERS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UsageError(f"{path} does not exist: give the path of a checkpoint") from error
    except pickle.UnpicklingError as error:
        if "global" in str(error).lower():  # torch's word for a class or function that is not on its list
            message = "it contains more than weights and could run code; save its state_dict() alone and load that"
            raise EcdError(f"{path} was refused: {message}") from error
        raise FormatError(f"{path} is not a torch checkpoint: give a .pt that holds a state dict") from error
    except Exception as error:  # torch reads any other bytes as pickle's commands, which fail in every way there is
        raise FormatError(f"{path} is not a whole torch checkpoint: copy or download it again") from error


def _state_dict(content: Any, name: str) -> dict[str, Tensor]:
    """The weights in a checkpoint, alone or under "model" or "state_dict"."""
    if isinstance(content, Mapping):
        inner = content.get("model", content.get("state_dict", content))
        if isinstance(inner, Mapping):
            found = {key: value for key, value in inner.items() if isinstance(value, Tensor)}
            if found:
                return found
    raise FormatError(f"{name} holds no state dict: give a checkpoint of {', '.join(p.name for p in PUBLISHED)}")


def _plain_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights under the names of the bare network; Lightning and DDP put words in front."""
    plain = {}
    for name, value in weights.items():
        while name.startswith(("network.", "module.")):
            name = name.split(".", 1)[1]
        plain[name] = value
    return plain


def _fill(model: nn.Module, tensors: Mapping[str, Tensor], name: str) -> None:
    """Give the model its weights, in the precision in which they were stored."""
    own = model.state_dict()
    wrong = sorted(set(own) ^ set(tensors)) or [k for k, v in own.items() if v.shape != tensors[k].shape]
    if wrong:
        raise FormatError(f"{name} does not fit its model: {', '.join(wrong[:3])} missing, unknown or of another size")
    dtype = next(model.parameters()).dtype
    stored = {value.dtype for value in tensors.values() if value.is_floating_point()}
    model.to(stored.pop() if len(stored) == 1 else dtype)
    model.load_state_dict(dict(tensors))
