"""Checkpoints: trained models in our safetensors files, whose header names the model, and in published .pt files."""

from __future__ import annotations

import json
import logging
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
from ecd_models.atoms.valences import TrainingValences
from ecd_models.checkpoint_header import write_header
from ecd_models.model import DensityModel
from ecd_models.networks import MODELS, model_class
from ecd_models.networks.pair_density.functions import PairDensityConfig
from ecd_models.networks.pair_density.model import PairDensity
from ecd_models.networks.pair_density.start import BondedAtoms
from ecd_models.networks.published import PUBLISHED, describe_unpublished, find_misfits, find_published
from ecd_models.pickled_weights import find_state_dict, read_pickle, read_weights_alone, strip_prefixes
from ecd_models.weights.cache import fetch_weights
from ecd_models.weights.catalogue import PublishedWeights, published_weights, shipped_checkpoints

log = logging.getLogger("ecd_models")

FORMAT = "ecd-model-1"
DEFAULT = "fourier_density"
TRAINING_VALENCES = "learned"  # key in the header of the electrons per element in the training data
BONDED = "bonded_atoms"  # key in the header of the configuration of the pair model that the network's atoms are
# The keys that the header of a checkpoint may have; `add_metadata` adds others.
OWN_KEYS = ("format", "model", "config", "metadata", TRAINING_VALENCES, BONDED)
# Prefixes of the tensors that do not belong to the network.
ATOMS, PAIRS, STATE, VALENCES = "atoms:", "pairs:", "state:", "valences:"


class Checkpoint(NamedTuple):
    """A model in evaluation mode, the metadata of its file, and the tensors of an interrupted run."""

    model: DensityModel
    metadata: dict[str, Any]
    state: dict[str, Tensor]


def save_checkpoint(
    path: str | Path,
    model: nn.Module,
    metadata: Mapping[str, Any] | None = None,
    state: Mapping[str, Tensor] | None = None,
) -> None:
    """Write a model to a safetensors file: weights, atoms, valences, name and hyperparameters.

    Parameters
    ----------
    path : the file, which appears complete or not at all.
    model : a DensityModel or a network.
    metadata : anything that JSON can hold.
    state : further tensors, such as those of an optimiser.

    Raises
    ------
    UsageError : the class of the network is not registered.
    EcdError : the disk is full.
    """
    network = model.network if isinstance(model, DensityModel) else model
    config: Any = network.config
    header = {
        "format": FORMAT,
        "model": registered_name(network),
        "config": json.dumps(asdict(config)),
        "metadata": json.dumps(dict(metadata or {})),
    }
    tensors = dict(network.state_dict())
    if isinstance(model, DensityModel):
        _add_model_parts(model, header, tensors)
    tensors |= {STATE + name: value for name, value in (state or {}).items()}
    # Copies, since safetensors refuses tensors that share memory, as those of a model with shared weights do.
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with write_whole(path) as temporary:  # a killed run leaves the old checkpoint complete
            save_file(tensors, temporary, header)
    except SafetensorError as error:  # safetensors raises this if the disk is full
        raise EcdError(
            f"{path} could not be written ({error}): free some space and run the same command again"
        ) from error


def _add_model_parts(model: DensityModel, header: dict[str, str], tensors: dict[str, Tensor]) -> None:
    """Add what a model has besides its network: superposed atoms, valences, valences of the training data."""
    if model.training_valences is not None:
        header[TRAINING_VALENCES] = json.dumps(model.training_valences.to_record())
    if model.atoms is not None:
        free = asdict(model.atoms.free)
        tensors |= {ATOMS + name: torch.from_numpy(np.array(value)) for name, value in free.items()}
    if isinstance(model.atoms, BondedAtoms):
        header[BONDED] = json.dumps(asdict(model.atoms.pairs.config))
        tensors |= {PAIRS + name: value for name, value in model.atoms.pairs.state_dict().items()}
    if model.valences is not None:
        tensors[VALENCES] = torch.from_numpy(np.array(model.valences))


def add_metadata(path: str | Path, extra: Mapping[str, str]) -> None:
    """Add texts by name to the header of an existing checkpoint; its tensors keep their bytes.

    `load_checkpoint` returns them with the metadata. A text with the name of an earlier one replaces it.

    Raises
    ------
    UsageError : the name is one that every checkpoint uses itself.
    FormatError : the file is not a complete checkpoint of this package.
    """
    if reserved := sorted(set(extra) & set(OWN_KEYS)):
        raise UsageError(
            f"{reserved[0]!r} is a name that every checkpoint uses itself: add the text under another name"
        )
    load_checkpoint(path)  # raises an error if the file is not a checkpoint
    write_header(path, dict(extra))


def registered_name(model: nn.Module) -> str:
    """The registered name of a model's class and configuration, or of its class alone.

    Raises
    ------
    UsageError : the class is not registered.
    """
    cls: Any = type(model)
    names = getattr(cls, "configurations", {})
    equal = [name for name, config in names.items() if config == model.config]
    for name in [*equal, *names, *(n for n, registered in MODELS.items() if registered is cls)]:
        if model_class(name) is cls:
            return name
    raise UsageError(f"{cls.__name__} is not registered: add it to the entry point group 'ecd.models'")


