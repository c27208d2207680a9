"""What the name of a file says it holds: a density, another quantity in the same syntax, or what was made from one."""

from __future__ import annotations

import itertools
import os
import re

from ecd_data.errors import FormatError
from ecd_data.io.compression import ENDINGS

PREDICTED_BY = "predicted by"  # how the comment of a density begins that a model made

POTENTIAL, LOCALIZATION = "a potential in eV", "the electron localization function, between 0 and 1"
KINETIC, ORBITAL = "the kinetic energy density", "an orbital"
VASP_NAMES = {"locpot": POTENTIAL, "elfcar": LOCALIZATION, "taucar": KINETIC}  # anywhere in a name, as CHGCAR is
WORDS = {  # alone between dots, dashes and underscores, in a name that does not say density as well
    **dict.fromkeys(("pot", "potential", "esp", "vhar", "vhartree", "vtot", "vxc", "vcoul"), "a potential"),
    **dict.fromkeys(("lvhar", "lvtot"), POTENTIAL),
    "elf": LOCALIZATION,
    "tau": KINETIC,
    **dict.fromkeys(("wfn", "homo", "lumo", "orbital", "wavefunction"), ORBITAL),
}
CLASSES = {b"Locpot": POTENTIAL, b"Elfcar": LOCALIZATION}  # of pymatgen, in its JSON
CLASS = re.compile(rb'"@class"\s*:\s*"(Locpot|Elfcar)"')
SAYS_DENSITY = re.compile(r"chgcar|aeccar|parchg|density|charge|rho|(?<![a-z])chg(?![a-z])", re.IGNORECASE)

SEPARATORS = re.compile(r"[\s._:()-]+")
NAMES = re.compile(r"chgcar|(?<![a-z])chg(?![a-z])", re.IGNORECASE)
STEPS = frozenset(("sum", "diff", "mag", "tot", "avg"))  # what scripts make of densities: before or behind CHGCAR
DERIVED = STEPS | {"difference", "delta", "magnetization", "total", "average", "mean", "up", "down", "dn", "ref"}
DERIVED |= {"reference"}
PREDICTED = frozenset(("predicted", "prediction", "predictions", "pred"))
PART = re.compile(r"parchg|aeccar[012]", re.IGNORECASE)  # densities, but not the valence density of a crystal
FIELD = re.compile(
    r"spin[_-]?(?:density|dens|den)(?![a-z])|(?:diff|difference|delta)[_-]?(?:rho|density|charge)(?![a-z])"
    r"|(?:rho|density|charge|chg)[_-]?diff(?:erence)?(?![a-z])",
    re.IGNORECASE,
)

CHGCAR = re.compile(r"chgcar", re.IGNORECASE)
CHG = re.compile(r"(?:.*[._-])?chg(?:[._-].*)?", re.IGNORECASE)
DROPPED = (*ENDINGS, ".tar", ".tgz", ".vasp", ".chg", ".aeccar0", ".aeccar1", ".aeccar2")
DROPPED += (".cube", ".cub", ".xsf", ".json", ".hdf5", ".h5", ".gpw", ".dat")
ARCHIVE = re.compile(r"\.(tar(\.(gz|xz|bz2|zst))?|tgz)$", re.IGNORECASE)
OTHER = re.compile(  # of VASP, in a folder that is searched: no density, or only a part of one
    r"(?:.*[._-])?(OUTCAR|POTCAR|INCAR|KPOINTS|POSCAR|CONTCAR|XDATCAR|WAVECAR|OSZICAR|EIGENVAL|DOSCAR|PROCAR|IBZKPT|PCDAT"
    r"|REPORT|LOCPOT|ELFCAR|PARCHG|AECCAR[012]|vasprun\.xml)(?:[._-].*)?",
    re.IGNORECASE,
)


def other_quantity(path: str, head: bytes = b"") -> str | None:
    """What a file holds instead of a density by its name, or by the mark in its first bytes; None for a density."""
    if found := CLASS.search(head):
        return CLASSES[found[1]]
    name = base_name(path).lower()
    for word, quantity in VASP_NAMES.items():
        if word in name:
            return quantity
    if SAYS_DENSITY.search(name):
        return None
    words = _words(name)
    joined = [first + second for first, second in itertools.pairwise(words)]  # v_hartree
    return next((WORDS[word] for word in (*words, *joined) if word in WORDS), None)


def refuse_other_quantity(path: str, head: bytes = b"") -> None:
    """Raises FormatError where a file is, by its name or mark, another quantity than a density."""
    if quantity := other_quantity(path, head):
        by = "its content" if CLASS.search(head) else "its name"
        raise FormatError(
            f"{path} is by {by} {quantity}, not a density: give the density of the run (CHGCAR), or rename the file if"
            " it is one"
        )


def is_derived(path: str) -> bool:
    """Whether a file is, by its name, made of densities or a part of one: CHGCAR_sum, CHGCAR_diff, PARCHG."""
    name = _bare(base_name(path))
    if PART.search(name) or FIELD.search(name):
        return True
    found = NAMES.search(name)
    if found is None:
        return False
    before, behind = _words(name[: found.start()]), _words(name[found.end() :])
    return bool(DERIVED & {*behind, *(before if len(before) == 1 else ())} or STEPS & {*before[-1:]})


def is_part(path: str) -> bool:
    """Whether a file is, by its name, a part of a run's density or one with core electrons: PARCHG, AECCAR0."""
    return PART.search(_bare(base_name(path))) is not None


def is_predicted(path: str, head: bytes = b"") -> bool:
    """Whether a file is a model's prediction, by its name or by the comment in its first (uncompressed) bytes."""
    return head.lstrip().startswith(PREDICTED_BY.encode()) or not PREDICTED.isdisjoint(_words(_bare(base_name(path))))


def names_no_crystal(name: str) -> bool:
    """Whether what is left of a file's name says how it was made rather than of what: "sum", "predicted", "PARCHG"."""
    words = _words(name)
    return bool(words) and (set(words) <= DERIVED | PREDICTED or PART.match(name) is not None)


def base_name(path: str) -> str:
    """The last part of a path, of an archive's member where `::` names one."""
    return os.path.basename(path.rpartition("::")[2] if not os.path.exists(path) else path)


def _bare(name: str) -> str:
    while name.lower().endswith(ENDINGS):
        name = name[: name.rfind(".")]
    return name


def _words(name: str) -> list[str]:
    """The words of a name in lower case, without the digits behind them."""
    words = (word.rstrip("0123456789") for word in SEPARATORS.split(name.lower()))
    return [word for word in words if word]
