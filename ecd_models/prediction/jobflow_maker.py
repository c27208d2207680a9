"""A jobflow Maker: a job that predicts the density of a structure and writes it as a CHGCAR, for workflows of VASP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecd_data.errors import MissingDependencyError, UsageError
from ecd_data.formats import read_run, write
from ecd_data.formats.vasp.occupancies import copy_augmentation
from ecd_models.checkpoint import DEFAULT, load_model
from ecd_models.prediction.density_files import GridRule
from ecd_models.prediction.predict import as_crystal, predict
from ecd_models.prediction.reference_electrons import compare_with_density

try:
    from jobflow import Maker, job
except ImportError as error:
    raise MissingDependencyError("the Maker needs jobflow: pip install 'ecd-data[jobflow]' installs it") from error


@dataclass
class PredictDensityMaker(Maker):
    """A Maker whose job predicts a density and writes it into the folder in which the job runs.

    The job's output is a dict: "file" (the path of the file), "model", "formula", "electrons", "shape", and
    "augmentation", which says whether the file has the PAW occupancies that a start of VASP with ICHARG = 1 needs.

    Parameters
    ----------
    name : of the job.
    model : the name or the file of a model, as `load_model` takes it; the default is that of `load_model`.
    encut, prec : VASP's cutoff in eV and precision, which decide the grid; or
    shape : the grid [a, b, c].
    file : the name of the file to write; it decides the format, as in `ecd_data.write`.
    augmentation : a CHGCAR of the same atoms whose PAW occupancies are written behind the density. Its electrons are
        compared with those that the model learned.
    valences : the electrons of each element (ZVAL of the POTCARs), compared with those that the model learned.
    """

    name: str = "predict density"
    model: str = DEFAULT
    encut: float | None = None
    shape: tuple[int, int, int] | None = None
    prec: str = "accurate"
    file: str = "CHGCAR"
    augmentation: str | None = None
    valences: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        if (self.encut is None) == (self.shape is None):
            raise UsageError("give the grid by one of encut=EV, the cutoff of the run, and shape=(a, b, c)")
        if Path(self.file).name != self.file:
            raise UsageError(f"{self.file} is a path: the job writes into the folder where it runs, so give a name")

    @job
    def make(self, structure: Any) -> dict[str, Any]:
        """The job for a pymatgen Structure or an ASE Atoms.

        Raises
        ------
        UsageError : when the job runs, where no density can be predicted, or the model learned other valences.
        """
        crystal = as_crystal(structure)
        network = load_model(self.model)
        shape = None if self.shape is None else tuple(self.shape)  # a list, after jobflow has stored the Maker
        grid = GridRule(shape=shape, encut=self.encut, prec=self.prec)(crystal)  # type: ignore[arg-type]
        rho = predict(network, structure, shape=grid, valences=self.valences)  # with the moments of the structure
        if self.augmentation is not None:
            reference = read_run(self.augmentation)
            compare_with_density(network, reference, str(self.augmentation))
            rho = copy_augmentation(rho, reference)
        write(self.file, rho)
        return {
            "file": str(Path(self.file).resolve()),
            "model": self.model,
            "formula": rho.crystal.formula,
            "electrons": rho.nelect,
            "shape": list(rho.shape),
            "augmentation": rho.augmentation is not None,
        }
