"""`predict`: the density of a crystal from a model, on a whole grid or at points, in bounded memory.

A crystal may also be ASE Atoms or a pymatgen Structure, which are recognised without importing their packages.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, overload

import numpy as np
from numpy.typing import ArrayLike

from ecd_data.arguments import describe_value, fractional_points, grid_shape
from ecd_data.crystal import Crystal, Floats
from ecd_data.density import Density
from ecd_data.errors import EcdError, UsageError
from ecd_data.formats.structure import find_structure_fault
from ecd_data.fourier import evaluate
from ecd_data.io.density_names import PREDICTED_BY
from ecd_data.vasp_grid import vasp_fine_grid
from ecd_models.model import DensityModel
from ecd_models.prediction.functionals import choose_functional, name_model
from ecd_models.prediction.initial_moments import choose_moments
from ecd_models.prediction.network_outputs import Advance, evaluate_grid, evaluate_points
from ecd_models.prediction.on_device import evaluate_points_on_device, predict_on_device
from ecd_models.prediction.plausibility import (
    NO_DENSITY,
    compare_with_training,
    complete_density,
    find_unseen_elements,
    find_unseen_pairs,
    has_closed_form,
    warn_beyond_density,
    warn_of_charge,
    warn_of_sides,
    warn_once,
)

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure


log = logging.getLogger("ecd_models")


def as_crystal(structure: Any) -> Crystal:
    """The Crystal of an ASE Atoms, of a pymatgen Structure, or a Crystal itself.

    Raises
    ------
    UsageError : the structure has no cell or partial occupancies, or is something else.
    """
    if isinstance(structure, Crystal):
        return structure
    kind = type(structure).__name__
    try:
        if hasattr(structure, "get_scaled_positions"):
            if structure.cell.rank < 3:
                raise UsageError(f"{structure.get_chemical_formula()} has no cell of three vectors: give the atoms one")
            return Crystal.from_ase(structure)
        if hasattr(structure, "is_ordered") and hasattr(structure, "lattice"):
            return Crystal.from_pymatgen(structure)
    except (AttributeError, TypeError, ValueError) as error:
        raise UsageError(f"no density can be predicted for this {kind}: {error}") from error
    hint = ": its .crystal is one" if hasattr(structure, "crystal") else ""
    raise UsageError(f"a prediction wants a Crystal, an ASE Atoms or a pymatgen Structure, not a {kind}{hint}")


def refuse_coincident(crystal: Crystal, *, warn: bool = False) -> None:
    """Raises UsageError if a crystal has no atoms, or atoms on top of each other, which with `warn` is a warning."""
    if (reason := find_structure_fault(crystal)) is None:
        return
    if not warn or not len(crystal):
        raise UsageError(f"no density can be predicted for {crystal.formula or 'an empty cell'}: {reason}")
    log.warning("the density of %s is not to be trusted: %s", crystal.formula, reason)


SPACING = 0.08  # Å, of the grid from which closed forms and superposed atoms are interpolated: resolves all atoms


class Options(TypedDict, total=False):
    """The arguments of `predict` that do not decide whether a grid or points are returned."""

    prec: str
    functional: str | None
    moments: ArrayLike | None
    valences: Mapping[str, float] | None
    allow_valence_mismatch: bool
    refuse: bool
    symmetry: bool
    fast: bool | None
    advance: Advance


@overload
def predict(
    model: DensityModel,
    crystal: Crystal | Atoms | Structure,
    *,
    shape: tuple[int, int, int] | None = None,
    points: None = None,
    encut: float | None = None,
    like: Density | None = None,
    **options: Unpack[Options],
) -> Density: ...
@overload
def predict(
    model: DensityModel, crystal: Crystal | Atoms | Structure, *, points: ArrayLike, **options: Unpack[Options]
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
    functional: str | None = None,
    moments: ArrayLike | None = None,
    valences: Mapping[str, float] | None = None,
    allow_valence_mismatch: bool = False,
    refuse: bool = True,
    symmetry: bool = False,
    fast: bool | None = None,
    advance: Advance = None,
) -> Density | Floats:
    """The predicted Density on a grid, or the densities in e/Å^3 at fractional points as an array [n].

    A model with spin gives the Density its magnetization, and an array [n, 2] at points. If a model knows the number of
    electrons, a grid is scaled to have it; values at points are not scaled. A warning is logged if a grid was more than
    2 % away from this number, or from that of the valence electrons. meta["never_seen"] of the Density lists elements
    and pairs of neighbours that the training crystals lack, if the model records them; they are logged, too.
    Along axes that are not periodic the networks that are asked point by point see no images of the atoms; a warning is
    logged if atoms are near a side of the cell there, or outside. Closed forms and superposed atoms always repeat.

    Parameters
    ----------
    model : a DensityModel, as `load_model` returns it.
    crystal : a Crystal, an ASE Atoms or a pymatgen Structure.
    shape : the numbers of grid points along a, b, c.
    points : fractional coordinates [n, 3]. Superposed atoms and models in closed form are interpolated from a grid of
        0.08 Å of the whole cell, whose memory grows with the volume, and have waves that a coarser grid does not hold.
    encut, prec : cutoff in eV and PREC of VASP, whose fine grid is taken.
    like : a density whose grid is taken, and with whose electrons those of the model's training data are compared.
    functional : the functional whose density is wanted, for a model that was trained on several; without it the first.
    moments : the moments in Bohr magnetons that the atoms start from [n], or one number for all atoms, such as 0 for a
        non-magnetic state; for a model that takes them. Without them those of the ASE Atoms or the pymatgen Structure,
        and where these have none, the ferromagnetic state of positive moment.
    valences : electrons of each element, as ZVAL in a POTCAR, to compare with those of the training data.
    allow_valence_mismatch : whether other valence electrons are a warning instead of an error.
    refuse : whether impossible predictions are errors. With False, for evaluations and pictures, they are returned.
    symmetry : evaluate the network at one grid point of each orbit of the space group only; equal within rounding.
    fast : True for compiled kernels of processors (`ecd_models.kernels`) or GPUs (`ecd_models.device`), False for the
        network's own `decode`, None for the kernels if they are available and worth loading. On a GPU the precision is
        that of the weights, also under autocast.
    advance : is called with the number of points that were done since its last call.

    Raises
    ------
    UsageError : not exactly one of shape, points, encut and like is given; the crystal has no atoms, or two of them are
        nearer than 0.3 Å (with refuse=False a warning); the valence electrons are others than in the training data; the
        model does not give densities of the functional, or takes no moments; or fast=True, and there are no kernels.
    EcdError : the predicted electrons are not a number, or not positive for a model that knows their number.
    """
    if sum(argument is not None for argument in (shape, points, encut, like)) != 1:
        raise UsageError(
            "predict wants a grid, by shape=(a, b, c), encut=EV or like=density, or points [n, 3]: one of the two, once"
        )
    if not isinstance(model, DensityModel):
        raise UsageError(f"predict wants a model, as load_model(name) gives it, not {describe_value(model)}")
    structure, crystal = crystal, as_crystal(crystal)
    refuse_coincident(crystal, warn=not refuse)
    warn_of_charge(crystal, structure)
    warn_of_sides(model, crystal)
    where = None if points is None else fractional_points(points)
    grid = None if where is not None else _choose_grid(crystal, shape, encut, prec, like)
    compare_with_training(model, crystal, like, valences, allow_valence_mismatch)
    if refuse and (pairs := find_unseen_pairs(model, crystal)):
        warn_once(
            model,
            f"{model.name} never saw {', '.join(pairs)} as neighbours in training: the density between them follows "
            "from other pairs of similar elements",
        )
    with choose_functional(model, functional), choose_moments(model, crystal, moments, structure):
        if where is not None:
            return _predict_points(model, crystal, where, refuse, fast, advance)
        assert grid is not None
        values = _predict_grid(model, crystal, grid, refuse, symmetry, fast, advance)
    if model.spin:
        warn_beyond_density(model, crystal, values[0], values[1])
    values.flags.writeable = False  # a Density copies writeable arrays
    comment = f"{PREDICTED_BY} {name_model(model, functional, moments)}"
    meta: dict[str, Any] = {"functional": "predicted", "comment": comment}
    if unseen := [*find_unseen_elements(model, crystal), *find_unseen_pairs(model, crystal)]:
        meta["never_seen"] = unseen
    return Density(crystal, values[0], values[1] if model.spin else None, meta=meta)


def _choose_grid(
    crystal: Crystal, shape: tuple[int, int, int] | None, encut: float | None, prec: str, like: Density | None
) -> tuple[int, int, int]:
    if encut is not None:
        return vasp_fine_grid(crystal.lattice, encut, prec)
    if like is not None and not isinstance(like, Density):
        raise UsageError(f"like= is a Density, as read(path) gives it, not {describe_value(like)}")
    return grid_shape(like.shape if like is not None else shape)


def _predict_points(
    model: DensityModel, crystal: Crystal, points: Floats, refuse: bool, fast: bool | None, advance: Advance
) -> Floats:
    """The densities at fractional points [n], or [n, 2] with the magnetizations."""
    if has_closed_form(model):
        values = _interpolate(crystal, points, model.network.on_grid)
    elif _is_on_device(model):
        values = evaluate_points_on_device(model, crystal, points, fast=fast, advance=advance)
    else:
        values = evaluate_points(
            model, crystal, len(points), lambda start, stop: points[start:stop], fast=fast, advance=advance
        )
    if (atoms := model.atoms) is not None:
        values[0] += _interpolate(crystal, points, lambda crystal, shape: atoms(crystal, shape).values)[0]
    if refuse and not np.isfinite(values).all():
        raise EcdError(f"{model.name} predicts values for {crystal.formula} that are not numbers: {NO_DENSITY}")
    return values.T if model.spin else values[0]


def _predict_grid(
    model: DensityModel,
    crystal: Crystal,
    shape: tuple[int, int, int],
    refuse: bool,
    symmetry: bool,
    fast: bool | None,
    advance: Advance,
) -> Floats:
    """The density, and the magnetization if the model has spin, on a grid [outputs, a, b, c]."""
    if not has_closed_form(model) and _is_on_device(model):
        complete = partial(complete_density, model, crystal, refuse=refuse)
        return predict_on_device(model, crystal, shape, complete, symmetry=symmetry, fast=fast, advance=advance)
    if (whole := None if fast is False else _sum_with_atoms(model, crystal, shape)) is not None:
        values, electrons = whole
        complete_density(model, crystal, values[0], None, refuse, electrons)
        if advance is not None:
            advance(values.size)
        return values
    if has_closed_form(model):
        values = model.network.on_grid(crystal, shape).reshape(-1, *shape)
        if advance is not None:
            advance(values.size)
    else:
        values = evaluate_grid(model, crystal, shape, symmetry=symmetry, fast=fast, advance=advance)
    atoms = None if model.atoms is None else model.atoms(crystal, shape).values
    complete_density(model, crystal, values[0], atoms, refuse)
    return values


def _sum_with_atoms(model: DensityModel, crystal: Crystal, shape: tuple[int, int, int]) -> tuple[Floats, float] | None:
    """Network and atoms on a grid at once [outputs, a, b, c], and the atoms' electrons; None for models that cannot."""
    if model.atoms is None or not hasattr(model.network, "on_grid_with_atoms"):
        return None
    values = model.network.on_grid_with_atoms(crystal, shape, model.atoms)
    electrons = float(model.atoms.coefficients[crystal.numbers].sum())
    return None if values is None else (values.reshape(-1, *shape), electrons)


def _interpolate(crystal: Crystal, points: Floats, on_grid: Callable[[Crystal, Any], Floats]) -> Floats:
    """The values at fractional points [n, 3] of a function that is computed on a fine grid first [outputs, n]."""
    shape = tuple(int(np.ceil(length / SPACING)) for length in np.linalg.norm(crystal.lattice, axis=1))
    return np.stack([evaluate(grid, points) for grid in on_grid(crystal, shape).reshape(-1, *shape)])


def _is_on_device(model: DensityModel) -> bool:
    """Whether the weights are on a GPU or another device, where then everything is computed."""
    return model.device.type != "cpu"
