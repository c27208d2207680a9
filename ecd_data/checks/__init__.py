"""Checks of a density: problems make it unfit for the benchmark, flags are facts. docs/checks.md lists their names."""

from __future__ import annotations

from ecd_data.arguments import describe_value
from ecd_data.checks.geometry import check_atoms, check_grid
from ecd_data.checks.pairs import check_pair
from ecd_data.checks.report import FLAGS, PROBLEMS, Finding, Report, combine_reports, problem
from ecd_data.checks.run import check_guesses, check_run
from ecd_data.checks.values import check_values, is_finite
from ecd_data.density import Density
from ecd_data.errors import UsageError

__all__ = ["FLAGS", "PROBLEMS", "Finding", "Report", "check", "check_pair"]


def check(rho: Density) -> Report:
    """The Report on a density, from its numbers and from the settings of the run in its meta.

    The electron count is compared with meta["nelect"], NELECT and the valences, or else with whole numbers and the
    nuclear charge. The grid is compared with that of the run, or else with ENCUT and PREC, or else with the cell. The
    moment is compared with that of the run. Further checks concern negative charge, augmentation occupancies, distances
    of atoms, convergence, frozen densities, LDA+U with hybrids, the settings of the release, and what the reader of the
    file had to guess.
    """
    if not isinstance(rho, Density):
        raise UsageError(f"check wants a Density, as read(path) gives it, not {describe_value(rho)}")
    if not is_finite(rho):
        return problem("not-finite", "values that are not finite")
    reports = (*check_guesses(rho), *check_values(rho), *check_atoms(rho), *check_grid(rho), *check_run(rho))
    return combine_reports(reports)
