"""Density files predicted from structure files, several with one call that can be continued."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from ecd_data.crystal import Crystal
from ecd_data.density import Density
from ecd_data.errors import EcdError, UsageError
from ecd_data.formats import FORMATS, write
from ecd_data.formats.structure import read_structure_with_density
from ecd_data.formats.structure_files import structure_files
from ecd_data.formats.vasp.occupancies import copy_augmentation, has_augmentation_for
from ecd_data.vasp_grid import vasp_fine_grid
from ecd_data.work.interrupts import stop_between_steps
from ecd_models.model import DensityModel
from ecd_models.prediction.error_estimate import estimate_error, read_calibration
from ecd_models.prediction.functionals import name_model
from ecd_models.prediction.kept_files import find_difference
from ecd_models.prediction.plausibility import (
    MAX_NEGATIVE_SHARE,
    NO_DENSITY,
    find_unseen_elements,
    measure_negative_share,
)
from ecd_models.prediction.predict import predict
from ecd_models.prediction.reference_electrons import (
    Valences,
    compare_valences,
    compare_with_density,
    compare_with_potcars,
)

ESTIMATE = "error_estimate"  # key in the meta of a prediction

Counter = Callable[[str, int], AbstractContextManager[Callable[[int], None] | None]]


@dataclass(frozen=True)
class GridRule:
    """The rule for the grid of a crystal: `shape`, the grid of `like`, or VASP's fine grid for encut (eV) and prec.

    Raises UsageError unless exactly one of shape, like and encut is given.
    """

    shape: tuple[int, int, int] | None = None
    like: Density | None = None
    encut: float | None = None
    prec: str = "accurate"

    def __post_init__(self) -> None:
        if sum(argument is not None for argument in (self.shape, self.like, self.encut)) != 1:
            raise UsageError("give the grid by one of: --grid A B C, --like CHGCAR, --encut EV")

    def __call__(self, crystal: Crystal) -> tuple[int, int, int]:
        if self.encut is not None:
            return vasp_fine_grid(crystal.lattice, self.encut, self.prec)
        shape = self.shape if self.like is None else self.like.shape
        assert shape is not None
        return shape


@dataclass
class PredictedFiles:
    """What `predict_files` did.

    written : the files and a description of what is in each.
    present : the files that existed already.
    failed : the reason for each structure that could not be read or predicted.
    bare : those of the written CHGCARs that have no augmentation occupancies.
    left : the structures that were left when an interrupt ended the work.
    """

    written: dict[Path, str] = field(default_factory=dict)
    present: list[Path] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    bare: list[Path] = field(default_factory=list)
    left: list[Path] = field(default_factory=list)


def predict_files(
    model: DensityModel,
    structures: Sequence[str | Path],
    output: str | Path,
    grid: GridRule,
    *,
    augmentation: Density | None = None,
    strict: bool = True,
    symmetry: bool = False,
    format: str = "chgcar",
    counter: Counter | None = None,
    valences: Valences | None = None,
    allow_valence_mismatch: bool = False,
    functional: str | None = None,
    moments: ArrayLike | None = None,
) -> PredictedFiles:
    """The report on predicting the density of each structure file into a density file.

    With several structures a structure that cannot be read or predicted is reported, and the others are predicted;
    files that this model wrote on this grid are kept, so a second call continues. Others are reported, as are files
    without the occupancies of `augmentation` and structures of other valences.

    Parameters
    ----------
    model : the model.
    structures : structure files, or folders of them.
    output : the file for one structure; else a folder, which gets `<name>_CHGCAR` or `<name>.cube` for each.
    grid : the rule for the grid of each crystal.
    augmentation : a density of the same atoms, whose PAW occupancies are added.
    strict : whether an `augmentation` that does not belong to the atoms is an error; with False it is not added.
    symmetry : as in `predict`.
    format : "chgcar" or "cube", for several structures.
    counter : makes a progress bar from a name and a number of points.
    valences : the valence electrons of each element in a POTCAR. They are compared with those of the model's training
        data; without them those of POTCARs next to the structure and the file to write. Those of `grid.like`,
        `augmentation` and a CHGCAR that gives the structure are always compared.
    allow_valence_mismatch : whether other valence electrons are a warning instead of an error.
    functional : as in `predict`.
    moments : as in `predict`; those of each atom for one structure, one number for several.

    Raises
    ------
    UsageError : no structure was found, two would have one name, valence electrons differ, or a cube is to have PAW
        occupancies.
    EcdError : the only structure cannot be read or predicted.
    """
    allow = allow_valence_mismatch
    for reference in {id(rho): rho for rho in (grid.like, augmentation) if rho is not None}.values():
        compare_with_density(model, reference, str(reference.meta.get("source") or "the reference"), allow=allow)
    if len(structures) == 1 and not Path(structures[0]).is_dir():
        pairs = {Path(output): Path(structures[0])}
    else:
        pairs = _name_outputs(structures, Path(output), format)
    if augmentation is not None and strict and any(map(_is_cube, pairs)):
        raise UsageError(f"{next(iter(pairs))}: a cube has no room for augmentation occupancies: write a CHGCAR")

    def read_crystal(source: Path, target: Path) -> Crystal:
        """The crystal of a structure file, after its valence electrons were compared with those of the model."""
        crystal, own = read_structure_with_density(source)
        if own is not None:
            compare_with_density(model, own, str(source), allow=allow)
        if valences is not None:
            compare_valences(model, crystal, valences, "the POTCAR given", allow=allow)
        else:
            compare_with_potcars(model, crystal, (source, target), allow=allow)
        return crystal

    def predict_file(source: Path, target: Path) -> Density:
        crystal = read_crystal(source, target)
        rho = _predict_density(model, crystal, source.name, grid, symmetry, counter, functional, moments)
        rho = _add_augmentation(rho, augmentation, strict)
        write(target, rho)
        if read_calibration(model) is not None:
            rho = replace(rho, meta={**rho.meta, ESTIMATE: _describe_trust(model, rho, functional)})
        return rho

    def find_other_contents(source: Path, target: Path) -> str | None:
        crystal, point = read_crystal(source, target), np.zeros((1, 1, 1))
        due = _add_augmentation(Density(crystal, point, point if model.spin else None), augmentation, strict)
        name = name_model(model, functional, moments)
        return find_difference(target, name, crystal, grid(crystal), due.augmentation)

    return _predict_all(pairs, predict_file, find_other_contents)


def _is_cube(path: Path) -> bool:
    return not {".cube", ".cub"}.isdisjoint(path.suffixes)


def _add_augmentation(rho: Density, reference: Density | None, strict: bool) -> Density:
    """The density with the PAW occupancies of a reference, if there is one; unless strict, only if they belong to it.

    Raises UsageError if `strict` and they do not belong to its atoms and grids.
    """
    if reference is None or not (strict or has_augmentation_for(rho, reference)):
        return rho
    return copy_augmentation(rho, reference)


def _describe_trust(model: DensityModel, rho: Density, functional: str | None) -> str:
    """The expected error of a prediction, and why it is no start where that is known."""
    negative, unseen = measure_negative_share(rho.values), find_unseen_elements(model, rho.crystal)
    reasons = [f"{', '.join(unseen)} never seen in training"] if unseen else []
    reasons += [f"{100 * negative:.2g} % of the electrons negative"] if negative > MAX_NEGATIVE_SHARE else []
    estimate = estimate_error(model, rho.crystal, functional)
    if reasons:
        return f"do not restart from this ({'; '.join([*reasons, *filter(None, [estimate.unknown])])})"
    return str(estimate)


def _predict_all(
    pairs: Mapping[Path, Path],
    predict_file: Callable[[Path, Path], Density],
    find_other_contents: Callable[[Path, Path], str | None],
) -> PredictedFiles:
    """The report on calling predict_file(source, target) for all pairs of target and source.

    find_other_contents says what of a target that is there already is not as asked.
    """
    report = PredictedFiles()
    # an interrupt ends the work on a single structure at once; of several the current one is completed
    with stop_between_steps() if len(pairs) > 1 else nullcontext(lambda: False) as should_stop:
        for number, (target, source) in enumerate(pairs.items()):
            if should_stop():
                report.left = list(pairs.values())[number:]
                break
            try:
                if len(pairs) > 1 and target.exists():
                    if differs := find_other_contents(source, target):
                        raise UsageError(f"{target} is there already, {differs}: name another folder, or remove it")
                    report.present.append(target)
                    continue
                rho = predict_file(source, target)
            except (EcdError, ValueError) as error:
                if len(pairs) == 1:
                    raise
                report.failed[str(source)] = str(error)
                continue
            report.written[target] = ", ".join(filter(None, (repr(rho), rho.meta.get(ESTIMATE))))
            if rho.augmentation is None and not _is_cube(target):
                report.bare.append(target)
    return report


def _predict_density(
    model: DensityModel,
    crystal: Crystal,
    name: str,
    grid: GridRule,
    symmetry: bool,
    counter: Counter | None,
    functional: str | None,
    moments: ArrayLike | None,
) -> Density:
    """The density to write, with the name of its structure file in its meta.

    Raises EcdError if the number of its electrons is not positive.
    """
    shape = grid(crystal)
    points = shape[0] * shape[1] * shape[2]
    with counter(name, points) if counter else nullcontext() as advance:
        rho = predict(
            model, crystal, shape=shape, symmetry=symmetry, advance=advance, functional=functional, moments=moments
        )
    if not rho.nelect > 0:
        raise EcdError(f"{name}: {model.name} predicts {rho.nelect:.3g} electrons: {NO_DENSITY}")
    return replace(rho, meta={**rho.meta, "source": name})


def _name_outputs(structures: Sequence[str | Path], folder: Path, format: str) -> dict[Path, Path]:
    """The file to write in `folder` for each structure file, which is its value."""
    if format not in FORMATS or FORMATS[format].render is None:
        raise UsageError(f"{format!r} cannot be written: take chgcar or cube")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file: name a folder for the densities of several structures")
    pattern = "{}_CHGCAR" if format == "chgcar" else "{}.cube"
    pairs = {folder / pattern.format(id): source for id, source in structure_files(structures).items()}
    folder.mkdir(parents=True, exist_ok=True)
    return pairs
