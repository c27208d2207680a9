"""Comparison of a model's valence electrons with those of a reference density, a POTCAR or numbers by element."""

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
TOLERANCE = 0.01  # electrons per atom: ZVAL has three decimals in a POTCAR
Valences = Mapping[str, frozenset[float]]


def compare_with_density(model: DensityModel, reference: Density, name: str, *, allow: bool = False) -> None:
    """Compare the electrons of a reference density with the sum of the valences in the model's training data.

    If the reference has the valences of a POTCAR (`read_run` finds it), they are compared for each element as well.
    What cannot be compared is logged as a warning.

    Parameters
    ----------
    model : the model.
    reference : a density, whose own atoms are counted.
    name : its name in messages.
    allow : whether a mismatch is a warning instead of an error.

    Raises
    ------
    UsageError : the electrons differ.
    """
    learned = model.training_valences
    if learned is None:
        return  # `predict` warns of it
    due = learned.electrons(reference.crystal)
    if due is None:
        missing = sorted(set(reference.crystal.symbols) - set(learned.valences))
        log.warning(
            "the electrons of %s cannot be compared: how many %s has is not recorded for %s",
            *(name, ", ".join(missing), model.name),
        )
    elif not is_same_electron_count(reference.nelect, due):
        parts = ", ".join(f"{s} {learned.valences[s]:g}" for s in reference.crystal.elements)
        _report_mismatch(
            model,
            f"{name} has {reference.nelect:.2f} electrons for {reference.crystal.formula}, where the valences that "
            f"{model.name} learned ({parts}) make {due:g}",
            allow,
        )
    settings = reference.meta.get("settings", {})
    titles, zval = settings.get("potcar") or (), settings.get("zval") or ()
    if len(titles) == len(zval) and titles:
        compare_valences(
            model, reference.crystal, _group_by_element(titles, zval), f"the POTCAR of {name}", allow=allow
        )
    method = find_core_treatment(reference)
    if {"", method} & {learned.method} == set() and method:
        log.warning("%s is a density of %s, %s learned those of %s", name, method, model.name, learned.made_by)


def refuse_other_method(
    model: DensityModel, method: str, code: str, instead: str, use: str, *, allow: bool
) -> list[str]:
    """The warning that a model's training densities are of another method than a code's; none if they are of this one.

    Parameters
    ----------
    model : the model.
    method : the method of the code, "PAW" or "pseudopotentials".
    code : its name.
    instead : the model to take instead, in words.
    use : what the prediction is worth to the code, in words.
    allow : whether another method is a warning instead of an error.

    Raises
    ------
    UsageError : the method is another one.
    """
    learned = model.training_valences
    if learned is None or learned.method in ("", method):
        return []
    sentence = f"{model.name} learned densities of {learned.made_by}, which differ from {code}'s near the nuclei"
    if not allow:
        raise UsageError(f"{sentence}: take {instead}, or --allow-valence-mismatch (allow=True)")
    return [f"{sentence}: {use}"]


def compare_valences(model: DensityModel, crystal: Crystal, valences: Valences, name: str, *, allow: bool) -> None:
    """Compare valences with those in the model's training data, for the elements of a crystal.

    name: where the valences come from, in messages. allow: whether a mismatch is a warning instead of an error.

    Raises
    ------
    UsageError : a valence differs, or `valences` lacks an element of the crystal.
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
        _report_mismatch(
            model, f"{name} has other valence electrons than {model.name} learned: {', '.join(differ)}", allow
        )
    if unknown := [symbol for symbol in crystal.elements if symbol not in known]:
        log.warning("the valences of %s in %s cannot be compared with %s", ", ".join(unknown), name, model.name)


def read_potcar_valences(path: str | Path) -> Valences:
    """The valences by element in a POTCAR; an element may have several. Raises FormatError for other files."""
    record = read_potcar(path)
    return _group_by_element(record["potcar"], record["zval"])


def compare_with_potcars(model: DensityModel, crystal: Crystal, files: Iterable[Path], *, allow: bool) -> None:
    """Compare the valences of the POTCARs next to these files with those in the model's training data.

    A POTCAR that cannot be read or has other elements is logged and not compared.

    Raises
    ------
    UsageError : the valences differ, and `allow` is false.
    """
    for potcar in dict.fromkeys(filter(None, map(find_potcar, files))):
        try:
            valences = read_potcar_valences(potcar)
        except FormatError as error:
            log.warning("not compared: %s", error)
            continue
        if set(crystal.symbols) <= set(valences):
            compare_valences(model, crystal, valences, str(potcar), allow=allow)
        else:
            log.warning("%s is of other elements than %s and was not compared", potcar, crystal.formula)


def find_potcar(file: Path) -> Path | None:
    """The POTCAR whose name or folder says that it belongs to a structure or density file; None if there is none."""
    named = find_run_file(file.with_name(STRUCTURE_NAME.sub("CHGCAR", file.name)), "POTCAR")
    unnamed = (file.with_name("POTCAR" + ending) for ending in ("", *ENDINGS))
    return named or next((path for path in unnamed if path.is_file()), None)


def _group_by_element(titles: Iterable[str], zval: Iterable[float]) -> Valences:
    found: dict[str, frozenset[float]] = {}
    for title, count in zip(titles, zval, strict=True):
        symbol = parse_potcar_element(title)
        found[symbol] = found.get(symbol, frozenset()) | {float(count)}
    return found


def _report_mismatch(model: DensityModel, sentence: str, allow: bool) -> None:
    assert model.training_valences is not None
    if allow:
        log.warning("%s: the prediction is no density of these potentials", sentence)
        return
    raise UsageError(
        f"{sentence}; its training densities are of {model.training_valences.made_by}: take a model of the "
        "same potentials, or --allow-valence-mismatch (allow_valence_mismatch=True)"
    )
