"""The superposed atoms that a run learns the difference to: fitted, of pseudopotentials, or of other densities."""

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

PAIR_MODEL = "pair_density"  # the shipped pair model, as `atoms` of a configuration
EXAMPLES = 30  # crystals of each element that a fit wants
ENOUGH = 1000  # crystals that are all taken


def superposed_atoms(config: TrainConfig, data: TaskData) -> SuperposedAtoms:
    """The atoms that a configuration asks for; raises UsageError where its `atoms` is no source of any."""
    source, store = config.atoms, data.store
    ids = data.ids("train")
    if is_pair_model(source):
        return bonded_atoms(source)
    if source == "pseudopotentials" or any(Path(source).glob("*.upf") if source else ()):
        from ecd_data.dft.pseudopotentials import pseudo_folder
        from ecd_models.atoms.from_pseudopotentials import atoms_of_pseudopotentials

        return atoms_of_pseudopotentials(pseudo_folder(None if source == "pseudopotentials" else source))
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
    started = time.monotonic()
    chosen = representative(dict(zip(store.index["id"], store.index["elements"], strict=True)), ids, config.seed)
    atoms = fit_superposed_atoms(store[id] for id in chosen)
    log.info("fitted superposed atoms on %d crystals in %.0f s", len(chosen), time.monotonic() - started)
    return atoms


def is_pair_model(source: str) -> bool:
    """Whether `atoms` of a configuration names a fitted pair model."""
    return source == PAIR_MODEL or source.endswith(".safetensors")


def bonded_atoms(source: str) -> BondedAtoms:
    """The atoms of a fitted pair model, shipped or by its file; raises UsageError where that is another model."""
    model = load_model(source)
    if not isinstance(model.network, PairDensity) or model.atoms is None:
        raise UsageError(f"atoms = {source!r} is a {model.name}: as a start give a fitted {PAIR_MODEL}")
    return BondedAtoms(model.atoms.coefficients, model.atoms.exponents, pairs=model.network)


def representative(elements: Mapping[str, Sequence[str]], ids: Sequence[str], seed: int) -> list[str]:
    """All of few ids; of many, some drawn by seed that have every element often enough for a fit."""
    if len(ids) <= ENOUGH:
        return list(ids)
    seen: Counter[str] = Counter()
    chosen = set()
    for id in subset(ids, 1.0, seed):
        if any(seen[element] < EXAMPLES for element in elements[id]):
            seen.update(elements[id])
            chosen.add(id)
    return [id for id in ids if id in chosen]
