"""The engines by name, as they are found on this machine."""

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
    """What is needed for `run`, ready to use: the engine found and its pseudopotentials in place.

    engine: "espresso" or "gpaw". pwx: the program, else $ECD_PWX, else pw.x on the PATH; GPAW is the one of the
    interpreter $ECD_GPAW_PYTHON, else of this one. pseudo: a folder of <symbol>.upf, else the cache ($ECD_CACHE,
    $XDG_CACHE_HOME/ecd or ~/.cache/ecd), into which the set is fetched with pip the first time (76 MB); for GPAW a
    folder of <symbol>.PBE.gz, else where it searches. Raises MissingDependencyError without the engine or with one that
    is too old, EcdError when the set cannot be fetched, UsageError for another engine.
    """
    if engine not in ENGINES:
        raise UsageError(f"there is no engine {engine!r}: take {' or '.join(ENGINES)}")
    if engine == "espresso":
        return pseudopotentials.setup(pwx, pseudo)
    if pwx is not None:
        raise UsageError(
            "pw.x is of Quantum ESPRESSO: leave it out with gpaw, or name GPAW's Python with $ECD_GPAW_PYTHON"
        )
    return find_gpaw(setups=pseudo)


def ready(
    engine: Engine | str | None = None, pwx: str | Path | None = None, pseudo: str | Path | None = None
) -> Engine:
    """The engine itself, or the one of that name as `setup` finds it; Quantum ESPRESSO where none is named."""
    if engine is not None and not isinstance(engine, str):
        return engine
    found = setup(pwx, pseudo, engine or "espresso")
    if isinstance(found, GpawReport):
        return Gpaw(found.python, found.folders)
    return Espresso(found.pwx, found.pseudo, found.version)
