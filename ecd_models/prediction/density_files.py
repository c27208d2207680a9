"""From structure files to density files: the grid by rule, one model for all, what is there already stays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from ecd_data.crystal import Crystal
from ecd_data.density import Density
from ecd_data.errors import EcdError, UsageError
from ecd_data.formats import FORMATS, write
from ecd_data.formats.structure import read_structure
from ecd_data.formats.structure_files import structure_files
from ecd_data.formats.vasp.augmentation import copy_augmentation, has_augmentation_for
from ecd_data.vasp_grid import vasp_fine_grid
from ecd_data.work.interrupts import stop_between_steps
from ecd_models.model import DensityModel
from ecd_models.prediction.predict import NO_DENSITY, predict
from ecd_models.prediction.reference_electrons import (
    Valences,
    compare_valences,
    compare_with_density,
    compare_with_neighbours,
)

Counter = Callable[[str, int], AbstractContextManager[Callable[[int], None] | None]]


@dataclass(frozen=True)
class GridRule:
    """The grid of a crystal: `shape`, that of the density `like`, or VASP's own for encut (eV) and prec."""

    shape: tuple[int, int, int] | None = None
    like: Density | None = None
    encut: float | None = None
    prec: str = "accurate"

    def __post_init__(self) -> None:
        if sum(given is not None for given in (self.shape, self.like, self.encut)) != 1:
            raise UsageError("give the grid by one of: --grid A B C, --like CHGCAR, --encut EV")

    def __call__(self, crystal: Crystal) -> tuple[int, int, int]:
        if self.encut is not None:
            return vasp_fine_grid(crystal.lattice, self.encut, self.prec)
        shape = self.shape if self.like is None else self.like.shape
        assert shape is not None
        return shape


@dataclass
class PredictedFiles:
    """What `predict_files` did: files written with what is in each, files there already, structure -> reason.

    bare: the CHGCARs among the written that have no augmentation occupancies. left: structures that an interrupt left.
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
) -> PredictedFiles:
    """What was done in predicting the density of every structure file into density files.

    One structure file: `output` is the file. Several, or a folder of them: `output` is a folder, where each density is
    `<name>_CHGCAR` (or `<name>.cube`); files that are there already are kept, so a second call continues, and a
    structure that cannot be read or predicted is named and the rest goes on. augmentation: a density of the same atoms
    whose PAW occupancies are written behind; without `strict`, only where it has them and the atoms are the same.
    `counter` makes a progress bar of a name and a number of points.
    The valence electrons that the model learned are compared with the density that the grid is like, with
    `augmentation`, with `valences` (those of a POTCAR, by element) or else with the POTCARs beside the structure and
    the file to write: a mismatch is refused unless allowed, see `predict`.
    Raises UsageError where no structure is found or two would have one name.
    """
    allow = allow_valence_mismatch
    for reference in {id(rho): rho for rho in (grid.like, augmentation) if rho is not None}.values():
        compare_with_density(model, reference, str(reference.meta.get("source") or "the reference"), allow=allow)
    if len(structures) == 1 and not Path(structures[0]).is_dir():
        pairs = {Path(output): Path(structures[0])}
    else:
        pairs = _outputs(structures, Path(output), format)
    report = PredictedFiles()
    # of one structure nothing is worth waiting for; of several the density under way is completed
    with stop_between_steps() if len(pairs) > 1 else nullcontext(lambda: False) as stopped:
        for number, (target, source) in enumerate(pairs.items()):
            if stopped():
                report.left = list(pairs.values())[number:]
                break
            if len(pairs) > 1 and target.exists():
                report.present.append(target)
                continue
            try:
                crystal = read_structure(source)
                if valences is not None:
                    compare_valences(model, crystal, valences, "the POTCAR given", allow=allow)
                else:
                    compare_with_neighbours(model, crystal, (source, target), allow=allow)
                rho = _predicted(model, crystal, source.name, grid, symmetry, counter)
                if augmentation is not None and (strict or has_augmentation_for(rho, augmentation)):
                    rho = copy_augmentation(rho, augmentation)
                write(target, rho)
            except (EcdError, ValueError) as error:
                if len(pairs) == 1:
                    raise
                report.failed[str(source)] = str(error)
                continue
            report.written[target] = repr(rho)
            if rho.augmentation is None and "cube" not in target.suffix:
                report.bare.append(target)
    return report


def _predicted(
    model: DensityModel,
    crystal: Crystal,
    name: str,
    grid: GridRule,
    symmetry: bool,
    counter: Counter | None,
) -> Density:
    """The density to write, named by its source; raises EcdError where it has no positive number of electrons."""
    shape = grid(crystal)
    points = shape[0] * shape[1] * shape[2]
    with counter(name, points) if counter else nullcontext() as advance:
        rho = predict(model, crystal, shape=shape, symmetry=symmetry, advance=advance)
    if not rho.nelect > 0:
        raise EcdError(f"{name}: {model.name} predicts {rho.nelect:.3g} electrons: {NO_DENSITY}")
    return replace(rho, meta={**rho.meta, "source": name})


def _outputs(structures: Sequence[str | Path], folder: Path, format: str) -> dict[Path, Path]:
    if format not in FORMATS or FORMATS[format].render is None:
        raise UsageError(f"{format!r} cannot be written: take chgcar or cube")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file: name a folder for the densities of several structures")
    pattern = "{}_CHGCAR" if format == "chgcar" else "{}.cube"
    pairs = {folder / pattern.format(id): source for id, source in structure_files(structures).items()}
    folder.mkdir(parents=True, exist_ok=True)
    return pairs
