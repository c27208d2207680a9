"""One verdict a density: what is wrong with it and what is only worth knowing. docs/checks.md lists the names."""

from __future__ import annotations

from ecd_data.arguments import shown
from ecd_data.checks.crystal import check_atoms
from ecd_data.checks.grid import check_grid
from ecd_data.checks.guesses import check_guesses
from ecd_data.checks.pairs import check_pair
from ecd_data.checks.report import FLAGS, PROBLEMS, Finding, Report, combined, problem
from ecd_data.checks.run import check_run
from ecd_data.checks.values import check_values, is_finite
from ecd_data.density import Density
from ecd_data.errors import UsageError

__all__ = ["FLAGS", "PROBLEMS", "Finding", "Report", "check", "check_pair"]


def check(rho: Density) -> Report:
    """The Report on a density, from its numbers and from what its meta says of the run.

    Compared are: the electron count with meta["nelect"], NELECT and the valences (else with whole numbers and what the
    nuclei hold), the grid with the one that the run states (else ENCUT and PREC, else the cell), the moment with the
    run's; looked at are negative charge, augmentation, distances of atoms, convergence, frozen densities, LDA+U with
    hybrids, the release's settings, and what the reader had to guess.
    """
    if not isinstance(rho, Density):
        raise UsageError(f"check wants a Density, as read(path) gives it, not {shown(rho)}")
    if not is_finite(rho):
        return problem("not-finite", "values that are not finite")
    found = (*check_guesses(rho), *check_values(rho), *check_atoms(rho), *check_grid(rho), *check_run(rho))
    return combined(found)
