"""The density that VASP shall start from, predicted or read, on the grid that the run will take."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecd_data.crystal import Crystal
from ecd_data.density import Density
from ecd_data.errors import FormatError, UsageError
from ecd_data.formats import read_run
from ecd_data.formats.structure import read_structure
from ecd_data.vasp_grid import Shape, vasp_fine_grid
from ecd_models.scf.incar import is_noncollinear, read_incar, read_magmom
from ecd_models.scf.vasp_restart import Potentials, Restart, write_restart

if TYPE_CHECKING:
    from ecd_models.model import DensityModel

DEFAULT_PREC = "normal"  # of VASP


@dataclass(frozen=True)
class RunFiles:
    """The files of the run to start, each of which may be missing: POTCAR, tags of the INCAR, reference density."""

    potentials: Potentials | None = None
    incar: Mapping[str, Any] | None = None
    reference: Density | None = None

    @classmethod
    def read(cls, potcar: Path | None, incar: Path | None, reference: Path | None) -> RunFiles:
        """The content of the files of a run. Raises FormatError if one cannot be read."""
        return cls(
            None if potcar is None else Potentials.read(potcar),
            None if incar is None else read_incar(incar),
            None if reference is None else _read_density(reference),
        )

    def write(
        self, rho: Density, folder: Path, *, nelect: float | None = None, source: Mapping[str, Any] | None = None
    ) -> Restart:
        """Write the folder for VASP, see `write_restart`; a density with PAW occupancies is its own reference.

        source : where the density comes from; its "warnings" are added to those of the restart.
        """
        own = rho if rho.augmentation is not None else None
        origin = dict(source or {})
        warnings = origin.pop("warnings", [])
        return write_restart(
            rho,
            folder,
            potentials=self.potentials,
            reference=self.reference or own,
            incar=self.incar,
            nelect=nelect,
            source=origin,
            warnings=warnings,
        )


@dataclass(frozen=True)
class VaspGrid:
    """The rule for VASP's grid: `shape`, or its fine grid for encut (eV) and prec, by default those of the INCAR."""

    shape: Shape | None = None
    encut: float | None = None
    prec: str | None = None

    def __call__(self, crystal: Crystal, files: RunFiles) -> Shape | None:
        """The grid for a crystal; None if neither the rule nor the INCAR nor the reference determines it."""
        tags = files.incar or {}
        if self.shape is not None:
            return self.shape
        numbers = [tags.get(name) for name in ("NGXF", "NGYF", "NGZF")]
        if self.encut is None and all(numbers):
            a, b, c = (int(str(n)) for n in numbers)
            return a, b, c
        encut = self.encut if self.encut is not None else tags.get("ENCUT")
        if encut is not None:
            prec = self.prec or str(tags.get("PREC", DEFAULT_PREC))
            return vasp_fine_grid(crystal.lattice, float(encut), prec, tags.get("ENAUG"))
        return None if files.reference is None else files.reference.shape


def find_start_density(
    start: Path,
    files: RunFiles,
    grid: VaspGrid,
    model: DensityModel | None = None,
    *,
    allow: bool = False,
    show: bool = False,
) -> tuple[Density, dict[str, Any]]:
    """The density for a run, and where it comes from.

    Parameters
    ----------
    start : with a model a structure file, whose density it predicts; else a density file, which is resampled if the run
        takes another grid.
    files : the files of the run.
    grid : the rule for the grid.
    model : the model, if a density is to be predicted.
    allow : whether other training densities than those of the run are a warning instead of an error.
    show : whether a bar shows the progress.

    Raises
    ------
    UsageError : the grid of a prediction is not known; or the model's training densities were not computed with PAW, or
        with other valence electrons than the POTCAR or the reference has.
    """
    if model is not None:
        return _predict_density(start, files, grid, model, allow, show)
    rho = _read_start(start)
    shape = grid(rho.crystal, files)
    occupancies = rho.augmentation
    if shape is not None and shape != rho.shape:
        rho = replace(rho.resample(shape), augmentation=occupancies)  # these belong to the atoms, not to the grid
    return rho, {"file": str(start)}


def _predict_density(
    start: Path, files: RunFiles, grid: VaspGrid, model: DensityModel, allow: bool, show: bool
) -> tuple[Density, dict[str, Any]]:
    from ecd_models.prediction.initial_moments import takes_moments
    from ecd_models.prediction.predict import Options, predict
    from ecd_models.prediction.reference_electrons import compare_with_density, refuse_other_method
    from ecd_models.training.progress_display import show_point_count

    use = "the restart is of no use to VASP, except as a rehearsal"
    wrong = refuse_other_method(model, "PAW", "VASP", "a model of VASP's densities, such as ecd-pbe", use, allow=allow)
    warnings = [*wrong, *_find_lost_flags(start)]
    crystal = read_structure(start)
    shape = grid(crystal, files)
    if shape is None:
        raise UsageError(
            "the grid of the run is not known: give its ENCUT (--encut), its INCAR with ENCUT, a reference CHGCAR, or"
            " --grid A B C"
        )
    if files.reference is not None:
        compare_with_density(model, files.reference, str(files.reference.meta["source"]), allow=allow)
    valences = _list_valences(files.potentials)
    points = shape[0] * shape[1] * shape[2]
    moments = _read_moments(files.incar or {}) if takes_moments(model) else None
    options: Options = {"valences": valences, "allow_valence_mismatch": allow, "moments": moments}
    with show_point_count(start.name, points, show) as advance:
        options["advance"] = advance
        rho = predict(model, crystal, shape=shape, **options)
    return rho, {"structure": str(start), "model": model.name, "warnings": warnings}


def _read_moments(tags: Mapping[str, Any]) -> list[float] | None:
    """MAGMOM of a collinear run, which chooses the magnetic state of the prediction; None without it."""
    return None if is_noncollinear(tags) else read_magmom(tags) or None


def _find_lost_flags(structure: Path) -> list[str]:
    """A warning if a POSCAR has selective dynamics, whose flags the one of the restart has not."""
    lines = [line.lower() for line in _read_lines(structure)[6:8]]  # that behind the numbers of atoms is meant
    if not any(line.startswith("s") and not any(map(str.isdigit, line)) for line in lines):
        return []
    return [f"{structure} has selective dynamics, and POSCAR here has no T and F: copy them, or all atoms move"]


def _read_lines(file: Path) -> list[str]:
    """The first lines of a text without spaces around them; none of a compressed file."""
    try:
        with open(file, encoding="utf-8") as lines:
            return [line.strip() for line in islice(lines, 9)]
    except UnicodeDecodeError:
        return []


def _list_valences(potentials: Potentials | None) -> dict[str, float] | None:
    from ecd_data.formats.vasp.potcar import parse_potcar_element

    if potentials is None:
        return None
    return {parse_potcar_element(t): z for t, z in zip(potentials.titles, potentials.zval, strict=True)}


def _read_start(path: Path) -> Density:
    """The density in a file; raises UsageError if the file is a structure, whose density a model must predict."""
    try:
        return _read_density(path)
    except FormatError:
        with suppress(FormatError):
            read_structure(path)
            raise UsageError(f"{path} is a structure: name a model that predicts its density (-m)") from None
        raise


def _read_density(path: Path) -> Density:
    """The density in a file, with the data of the run files next to it and the file's name in its meta."""
    rho = read_run(path)
    return replace(rho, meta={**rho.meta, "source": str(path)})
