"""Densities of one's own: Quantum ESPRESSO set up and run over crystals, straight into a store."""

from ecd_data.dft.flow import RunReport, run
from ecd_data.dft.pseudopotentials import SetupReport, setup
from ecd_data.dft.relaxation import RelaxReport, relax
from ecd_data.dft.settings import make_jobs

__all__ = ["RelaxReport", "RunReport", "SetupReport", "make_jobs", "relax", "run", "setup"]
