"""The density that pw.x shall start from, predicted or read, and the order of its plane waves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecd_data.density import Density
from ecd_data.dft.espresso_output import OCCUPATIONS
from ecd_data.errors import UsageError
from ecd_data.formats import read_run
from ecd_data.formats.espresso_density import read_charge_density
from ecd_models.atoms.valences import find_core_treatment
from ecd_models.scf.bench import refuse_other_crystal
from ecd_models.scf.charge_density import Waves
from ecd_models.scf.doubts import doubt_prediction
from ecd_models.scf.espresso_doubts import doubt_run, refuse_large_charge
from ecd_models.scf.espresso_input import PwInput
from ecd_models.scf.espresso_pseudos import Pseudos, find_pseudopotentials
from ecd_models.scf.vasp_restart import find_origin
from ecd_models.scf.wave_order import find_grid, order_waves, take_order

if TYPE_CHECKING:
    from ecd_models.model import DensityModel

SAME_ELECTRONS = 1e-3  # electrons: a given number that differs by more contradicts the pseudopotentials
U_FILES = (Path(OCCUPATIONS).name, "Hubbard_m_order.txt")  # occupations of U, without which pw.x reads no density


@dataclass(frozen=True)
class PwRun:
    """A run of pw.x to start.

    input : its input.
    waves : its plane waves, in pw.x's order.
    electrons, electrons_from : how many it has, and what says so.
    pseudos : its pseudopotentials; None where they were not found.
    reference : a charge-density.dat that pw.x wrote for the same cell and cutoff, if there is one.
    occupations : the files with occupations of U that lie beside it, for a run with U.
    """

    input: PwInput
    waves: Waves
    electrons: float
    electrons_from: str
    pseudos: Pseudos | None = None
    reference: Path | None = None
    occupations: tuple[Path, ...] = ()

    @classmethod
    def read(
        cls, path: Path, *, pseudo: Path | None = None, reference: Path | None = None, nelect: float | None = None
    ) -> PwRun:
        """The run of an input.

        Parameters
        ----------
        path : the input.
        pseudo : the folder of its pseudopotentials, by default where pw.x looks for them.
        reference : a charge-density.dat that pw.x wrote for the same cell and cutoff.
        nelect : the electrons of the run, where its pseudopotentials are not at hand.

        Raises
        ------
        FormatError, UsageError : as in `PwInput.read`, `find_pseudopotentials` and `take_order`; or the electrons or
            the order of the plane waves are not known, or the grid of the input is too small.
        """
        run = PwInput.read(path)
        pseudos = find_pseudopotentials(run, pseudo)
        electrons, origin = _find_electrons(run, pseudos, nelect)
        waves = _find_waves(run, reference)
        found = cls(run, waves, electrons, origin, pseudos, reference, _find_occupations(run, reference))
        _ = found.shape  # refuses a grid that is too small
        return found

    @property
    def shape(self) -> tuple[int, int, int]:
        """The grid for a prediction: that of the input, else the smallest one that holds the plane waves."""
        given, due = self.input.grid, self.waves.smallest_shape
        if any(0 < n < least for n, least in zip(given, due, strict=True)):  # pw.x would leave waves out
            needed = "x".join(map(str, due))
            raise UsageError(
                f"{self.input.path} has too small a grid (nr1, nr2, nr3), since ecutrho needs {needed}: remove it"
            )
        a, b, c = (n or least for n, least in zip(given, find_grid(self.waves), strict=True))
        return a, b, c


@dataclass(frozen=True)
class StartDensity:
    """A density to start from.

    rho : the density.
    channels : the origin of each of its parts.
    source : the file or model that it comes from.
    warnings : what is known of it.
    doubts : reasons why the start may not pay.
    """

    rho: Density
    channels: dict[str, str | None]
    source: Mapping[str, Any]
    warnings: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


def read_start(run: PwRun, path: Path) -> StartDensity:
    """The density in a file, for a run.

    Raises
    ------
    UsageError : it is of another cell, of other atoms, or without the magnetization that the run needs.
    """
    if (path / "charge-density.dat").is_file():
        raise UsageError(f"{path} is a folder: give {path / 'charge-density.dat'}")
    rho = read_run(path)
    refuse_other_crystal(rho, run.input.crystal, str(path))
    warnings = []
    if (method := find_core_treatment(rho)) not in ("", "pseudopotentials"):
        warnings.append(f"{path} is a density of {method}, which differs from that of pseudopotentials near the nuclei")
    return _choose_magnetization(run, rho, {"file": str(path)}, str(path), warnings)


def predict_start(run: PwRun, model: DensityModel, *, allow: bool = False, show: bool = False) -> StartDensity:
    """The prediction of a model for a run, on a grid that holds its plane waves.

    Parameters
    ----------
    run : the run.
    model : the model.
    allow : whether training densities of another method or other valence electrons are a warning, not an error.
    show : whether a bar shows the progress.

    Raises
    ------
    UsageError : the model's training densities were not computed with pseudopotentials, or with other valence
        electrons than those of the run; the run has a large charge; or it has spin and nothing gives a magnetization.
    """
    from ecd_models.prediction.initial_moments import takes_moments
    from ecd_models.prediction.predict import Options, predict
    from ecd_models.prediction.reference_electrons import refuse_other_method
    from ecd_models.training.progress_display import show_point_count

    other = "a model of Quantum ESPRESSO's densities, such as fourier_density"
    use = "the start is of little use to pw.x"
    warnings = refuse_other_method(model, "pseudopotentials", "pw.x", other, use, allow=allow)
    refuse_large_charge(run.input, run.electrons)
    crystal, shape = run.input.crystal, run.shape
    options: Options = {"allow_valence_mismatch": allow}
    if run.pseudos is not None:
        options["valences"] = run.pseudos.valences(run.input)
    if takes_moments(model) and run.input.spin:
        options["moments"] = _list_moments(run)
    with show_point_count(run.input.path.name, shape[0] * shape[1] * shape[2], show) as advance:
        options["advance"] = advance
        rho = predict(model, crystal, shape=shape, **options)
    source = {"input": str(run.input.path), "model": model.name}
    start = _choose_magnetization(run, rho, source, model.name, warnings)
    doubts, _ = doubt_prediction(model, crystal, start.rho, spin=run.input.spin)
    return replace(start, doubts=(*doubts, *doubt_run(run.input, model)))


def _find_electrons(run: PwInput, pseudos: Pseudos | None, nelect: float | None) -> tuple[float, str]:
    """The number of electrons of the run, and where it comes from."""
    if pseudos is None:
        if nelect is None:
            files = ", ".join(run.geometry.species.values())
            raise UsageError(
                f"the pseudopotentials of {run.path} ({files}) are not where pw.x looks for them: name their folder"
                " (--pseudo), or give the electrons of the run (--nelect)"
            )
        return nelect, "given"
    found = pseudos.electrons(run)
    if nelect is not None and abs(nelect - found) > SAME_ELECTRONS:
        raise UsageError(f"the run of {run.path} has {found:g} electrons and not {nelect:g}: leave --nelect out")
    charge = f" with tot_charge = {run.total_charge:g}" if run.total_charge else ""
    return found, f"{pseudos.folder}{charge}"


def _find_waves(run: PwInput, reference: Path | None) -> Waves:
    """The plane waves of a run in pw.x's order."""
    options: Any = {"gamma_only": run.gamma_only, "components": 2 if run.spin else 1}
    if reference is not None:
        return take_order(reference, run.crystal, run.ecutrho, **options)
    waves = order_waves(run.crystal, run.ecutrho, **options, alat=run.geometry.alat)
    if waves is None:
        raise UsageError(
            f"{run.path} has a cell whose symmetry is broken in the last digits, so pw.x's order of plane waves cannot"
            " be known without it: write the cell with more digits, or give --reference"
            " PREFIX.save/charge-density.dat of a run of pw.x with the same cell and cutoff (electron_maxstep = 0 is"
            " enough)"
        )
    return waves


