"""The computation of densities with Quantum ESPRESSO or GPAW: from crystals straight into a store."""

from ecd_data.dft.engines import setup
from ecd_data.dft.flow import RunReport, run
from ecd_data.dft.gpaw_setups import GpawReport
from ecd_data.dft.pseudopotentials import SetupReport
from ecd_data.dft.relaxation import RelaxReport, relax
from ecd_data.dft.settings import make_jobs

__all__ = ["GpawReport", "RelaxReport", "RunReport", "SetupReport", "make_jobs", "relax", "run", "setup"]
