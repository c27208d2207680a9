"""What of a run of pw.x makes a model's prediction a bad start for it: its charge, functional and cutoff."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ecd_data.dft.settings import default_settings
from ecd_data.errors import UsageError
from ecd_models.scf.electrons import MAX_ELECTRON_ERROR
from ecd_models.scf.espresso_input import PwInput

if TYPE_CHECKING:
    from ecd_models.model import DensityModel

# of the cutoff of the sample's densities (`default_settings`), which trained the models: CaF2 took more steps from a
# prediction than from superposed atoms with 0.3 and 0.48 of it, and fewer with 0.71 (docs/scf.md)
LOW_CUTOFF = 0.6


def refuse_large_charge(run: PwInput, electrons: float) -> None:
    """Raises UsageError if a run has so large a charge that no prediction, which is of a neutral cell, is near it."""
    if abs(run.total_charge) > MAX_ELECTRON_ERROR * electrons:
        raise UsageError(
            f"{run.path} has tot_charge = {run.total_charge:g} with {electrons:g} electrons, and models predict neutral"
            " cells: start from superposed atoms, or from a density of a charged run (--density)"
        )


def doubt_run(run: PwInput, model: DensityModel) -> list[str]:
    """The reasons why a prediction of a model may not pay in a run; empty where there is none."""
    doubts = []
    if run.total_charge:
        doubts.append(f"the run has tot_charge = {run.total_charge:g}, and models predict neutral cells")
    learned = model.training_valences.functional if model.training_valences is not None else ""
    functional = run.functional
    if learned and functional and functional.upper() != learned.upper():
        doubts.append(f"the run has input_dft = '{functional}', and {model.name} learned densities of {learned}")
    usual = 4 * default_settings(run.crystal, "pbe").ecutwfc
    if run.ecutrho < LOW_CUTOFF * usual:
        doubts.append(
            f"ecutrho is {run.ecutrho:g} Ry, and the densities that train the models have {usual:g} Ry for these"
            " elements"
        )
    return doubts