def load_checkpoint(path: str | Path) -> Checkpoint:
    """The model and the metadata in a file that `save_checkpoint` wrote.

    Raises
    ------
    UsageError : the file does not exist, or its model is not registered.
    FormatError : the file is damaged, or was written by another version.
    """
    header, tensors = _read_safetensors(Path(path))
    if header.get("format") != FORMAT:
        raise FormatError(f"{path} has no ecd model header: give a checkpoint that `ecd train` wrote")
    try:
        cls = _find_class(header["model"], path)
        config = next(iter(cls.configurations.values()))
        model = cls(type(config)(**json.loads(header["config"])))
        metadata = json.loads(header["metadata"]) | {name: header[name] for name in header if name not in OWN_KEYS}
        training_valences = (
            TrainingValences.from_record(json.loads(header[TRAINING_VALENCES])) if TRAINING_VALENCES in header else None
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{path} was written for another version of the model ({error}): update ecd") from error
    atoms = _read_atoms(tensors, header, str(path))
    state = _pop_prefixed(tensors, STATE)
    valences = [value.numpy() for value in _pop_prefixed(tensors, VALENCES).values()]
    _load_weights(model, tensors, str(path))
    trained = DensityModel(model, atoms, header["model"], valences[0] if valences else None, training_valences)
    trained.metadata = metadata
    return Checkpoint(trained.eval(), metadata, state)


def _find_class(name: str, path: str | Path) -> Any:
    """The class of a checkpoint's model; raises UsageError where it is one of a package that is not here."""
    try:
        return model_class(name)
    except UsageError as error:
        raise UsageError(f"{path} holds a model of another package, install that first: {error}") from error


def read_metadata(path: str | Path) -> dict[str, Any]:
    """The metadata that `save_checkpoint` wrote to a file, without its tensors.

    Raises
    ------
    FormatError : the file is damaged, or not one of `save_checkpoint`.
    """
    try:
        with safe_open(Path(path), framework="pt") as file:
            found: dict[str, Any] = json.loads((file.metadata() or {})["metadata"])
            return found
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise FormatError(f"{path} is no whole checkpoint ({error}): copy it again, or name another") from error


def _read_atoms(tensors: dict[str, Tensor], header: Mapping[str, str], name: str) -> SuperposedAtoms | None:
    """The superposed atoms of a checkpoint, None if it has none; their tensors are removed from `tensors`."""
    tables = {key: value.numpy() for key, value in _pop_prefixed(tensors, ATOMS).items()}
    weights = _pop_prefixed(tensors, PAIRS)
    if not tables or BONDED not in header:
        return SuperposedAtoms(**tables) if tables else None
    try:
        pairs = PairDensity(PairDensityConfig(**json.loads(header[BONDED])))
    except (TypeError, ValueError, UsageError) as error:
        raise FormatError(f"{name} was written for another version of the model ({error}): update ecd") from error
    _load_weights(pairs, weights, name)
    return BondedAtoms(**tables, pairs=pairs.eval())


def _pop_prefixed(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, by the rest of their names; they are removed from `tensors`."""
    names = [name for name in tensors if name.startswith(prefix)]
    return {name.removeprefix(prefix): tensors.pop(name) for name in names}


def load_published(source: str | Path | Mapping[str, Any], cutoff: float = 4.0, num_neighbors: float = 20.0) -> Any:
    """The ChargE3Net, DeepDFT or InvDeepDFT in a published checkpoint, with the output of the published code.

    The model and its sizes follow from the weights.

    Parameters
    ----------
    source : a file, which is only read as data, or a state dict.
    cutoff : in Å, which the weights do not determine.
    num_neighbors : the normalisation of ChargE3Net's sums over neighbours, which the weights do not determine.

    Raises
    ------
    UsageError : the file does not exist.
    FormatError : it is not a complete checkpoint of one of these models.
    EcdError : the file holds more than data and could run code.
    """
    name = str(source) if isinstance(source, str | Path) else "the state dict"
    content = read_pickle(Path(source)) if isinstance(source, str | Path) else source
    weights = strip_prefixes(find_state_dict(content, name))
    published = find_published(weights)
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
    missing, extra = find_misfits(weights, shapes)
    if missing:
        reason = f"{', '.join(missing[:3])} missing or misshapen"
        raise FormatError(f"{name} is no whole {published.name} checkpoint: {reason}")
    if extra:
        raise FormatError(f"{name} is no {published.name} checkpoint: it also has {', '.join(extra[:3])}")
    model = published.cls(config)
    _load_weights(model, published.read({key: weights[key] for key in shapes}, config), name)
    return model.eval()


def load_published_run(path: str | Path) -> Checkpoint:
    """The model in a published checkpoint, with the step and the Adam optimiser of its training.

    The state has tensors "optimizer.<number>.<name>" for each parameter of the model.

    Raises
    ------
    FormatError : the file holds weights alone; also as in `load_published`.
    """
    path = Path(path)
    content = read_pickle(path)
    network = load_published(path)
    published = next(p for p in PUBLISHED if type(network) is p.cls)
    weights = strip_prefixes(find_state_dict(content, str(path)))
    shapes = published.shapes(network.config)
    trained = [name for name in weights if name in shapes and ".basis." not in name]  # in the optimiser's order
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
            f"{path} holds no Adam optimiser of its model: a training can start from it with continued = false"
        ) from error
    return Checkpoint(DensityModel(network, name=registered_name(network)).eval(), {"step": step}, states)


def export_published(model: nn.Module, path: str | Path) -> None:
    """Write a ChargE3Net, DeepDFT or InvDeepDFT to a checkpoint that the published code loads.

    The weights of ChargE3Net that no density depends on do not exist here and are written as zeros. In the published
    code they get no gradient either, so neither densities nor training differ.

    Raises
    ------
    UsageError : the model is another one, or has superposed atoms, a magnetization or a fixed number of electrons,
        which the published code lacks.
    """
    network: Any = model.network if isinstance(model, DensityModel) else model
    if isinstance(model, DensityModel) and model.atoms is not None:
        raise UsageError("the published code adds no superposed atoms: save_checkpoint keeps this model whole")
    if isinstance(model, DensityModel) and model.valences is not None:
        raise UsageError(
            "the published code scales no density to its electrons: export model.network alone, or use save_checkpoint"
        )
    published = next((p for p in PUBLISHED if type(network) is p.cls), None)
    if published is not None and (lacking := describe_unpublished(network.config)):
        raise UsageError(f"the published layout has no {lacking}: save_checkpoint keeps this model whole")
    if published is None:
        known = ", ".join(p.name for p in PUBLISHED)
        raise UsageError(f"{type(network).__name__} has no published layout, which {known} have: use save_checkpoint")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_whole(path) as temporary:
        torch.save({"model": published.write(network.state_dict(), network.config)}, temporary)


def load_model(name_or_path: str | Path | None = None) -> DensityModel:
    """A trained model, by name or file; without an argument the default one.

    Parameters
    ----------
    name_or_path : a name that `ecd models` lists, a .safetensors that `ecd train` wrote, or a published .pt. Published
        networks are downloaded into the user's cache the first time. Of a .pt the cutoff is not known, which a warning
        says: it is taken as in `load_published`.

    Raises
    ------
    UsageError : there is no such name or file.
    EcdError : the download failed, or its content is not the recorded one.
    FormatError : the file is no checkpoint.
    """
    path = Path(path_text(DEFAULT if name_or_path is None else name_or_path, "a checkpoint"))
    shipped = shipped_checkpoints()
    if str(path) in shipped:
        return _load_own(shipped[str(path)])
    published = published_weights()
    if str(path) in published:
        return _load_fetched(published[str(path)])
    if path.suffix == ".safetensors":
        return _load_own(path)
    if path.is_file():
        network = load_published(path)
        log.warning(
            "%s does not record its cutoff: %g Å is taken, as in the published networks (docs/models.md)",
            *(path, network.cutoff),
        )
        return _keep_file(DensityModel(network, name=registered_name(network)), path)
    known = ", ".join([*shipped, *published])
    raise UsageError(f"{path} is neither a file nor the name of a model: give a .safetensors, a .pt, or one of {known}")


def _load_fetched(weights: PublishedWeights) -> DensityModel:
    """A published network from the cache; all of them have the defaults of `load_published`."""
    path = fetch_weights(weights)
    network = load_published(read_weights_alone(path))
    return _keep_file(DensityModel(network, name=weights.name, training_valences=weights.training_valences), path)


def _load_own(path: Path) -> DensityModel:
    return _keep_file(load_checkpoint(path).model, path)


def _keep_file(model: DensityModel, path: Path) -> DensityModel:
    model.file = path
    return model.eval()


def _read_safetensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The texts in the header and the tensors of a file, by name."""
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise UsageError(f"{path} does not exist: give the path of a checkpoint") from error
    except (SafetensorError, OSError) as error:
        raise FormatError(f"{path} is not a whole safetensors file ({error}): copy or download it again") from error


def _load_weights(model: nn.Module, tensors: Mapping[str, Tensor], name: str) -> None:
    """Load weights into a model, in the precision in which they are stored.

    name: of the file, in messages. Raises FormatError if weights are missing or have other shapes.
    """
    own = model.state_dict()
    wrong = sorted(set(own) ^ set(tensors)) or [k for k, v in own.items() if v.shape != tensors[k].shape]
    if wrong:
        raise FormatError(f"{name} does not fit its model: {', '.join(wrong[:3])} missing, unknown or of another size")
    dtype = next(model.parameters()).dtype
    stored = {value.dtype for value in tensors.values() if value.is_floating_point()}
    model.to(stored.pop() if len(stored) == 1 else dtype)
    model.load_state_dict(dict(tensors))