def _find_occupations(run: PwInput, reference: Path | None) -> tuple[Path, ...]:
    """The files with occupations of U beside the reference; none for a run without U."""
    if not run.has_hubbard:
        return ()
    beside = [] if reference is None else [reference.with_name(name) for name in U_FILES]
    if not any(path.name == U_FILES[0] and path.is_file() for path in beside):
        raise UsageError(
            f"{run.path} is a run with U, for which pw.x reads the occupations of U ({U_FILES[0]}) with the density"
            " and stops without them: give --reference PREFIX.save/charge-density.dat of a run with U of the same cell"
            f" and cutoff, beside which {U_FILES[0]} lies (electron_maxstep = 0 is enough)"
        )
    return tuple(path for path in beside if path.is_file())


def _list_moments(run: PwRun) -> list[float]:
    """The moment that each atom starts from, in Bohr magnetons."""
    if run.pseudos is None:
        raise UsageError("moments of atoms follow from their pseudopotentials: name the folder of these (--pseudo)")
    shares = run.input.starting_magnetizations
    return [shares[label] * run.pseudos.of_label[label].valence for label in run.input.geometry.labels]


def _choose_magnetization(
    run: PwRun, rho: Density, source: Mapping[str, Any], name: str, warnings: list[str]
) -> StartDensity:
    """The density with the magnetization that the run takes: its own, that of the reference, or none."""
    origin = find_origin(rho)
    channels: dict[str, str | None] = {"density": origin, "magnetization": None}
    if not run.input.spin:
        if rho.magnetization is not None:
            warnings = [*warnings, "the run has no nspin = 2: the magnetization of the density was left out"]
            rho = replace(rho, magnetization=None, augmentation=None)
        return StartDensity(rho, channels, source, tuple(warnings))
    if rho.magnetization is not None and rho.magnetization.ndim == 4:
        raise UsageError(f"{name} is non-collinear and the run is not: give a density of a collinear calculation")
    if rho.magnetization is not None:
        return StartDensity(rho, {**channels, "magnetization": origin}, source, tuple(warnings))
    grid = None
    if run.reference is not None:
        grid = read_charge_density(run.reference, find_grid(run.waves))[1]
    if grid is None:
        raise UsageError(
            f"{run.input.path} has nspin = 2 and {name} no magnetization, so pw.x would start without one: give"
            " --reference PREFIX.save/charge-density.dat of a run of pw.x with this input, whose magnetization is taken"
            " (electron_maxstep = 0 is enough, and gives that of superposed atoms), or start from superposed atoms"
        )
    magnetization = Density(run.input.crystal, grid).resample(rho.shape).values
    taken = replace(rho, magnetization=magnetization, augmentation=None)
    return StartDensity(taken, {**channels, "magnetization": "reference"}, source, tuple(warnings))
