"""Checks of the run that computed a density, and of what the reader of its file guessed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ecd_data.checks.report import FLAGS, Report, flag
from ecd_data.density import Density
from ecd_data.formats.vasp.settings import FIRST_FROZEN_ICHARG, is_hybrid, uses_u


def check_guesses(rho: Density) -> Iterator[Report]:
    """A flag for each entry of meta["guesses"] {flag: sentence}."""
    for name, sentence in rho.meta.get("guesses", {}).items():
        if name in FLAGS:
            yield flag(name, sentence)


RELEASE_ENCUT, RELEASE_EDIFF = 520.0, 1e-4  # eV: the settings of the ECD release


def check_run(rho: Density) -> Iterator[Report]:
    """Flags from meta["settings"] and meta["provenance"]."""
    settings, run = rho.meta.get("settings", {}), rho.meta.get("provenance", {})
    if run.get("frozen_density"):
        yield flag("frozen-density", _explain_frozen(settings))
    if is_hybrid(settings, rho.meta.get("functional")) and uses_u(settings):
        yield flag("hse-with-u", f"U = {settings.get('ldauu')} eV")
    if run.get("finished") is False:
        yield flag("unfinished")
    elif run.get("converged") is False:
        yield flag("not-converged")
    if run.get("ionic_steps", 0) > 1:
        yield flag("relaxation", f"{run['ionic_steps']} ionic steps")
    if run.get("engine") == "VASP" and (other := _list_other_settings(settings)):
        yield flag("other-settings", "; ".join(other))
    if run.get("not_used"):
        yield flag("run-not-used", "; ".join(map(str, run["not_used"].values())))


def _explain_frozen(settings: Mapping[str, Any]) -> str:
    icharg = settings.get("icharg", 0)
    if icharg >= FIRST_FROZEN_ICHARG:
        return f"with ICHARG = {icharg} it is the density that the run started from"
    return "the OUTCAR says: charge density and potential remain constant during run"


def _list_other_settings(settings: Mapping[str, Any]) -> list[str]:
    others = []
    encut, ediff, prec = settings.get("encut_eV"), settings.get("ediff_eV"), str(settings.get("prec", "a")).lower()
    if encut is not None and encut != RELEASE_ENCUT:
        others.append(f"ENCUT {encut:g} eV, not {RELEASE_ENCUT:g}")
    if not prec.startswith("a"):
        others.append(f"PREC {prec}, not accurate")
    if ediff is not None and ediff > RELEASE_EDIFF * 1.001:
        others.append(f"EDIFF {ediff:g} eV, above {RELEASE_EDIFF:g}")
    return others
