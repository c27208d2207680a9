"""The superposed atoms whose difference to the density a run learns, chosen by `atoms` of its configuration."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from ecd_data.errors import UsageError
from ecd_data.release.configurations import configuration_names
from ecd_data.store.reader import Store
from ecd_models.atoms.fitted import SuperposedAtoms, fit_superposed_atoms
from ecd_models.checkpoint import load_model
from ecd_models.networks.pair_density.model import PairDensity
from ecd_models.networks.pair_density.start import BondedAtoms
from ecd_models.task_data import TaskData, task_data
from ecd_models.training.config import TrainConfig
from ecd_models.training.probe_batches import subset

log = logging.getLogger("ecd_models")

PAIR_MODEL = "pair_density"  # the name of the shipped pair model, a value of `atoms`
MIN_CRYSTALS = 30  # of each element, for a good fit: more take time and change the atoms little
MAX_FULL_FIT = 1000  # crystals: fewer are all used for a fit, of more some are drawn, since a fit of all takes hours


def make_superposed_atoms(config: TrainConfig, data: TaskData) -> SuperposedAtoms:
    """The superposed atoms that a configuration asks for, by default fitted on the training crystals of the run.

    These are config.fraction of the training part of `data`.

    Raises
    ------
    UsageError : config.atoms names nothing that has atoms.
    """
    source, store = config.atoms, data.store
    ids = subset(data.ids("train"), config.fraction, config.seed)
    if is_pair_model(source):
        return load_bonded_atoms(source)
    if source == "pseudopotentials" or any(Path(source).glob("*.upf") if source else ()):
        from ecd_data.dft.pseudopotentials import pseudo_folder
        from ecd_models.atoms.from_pseudopotentials import read_pseudopotential_atoms

        return read_pseudopotential_atoms(pseudo_folder(None if source == "pseudopotentials" else source))
    if source in configuration_names():
        other = task_data(source, config.data_dir, config.sample)
        store, ids = other.store, other.ids("train")
    elif source:
        if not source.endswith(".ecd"):
            raise UsageError(
                f"atoms = {source!r} is neither a folder of <symbol>.upf files nor a store nor a task nor a pair model:"
                " name one"
            )
        store = Store(source)
        ids = store.ids
    start = time.monotonic()
    chosen = choose_fit_crystals(dict(zip(store.index["id"], store.index["elements"], strict=True)), ids, config.seed)
    atoms = fit_superposed_atoms(store[id] for id in chosen)
    log.info("fitted superposed atoms on %d crystals in %.0f s", len(chosen), time.monotonic() - start)
    return atoms


def is_pair_model(source: str) -> bool:
    """Whether a value of config.atoms names a fitted pair model."""
    return source == PAIR_MODEL or source.endswith(".safetensors")


def load_bonded_atoms(source: str) -> BondedAtoms:
    """The atoms of a fitted pair model, by its name or file; raises UsageError if that holds another model."""
    model = load_model(source)
    if not isinstance(model.network, PairDensity) or model.atoms is None:
        raise UsageError(f"atoms = {source!r} is a {model.name}: give a fitted {PAIR_MODEL}")
    return BondedAtoms(model.atoms.coefficients, model.atoms.exponents, pairs=model.network)


def choose_fit_crystals(elements: Mapping[str, Sequence[str]], ids: Sequence[str], seed: int) -> list[str]:
    """The ids of crystals to fit atoms on: all of few; of many, some drawn by seed in which no element is rare."""
    if len(ids) <= MAX_FULL_FIT:
        return list(ids)
    counts: Counter[str] = Counter()
    chosen = set()
    for id in subset(ids, 1.0, seed):
        if any(counts[element] < MIN_CRYSTALS for element in elements[id]):
            counts.update(elements[id])
            chosen.add(id)
    return [id for id in ids if id in chosen]
