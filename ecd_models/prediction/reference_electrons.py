"""What a prediction is compared with: the electrons of a reference density, of a POTCAR, of numbers given by hand."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from ecd_data.crystal import Crystal
from ecd_data.density import Density
from ecd_data.errors import FormatError, UsageError
from ecd_data.formats.run_files import find_run_file
from ecd_data.formats.vasp.potcar import parse_potcar_element, read_potcar
from ecd_data.io.compression import ENDINGS
from ecd_models.atoms.valences import find_core_treatment, is_same_electron_count
from ecd_models.model import DensityModel

log = logging.getLogger("ecd_models")

STRUCTURE_NAME = re.compile(r"poscar|contcar", re.IGNORECASE)
TOLERANCE = 0.01  # electrons per atom: ZVAL has three decimals
Valences = Mapping[str, frozenset[float]]


def compare_with_density(model: DensityModel, reference: Density, name: str, *, allow: bool = False) -> None:
    """Raises UsageError where a model's valences do not make the electrons of a reference density of its own atoms.

    What lay beside the reference's file (`read_run`) is compared element by element. With `allow` a mismatch is a
    warning; what cannot be compared is one as well.
    """
    learned = model.training_valences
    if learned is None:
        return  # said once by `predict`
    due = learned.electrons(reference.crystal)
    if due is None:
        missing = sorted(set(reference.crystal.symbols) - set(learned.valences))
        log.warning(
            "the electrons of %s cannot be compared: how many %s has is not recorded for %s",
            *(name, ", ".join(missing), model.name),
        )
    elif not is_same_electron_count(reference.nelect, due):
        parts = ", ".join(f"{s} {learned.valences[s]:g}" for s in reference.crystal.elements)
        _mismatch(
            model,
            f"{name} has {reference.nelect:.2f} electrons for {reference.crystal.formula}, where the valences that "
            f"{model.name} learned ({parts}) make {due:g}",
            allow,
        )
    settings = reference.meta.get("settings", {})
    titles, zval = settings.get("potcar") or (), settings.get("zval") or ()
    if len(titles) == len(zval) and titles:
        compare_valences(model, reference.crystal, _by_element(titles, zval), f"the POTCAR of {name}", allow=allow)
    method = find_core_treatment(reference)
    if {"", method} & {learned.method} == set() and method:
        log.warning("%s is a density of %s, %s learned those of %s", name, method, model.name, learned.made_by)


def compare_valences(model: DensityModel, crystal: Crystal, valences: Valences, name: str, *, allow: bool) -> None:
    """Raises UsageError where the valences in `name` are not those a model learned for the elements of a crystal.

    Raises it as well where `valences` lacks one of them. With `allow` a mismatch is a warning.
    """
    if missing := sorted(set(crystal.symbols) - set(valences)):
        raise UsageError(f"{name} has no valence of {', '.join(missing)}: give all elements of {crystal.formula}")
    if model.training_valences is None:
        return
    known = model.training_valences.valences
    differ = [
        f"{symbol} {' and '.join(f'{z:g}' for z in sorted(valences[symbol]))} instead of {known[symbol]:g}"
        for symbol in crystal.elements
        if symbol in known and any(abs(z - known[symbol]) > TOLERANCE for z in valences[symbol])
    ]
    if differ:
        _mismatch(model, f"{name} has other valence electrons than {model.name} learned: {', '.join(differ)}", allow)
    if untold := [symbol for symbol in crystal.elements if symbol not in known]:
        log.warning("the valences of %s in %s cannot be compared with %s", ", ".join(untold), name, model.name)


def valences_of_potcar(path: str | Path) -> Valences:
    """The valences by element in a POTCAR, several where it has several potentials of one; FormatError for others."""
    said = read_potcar(path)
    return _by_element(said["potcar"], said["zval"])


def compare_with_neighbours(model: DensityModel, crystal: Crystal, files: Iterable[Path], *, allow: bool) -> None:
    """Compare with the POTCARs beside these files; one of other elements or that cannot be read is told, not used."""
    for potcar in dict.fromkeys(filter(None, map(potcar_beside, files))):
        try:
            valences = valences_of_potcar(potcar)
        except FormatError as error:
            log.warning("not compared: %s", error)
            continue
        if set(crystal.symbols) <= set(valences):
            compare_valences(model, crystal, valences, str(potcar), allow=allow)
        else:
            log.warning("%s is of other elements than %s and was not compared", potcar, crystal.formula)


def potcar_beside(file: Path) -> Path | None:
    """The POTCAR that belongs to a structure or density file by its name, or stands in its folder; None without."""
    found = find_run_file(file.with_name(STRUCTURE_NAME.sub("CHGCAR", file.name)), "POTCAR")
    plain = (file.with_name("POTCAR" + ending) for ending in ("", *ENDINGS))
    return found or next((path for path in plain if path.is_file()), None)


def _by_element(titles: Iterable[str], zval: Iterable[float]) -> Valences:
    found: dict[str, frozenset[float]] = {}
    for title, count in zip(titles, zval, strict=True):
        symbol = parse_potcar_element(title)
        found[symbol] = found.get(symbol, frozenset()) | {float(count)}
    return found


def _mismatch(model: DensityModel, sentence: str, allow: bool) -> None:
    assert model.training_valences is not None
    if allow:
        log.warning("%s: the prediction is no density of these potentials", sentence)
        return
    raise UsageError(
        f"{sentence}; its training densities are of {model.training_valences.made_by}: take a model of the "
        "same potentials, or --allow-valence-mismatch (allow_valence_mismatch=True)"
    )
