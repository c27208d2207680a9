"""VASP's tags: those that are kept with a density, and the functional that they mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

GGA_NAMES = {
    "PE": "PBE", "PS": "PBEsol", "RP": "RPBE", "RE": "revPBE", "91": "PW91", "CA": "LDA", "AM": "AM05",
    "BF": "BEEF-vdW", "OR": "optPBE", "BO": "optB88", "MK": "optB86b", "ML": "rPW86", "B3": "B3LYP", "B5": "B3LYP",
}  # fmt: skip
LEXCH_NAMES = {"2": "LDA", "7": "PW91", "8": "PBE"}  # VASP's numbers for the functional of a POTCAR
META_NAMES = {"SCAN": "SCAN", "RSCAN": "rSCAN", "R2SCA": "r2SCAN", "TPSS": "TPSS", "RTPSS": "revTPSS", "M06L": "M06-L",
              "MBJ": "mBJ", "MS0": "MS0", "MS1": "MS1", "MS2": "MS2"}  # fmt: skip
UNSET_WORDS = ("", "--", "F", "T", ".FALSE.", ".TRUE.", "NONE")  # words that stand where a functional is not set
HSE06_SCREENING = (0.195, 0.2101)  # 0.2 and 0.207 Å^-1 are both in use
HSE03_SCREENING = (0.29, 0.31)  # around 0.3 Å^-1
FIRST_FROZEN_ICHARG = 10  # from this ICHARG on VASP keeps the density constant


def parse_logical(word: str) -> bool:
    """Whether a word means true in Fortran: T, .TRUE. and words that begin so."""
    return word.strip(". ").upper().startswith("T")


def parse_numbers(text: str) -> list[float]:
    """The numbers in a text such as "2*5.0 -1", as VASP repeats them in MAGMOM; raises ValueError for other texts."""
    numbers: list[float] = []
    for word in text.split():
        count, _, value = word.rpartition("*")
        numbers += [float(value)] * int(count or 1)
    return numbers


# Key in meta["settings"] -> the tag and the type of its value, for tags with the same name in OUTCAR and vasprun.xml.
TAGS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "prec": ("PREC", str),
    "istart": ("ISTART", int),
    "icharg": ("ICHARG", int),
    "ispin": ("ISPIN", int),
    "noncollinear": ("LNONCOLLINEAR", parse_logical),
    "spin_orbit": ("LSORBIT", parse_logical),
    "enaug_eV": ("ENAUG", float),
    "nelm": ("NELM", int),
    "ediff_eV": ("EDIFF", float),
    "nsw": ("NSW", int),
    "ismear": ("ISMEAR", int),
    "sigma_eV": ("SIGMA", float),
    "ialgo": ("IALGO", int),
    "nelect": ("NELECT", float),
    "gga": ("GGA", str),
    "lhfcalc": ("LHFCALC", parse_logical),
    "aexx": ("AEXX", float),
    "hfscreen": ("HFSCREEN", float),
    "nbands": ("NBANDS", int),
}
SPECIES_TAGS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "ldaul": ("LDAUL", int),
    "ldauu": ("LDAUU", float),
    "ldauj": ("LDAUJ", float),
}


def name_functional(settings: Mapping[str, Any]) -> str | None:
    """The usual name of the functional, with "+U" where LDA+U acts; None where the settings do not tell."""
    base = _name_base(settings)
    if base is None:
        return None
    return base + ("+U" if uses_u(settings) else "")


def _name_base(settings: Mapping[str, Any]) -> str | None:
    meta = str(settings.get("metagga") or "").upper()
    if meta not in UNSET_WORDS:
        base: str | None = next((name for tag, name in META_NAMES.items() if meta.startswith(tag)), meta)
    else:
        gga = str(settings.get("gga") or "").upper()
        base = LEXCH_NAMES.get(str(settings.get("lexch"))) if gga in UNSET_WORDS else GGA_NAMES.get(gga, gga)
    if not settings.get("lhfcalc"):
        return base
    return _name_hybrid(base, float(settings.get("aexx", 0.25)), abs(float(settings.get("hfscreen") or 0.0)))


def _name_hybrid(base: str | None, exchange: float, screening: float) -> str:
    if exchange == 1 and not screening:
        return "HF"
    if base == "B3LYP":
        return base
    if exchange == 0.25 and base in ("PBE", "PBEsol"):
        if HSE06_SCREENING[0] <= screening <= HSE06_SCREENING[1]:
            return "HSE06" if base == "PBE" else "HSEsol"
        if HSE03_SCREENING[0] <= screening <= HSE03_SCREENING[1] and base == "PBE":
            return "HSE03"
        if not screening:
            return "PBE0" if base == "PBE" else "PBEsol0"
    return f"{base or 'hybrid'}(AEXX={exchange:g}, HFSCREEN={screening:g})"


def uses_u(settings: Mapping[str, Any]) -> bool:
    """Whether LDA+U acts on at least one species; where its values are missing, whether it is switched on."""
    if not settings.get("ldau"):
        return False
    values = [*(settings.get("ldauu") or ()), *(settings.get("ldauj") or ())]
    return not values or any(values)


def is_hybrid(settings: Mapping[str, Any], functional: str | None) -> bool:
    """Whether the settings, or else the name of the functional, mean a hybrid functional."""
    return bool(settings.get("lhfcalc")) or str(functional or "").upper().startswith(("HSE", "PBE0"))


def valence_electrons(settings: Mapping[str, Any]) -> float | None:
    """The number of valence electrons, the sum of ZVAL over the ions; None where the settings do not tell."""
    zval, counts = settings.get("zval"), settings.get("counts")
    if not zval or not counts or len(zval) != len(counts):
        return None
    return float(sum(z * n for z, n in zip(zval, counts, strict=True)))
