"""Densities from a model, on a whole grid or at points, in bounded memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import torch
from numpy.typing import ArrayLike

from ecd_data.arguments import describe_value, fractional_points, grid_shape, real_number
from ecd_data.crystal import Crystal, Floats
from ecd_data.density import Density
from ecd_data.errors import EcdError, UsageError
from ecd_data.fourier import evaluate
from ecd_data.io.density_names import PREDICTED_BY
from ecd_data.symmetry import grid_orbits
from ecd_data.vasp_grid import vasp_fine_grid
from ecd_models.batch import make_item
from ecd_models.graph import Neighbors
from ecd_models.kernels import Decoder, fast_decoder
from ecd_models.model import DensityModel
from ecd_models.prediction.crystal_input import as_crystal, refuse_coincident
from ecd_models.prediction.on_device import outputs_at, predict_on_device
from ecd_models.prediction.reference_electrons import compare_valences, compare_with_density

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure

log = logging.getLogger("ecd_models")

CHUNK_EDGES = 40_000  # edges a chunk of probes has, about: fewer cost calls, more leave the cache
MIN_CHUNK, MAX_CHUNK = 128, 16_384
FAST_CHUNK = 1 << 16  # points between two reports of the compiled kernels
WORTH = 20_000  # points from which loading the compiled kernels pays
FAR = 0.1  # of the electrons: what no network misses by where it knows anything
NEAR = 0.02  # of the electrons: what the shipped ones miss by at most on crystals like those of their training
NEGATIVE = 1e-3  # of the electrons, in negative values of a model in closed form
NO_DENSITY = "the crystal is unlike what it was trained on, or the training failed; no density is given"

Advance = Callable[[int], None] | None


@overload
def predict(
    model: DensityModel,
    crystal: Crystal | Atoms | Structure,
    *,
    shape: tuple[int, int, int] | None = None,
    points: None = None,
    encut: float | None = None,
    prec: str = "accurate",
    like: Density | None = None,
    valences: Mapping[str, float] | None = None,
    allow_valence_mismatch: bool = False,
    refuse: bool = True,
    symmetry: bool = False,
    fast: bool | None = None,
    advance: Advance = None,
) -> Density: ...
@overload
def predict(
    model: DensityModel,
    crystal: Crystal | Atoms | Structure,
    *,
    shape: None = None,
    points: ArrayLike,
    encut: None = None,
    prec: str = "accurate",
    like: None = None,
    valences: Mapping[str, float] | None = None,
    allow_valence_mismatch: bool = False,
    refuse: bool = True,
    symmetry: bool = False,
    fast: bool | None = None,
    advance: Advance = None,
) -> Floats: ...
def predict(
    model: DensityModel,
    crystal: Crystal | Atoms | Structure,
    *,
    shape: tuple[int, int, int] | None = None,
    points: ArrayLike | None = None,
    encut: float | None = None,
    prec: str = "accurate",
    like: Density | None = None,
    valences: Mapping[str, float] | None = None,
    allow_valence_mismatch: bool = False,
    refuse: bool = True,
    symmetry: bool = False,
    fast: bool | None = None,
    advance: Advance = None,
) -> Density | Floats:
    """The predicted Density on a grid, or the densities in e/Å^3 at fractional `points` [n, 3] as an array.

    crystal: also an ASE Atoms or a pymatgen Structure. The grid is one of: `shape`; that of the density `like`; VASP's
    own for a cutoff `encut` in eV and its `prec`. A model with spin gives the Density its magnetization, and an array
    [n, 2] at points. A model that knows the number of electrons gives a grid that has it; values at points are not
    scaled. A grid that was over 2 % away from it, or from the valence electrons, is logged as a warning.

    like, valences (electrons of each element, as ZVAL in a POTCAR): what the density is meant for. Raises UsageError
    where the model learned other valence electrons; with allow_valence_mismatch that is a warning. Raises UsageError
    for a crystal without atoms or with two atoms nearer than 0.3 Å (with refuse=False a warning), and EcdError
    where the predicted electrons are not a number, or negative for a model that knows how many there should be; with
    refuse=False, for those who judge or draw predictions, such a density is returned.
    A model in closed form gives grids at once, whatever symmetry and fast say. never_seen among the Density's meta:
    elements, and pairs of neighbours, that the training crystals lacked, where the model knows them; logged as well
    (pairs not with refuse=False).
    symmetry: ask the network at one grid point of each orbit of the crystal's space group only; the same to rounding.
    fast: False for the network's own `decode`, on any device; True for the compiled kernels of processors
    (`ecd_models.kernels`) or GPUs (`ecd_models.device`), or an error where there are none; None for the kernels where
    they are there and worth loading. On a GPU everything has the weights' precision, whatever autocast says.
    Atoms are encoded once; probes go through in chunks, so memory beyond the output stays bounded. `advance` is told
    how many points were done. Raises UsageError unless exactly one of shape, points, encut and like is given.
    """
    if sum(given is not None for given in (shape, points, encut, like)) != 1:
        raise UsageError(
            "predict wants a grid, by shape=(a, b, c), encut=EV or like=density, or points [n, 3]: one of the two, once"
        )
    if not isinstance(model, DensityModel):
        raise UsageError(f"predict wants a model, as load_model(name) gives it, not {describe_value(model)}")
    crystal = as_crystal(crystal)
    refuse_coincident(crystal, warn=not refuse)
    where = None if points is None else fractional_points(points)
    grid = None if where is not None else _grid(crystal, shape, encut, prec, like)
    _compare(model, crystal, like, valences, allow_valence_mismatch)
    if refuse and (pairs := _unseen_pairs(model, crystal)):
        _tell_once(
            model,
            f"{model.name} never saw {', '.join(pairs)} as neighbours in training: the density between them follows "
            "from other pairs of similar elements",
        )
    ask = partial(_ask, model, crystal, fast=fast, advance=advance)
    if where is not None:
        if closed_form(model):
            values = _at(crystal, where, model.network.on_grid)[None]
        else:
            values = ask(len(where), lambda start, stop: where[start:stop])
        values[0] += _baseline_at(model, crystal, where)
        if refuse and not np.isfinite(values).all():
            raise EcdError(f"{model.name} predicts values for {crystal.formula} that are not numbers: {NO_DENSITY}")
        return values.T if model.spin else values[0]
    assert grid is not None
    if closed_form(model):
        values = model.network.on_grid(crystal, grid)[None]
        if advance is not None:
            advance(values.size)
    elif not _stays_on_device(model):
        values = (_symmetric if symmetry else _everywhere)(ask, crystal, grid).reshape(-1, *grid)
    else:
        complete = partial(_complete, model, crystal, refuse=refuse)
        values = predict_on_device(model, crystal, grid, complete, symmetry=symmetry, fast=fast, advance=advance)
    if closed_form(model) or not _stays_on_device(model):
        atoms = None if model.atoms is None else model.atoms(crystal, grid).values
        _complete(model, crystal, values[0], atoms, refuse)
    values.flags.writeable = False  # so that the density takes the array as it is
    meta: dict[str, Any] = {"functional": "predicted", "comment": f"{PREDICTED_BY} {model.name}"}
    if unseen := [*_unseen_elements(model, crystal), *_unseen_pairs(model, crystal)]:
        meta["never_seen"] = unseen
    return Density(crystal, values[0], values[1] if model.spin else None, meta=meta)


def _grid(
    crystal: Crystal, shape: tuple[int, int, int] | None, encut: float | None, prec: str, like: Density | None
) -> tuple[int, int, int]:
    if encut is not None:
        return vasp_fine_grid(crystal.lattice, encut, prec)
    if like is not None and not isinstance(like, Density):
        raise UsageError(f"like= is a Density, as read(path) gives it, not {describe_value(like)}")
    return grid_shape(like.shape if like is not None else shape)


def _compare(
    model: DensityModel,
    crystal: Crystal,
    like: Density | None,
    valences: Mapping[str, float] | None,
    allow: bool,
) -> None:
    """Refuses or tells what the model did not learn: elements, and the valence electrons of what is wanted."""
    if model.training_valences is None:
        _tell_once(
            model,
            f"{model.name} has no record of how many electrons each element had in its training data: whether its"
            " densities are those of your code and potentials is not compared (docs/models.md)",
        )
    elif unseen := _unseen_elements(model, crystal):
        _tell_once(
            model,
            f"{model.name} never saw {', '.join(unseen)} in training: do not use its densities of crystals with it",
        )
    if like is not None:
        name = str(like.meta.get("source") or "the density to be like")
        compare_with_density(model, like, name, allow=allow)
    if valences is not None:
        if not isinstance(valences, Mapping):
            raise UsageError(f"valences are electrons by element such as {{'Fe': 8}}, not {describe_value(valences)}")
        sets = {
            symbol: frozenset({real_number(count, f"the valence of {symbol}", "8")})
            for symbol, count in valences.items()
        }
        compare_valences(model, crystal, sets, "what is wanted", allow=allow)


def closed_form(model: DensityModel) -> bool:
    """Whether the model gives whole grids by a formula, without asking a network at their points."""
    return hasattr(model.network, "on_grid")


def _unseen_elements(model: DensityModel, crystal: Crystal) -> list[str]:
    """The elements of a crystal that the training crystals lack, as far as that is recorded."""
    return (
        [] if model.training_valences is None else [s for s in crystal.elements if not model.training_valences.saw(s)]
    )


def _unseen_pairs(model: DensityModel, crystal: Crystal) -> list[str]:
    """The pairs of neighbours, as "Cu-Te", that the training crystals lack, for models that record pairs."""
    return model.network.unseen_pairs(crystal) if hasattr(model.network, "unseen_pairs") else []


def _tell_once(model: DensityModel, sentence: str) -> None:
    if sentence not in model.told:
        model.told.add(sentence)
        log.warning("%s", sentence)


def _complete(model: DensityModel, crystal: Crystal, values: Any, atoms: Any, refuse: bool) -> None:
    """Adds the superposed atoms to a network's output on a grid and scales it to the electrons, where they are known.

    values, atoms: arrays or tensors [a, b, c], the second None where there are none to add. Warns where the prediction
    is far from the electrons: a network outside of what it was trained on.
    """
    nelect = model.nelect(crystal)
    expected = nelect
    if atoms is not None:
        values += atoms
        expected = float(atoms.mean()) * crystal.volume if nelect is None else nelect
    if model.training_valences is not None and expected is None:
        expected = model.training_valences.electrons(crystal)
    found = float(values.mean() * crystal.volume)
    if refuse and (not np.isfinite(found) or (found <= 0 and expected is not None)):
        raise EcdError(
            f"{model.name} predicts {found:.1f} electrons for {crystal.formula}"
            + (f", which has {expected:.1f}" if expected is not None else "")
            + f": {NO_DENSITY}"
        )
    _tell_far(model, crystal, found, expected, NEAR if refuse else FAR)
    if closed_form(model):  # it keeps the electrons whatever it predicts: signs tell where it has left what it knows
        _tell_negative(model, crystal, values)
    if nelect is not None and found > 0:
        values *= nelect / found


def _tell_far(model: DensityModel, crystal: Crystal, found: float, expected: float | None, limit: float) -> None:
    """Warns where a prediction has other electrons than its crystal by more than `limit`, a fraction, or negative."""
    if expected is None and found <= 0:
        log.warning("%s predicts %.3g electrons for %s: do not use this density", model.name, found, crystal.formula)
    if expected is None or abs(found - expected) <= limit * expected:
        return
    far = abs(found - expected) > FAR * expected
    log.warning(
        "%s predicts %.*f electrons for %s, which has %.1f: %s",
        *(model.name, 1 if far else 2, found, crystal.formula, expected),
        "the crystal is unlike what it was trained on, do not use this density"
        if far
        else f"{100 * abs(found / expected - 1):.1f} % off, more than on crystals like those it was trained on",
    )


def _tell_negative(model: DensityModel, crystal: Crystal, values: Floats) -> None:
    """Warns where negative values hold more of the electrons than rounding at nuclei does."""
    share = -float(np.minimum(values, 0).sum() / values.sum())
    if share > NEGATIVE:
        log.warning(
            "%s predicts negative values for %s that hold %.2g %% of its electrons, down to %.2g e/Å^3: the crystal is "
            "unlike what it was fitted on",
            *(model.name, crystal.formula, 100 * share, values.min()),
        )


def grid_points(shape: tuple[int, int, int], start: int, stop: int) -> Floats:
    """Fractional coordinates of the grid points start..stop in C order [stop - start, 3]."""
    return np.stack(np.unravel_index(np.arange(start, stop), shape), axis=1) / np.array(shape)


Ask = Callable[[int, Callable[[int, int], Floats]], Floats]


def _everywhere(ask: Ask, crystal: Crystal, grid: tuple[int, int, int]) -> Floats:
    return ask(int(np.prod(grid)), lambda start, stop: grid_points(grid, start, stop))


def _symmetric(ask: Ask, crystal: Crystal, grid: tuple[int, int, int]) -> Floats:
    orbits = grid_orbits(crystal, grid)

    def points(start: int, stop: int) -> Floats:
        return np.stack(np.unravel_index(orbits.points[start:stop], grid), axis=1) / np.array(grid)

    return ask(len(orbits.points), points)[:, orbits.orbit]


def _baseline_at(model: DensityModel, crystal: Crystal, points: Floats) -> Floats | float:
    if model.atoms is None:
        return 0.0
    return _at(crystal, points, lambda crystal, shape: model.atoms(crystal, shape).values)  # type: ignore[misc]


def _at(crystal: Crystal, points: Floats, on_grid: Callable[[Crystal, tuple[int, int, int]], Floats]) -> Floats:
    """The values at fractional points [n, 3] of what is known on any grid, by way of a fine one [n]."""
    spacing = 0.08  # Å: fine enough for the sharpest atom
    shape = tuple(int(np.ceil(length / spacing)) for length in np.linalg.norm(crystal.lattice, axis=1))
    return evaluate(on_grid(crystal, shape), points)  # type: ignore[arg-type]


def _stays_on_device(model: DensityModel) -> bool:
    """Whether everything is done where the weights are, see `ecd_models.device`."""
    return model.device.type != "cpu"


@torch.inference_mode()
def _ask(
    model: DensityModel,
    crystal: Crystal,
    count: int,
    points: Callable[[int, int], Floats],
    *,
    fast: bool | None,
    advance: Advance,
) -> Floats:
    """The network's outputs at `count` points, which `points(start, stop)` makes chunk by chunk [outputs, count]."""
    if _stays_on_device(model):
        return outputs_at(model, crystal, points(0, count), fast=fast, advance=advance)
    neighbors = Neighbors(crystal, model.network.cutoff)
    was_training = model.training
    model.eval()
    try:
        item = make_item(neighbors, crystal.numbers, np.zeros((0, 3)), dtype=model.dtype).to(device=model.device)
        features = model.network.encode(item)
        compiled = _compiled(model, features, crystal, count, fast)
        result = np.empty((2 if model.spin else 1, count))
        ranges = _chunks(neighbors, count, points) if compiled is None else _ranges(count, FAST_CHUNK)
        for start, stop in ranges:
            where = points(start, stop)
            if compiled is None:
                item = make_item(neighbors, crystal.numbers, where, dtype=model.dtype).to(device=model.device)
                output = model.network.decode(features, item).cpu().double().numpy()
            else:
                output = compiled(where)
            result[:, start:stop] = output.reshape(len(where), -1).T
            if advance is not None:
                advance(stop - start)
    finally:
        model.train(was_training)
    return result


def _compiled(model: DensityModel, features: Any, crystal: Crystal, count: int, fast: bool | None) -> Decoder | None:
    """The compiled kernels for this model where they are wanted."""
    if fast is False or (fast is None and count < WORTH):
        return None
    found = fast_decoder(model.network, features, crystal)
    if found is None and fast:
        raise UsageError(
            f"there are no compiled kernels for {model.name}: they need numba (pip install 'ecd-data[fast]'), "
            "a network of this package in float32, and a processor"
        )
    return found


def _ranges(count: int, size: int) -> Iterator[tuple[int, int]]:
    return ((start, min(count, start + size)) for start in range(0, count, size))


def _chunks(neighbors: Neighbors, count: int, points: Callable[[int, int], Floats]) -> Iterator[tuple[int, int]]:
    """Ranges of points with about CHUNK_EDGES edges each, from the edge density of the chunk before."""
    start, size = 0, MIN_CHUNK
    while start < count:
        stop = min(count, start + size)
        yield start, stop
        if size == MIN_CHUNK:
            edges = max(1, len(neighbors.probes(points(start, stop)).src)) / (stop - start)
            size = int(np.clip(CHUNK_EDGES / edges, MIN_CHUNK, MAX_CHUNK))
        start = stop
