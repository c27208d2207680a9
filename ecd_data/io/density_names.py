"""What the name of a file says about its content: a density, another quantity, or something derived from densities."""

from __future__ import annotations

import itertools
import os
import re

from ecd_data.errors import FormatError
from ecd_data.io.compression import ENDINGS, strip_endings

PREDICTED_BY = "predicted by"  # the first words of the comment in a density file that a model made
DERIVED_COMMENTS = ("difference: ", "sum: ", "multiple: ")  # the first words of one that was computed from densities

POTENTIAL, LOCALIZATION = "a potential in eV", "the electron localization function, between 0 and 1"
KINETIC, ORBITAL = "the kinetic energy density", "an orbital"
VASP_NAMES = {"locpot": POTENTIAL, "elfcar": LOCALIZATION, "taucar": KINETIC}  # anywhere in a name, like CHGCAR
QUANTITY_WORDS = {  # between dots, dashes and underscores, in a name without a word for density
    **dict.fromkeys(("pot", "potential", "esp", "vhar", "vhartree", "vtot", "vxc", "vcoul"), "a potential"),
    **dict.fromkeys(("lvhar", "lvtot"), POTENTIAL),
    "elf": LOCALIZATION,
    "tau": KINETIC,
    **dict.fromkeys(("wfn", "homo", "lumo", "orbital", "wavefunction"), ORBITAL),
}
PYMATGEN_CLASSES = {b"Locpot": POTENTIAL, b"Elfcar": LOCALIZATION}  # "@class" in pymatgen's JSON
PYMATGEN_CLASS = re.compile(rb'"@class"\s*:\s*"(Locpot|Elfcar)"')
# Not within "orthorhombic", "rhodium" or "discharged"
SAYS_DENSITY = re.compile(r"chgcar|aeccar|parchg|density|(?<![a-z])(?:charge|rho|chg)(?![a-z])", re.IGNORECASE)

SEPARATORS = re.compile(r"[\s._:()-]+")
DENSITY_WORD = re.compile(r"chgcar|(?<![a-z])chg(?![a-z])", re.IGNORECASE)
SCRIPT_WORDS = frozenset(("sum", "diff", "mag", "tot", "avg"))  # of names that scripts give, before or after CHGCAR
DERIVED_WORDS = SCRIPT_WORDS | {"difference", "delta", "magnetization", "total", "average", "mean", "up", "down", "dn"}
DERIVED_WORDS |= {"ref", "reference"}
PREDICTED_WORDS = frozenset(("predicted", "prediction", "predictions", "pred"))
PARTIAL_DENSITY = re.compile(r"parchg|aeccar[012]", re.IGNORECASE)  # densities, but not a crystal's valence density
DERIVED_FIELD = re.compile(
    r"spin[_-]?(?:density|dens|den)(?![a-z])|(?:diff|difference|delta)[_-]?(?:rho|density|charge)(?![a-z])"
    r"|(?:rho|density|charge|chg)[_-]?diff(?:erence)?(?![a-z])",
    re.IGNORECASE,
)

CHGCAR = re.compile(r"chgcar", re.IGNORECASE)
CHG = re.compile(r"(?:.*[._-])?chg(?:[._-].*)?", re.IGNORECASE)
NAME_ENDINGS = (*ENDINGS, ".tar", ".tgz", ".vasp", ".chg", ".aeccar0", ".aeccar1", ".aeccar2")
NAME_ENDINGS += (".cube", ".cub", ".xsf", ".json", ".hdf5", ".h5", ".gpw", ".dat")
BACKUP = re.compile(r"(?:~|[._-](?:orig|bak|backup|old|save)\d*)$", re.IGNORECASE)  # copies of editors and scripts
ARCHIVE = re.compile(r"\.(tar(\.(gz|xz|bz2|zst))?|tgz)$", re.IGNORECASE)
OTHER_VASP_FILES = re.compile(  # that a search for densities skips: they have none, or only a part of one
    r"(?:.*[._-])?(OUTCAR|POTCAR|INCAR|KPOINTS|POSCAR|CONTCAR|XDATCAR|WAVECAR|OSZICAR|EIGENVAL|DOSCAR|PROCAR|IBZKPT|PCDAT"
    r"|REPORT|LOCPOT|ELFCAR|PARCHG|AECCAR[012]|vasprun\.xml|vaspout\.h5)(?:[._-].*)?",
    re.IGNORECASE,
)


def find_other_quantity(path: str, head: bytes = b"") -> str | None:
    """The quantity that a file holds instead of a density, by its name or its first bytes; None for a density."""
    if found := PYMATGEN_CLASS.search(head):
        return PYMATGEN_CLASSES[found[1]]
    name = base_name(path).lower()
    for word, quantity in VASP_NAMES.items():
        if word in name:
            return quantity
    if SAYS_DENSITY.search(name):
        return None
    words = _split_words(name)
    joined = [first + second for first, second in itertools.pairwise(words)]  # finds vhartree in v_hartree
    return next((QUANTITY_WORDS[word] for word in (*words, *joined) if word in QUANTITY_WORDS), None)


def refuse_other_quantity(path: str, head: bytes = b"") -> None:
    """Raise FormatError for a file that holds another quantity than a density, by its name or its first bytes."""
    if quantity := find_other_quantity(path, head):
        by = "its content" if PYMATGEN_CLASS.search(head) else "its name"
        raise FormatError(
            f"{path} is by {by} {quantity}, not a density: give the density of the run (CHGCAR), or rename the file if"
            " it is a density"
        )


def is_derived(path: str) -> bool:
    """Whether a file is, by its name, computed from densities or a part of one: CHGCAR_sum, CHGCAR_diff, PARCHG."""
    name = strip_endings(base_name(path))
    if PARTIAL_DENSITY.search(name) or DERIVED_FIELD.search(name):
        return True
    match = DENSITY_WORD.search(name)
    if match is None:
        return False
    before, after = _split_words(name[: match.start()]), _split_words(name[match.end() :])
    return bool(DERIVED_WORDS & {*after, *(before if len(before) == 1 else ())} or SCRIPT_WORDS & {*before[-1:]})


def is_part(path: str) -> bool:
    """Whether a file has, by its name, a part of a run's density or one with core electrons: PARCHG, AECCAR0."""
    return PARTIAL_DENSITY.search(strip_endings(base_name(path))) is not None


def is_predicted(path: str, head: bytes = b"") -> bool:
    """Whether a file is a model's prediction, by its name or by the comment in its first (uncompressed) bytes."""
    return head.lstrip().startswith(PREDICTED_BY.encode()) or not PREDICTED_WORDS.isdisjoint(
        _split_words(strip_endings(base_name(path)))
    )


def is_backup(path: str) -> bool:
    """Whether a file is, by its name, an earlier copy of another file: POSCAR.orig.gz, POSCAR~, CHGCAR.bak."""
    return BACKUP.search(strip_endings(base_name(path))) is not None


def names_no_crystal(name: str) -> bool:
    """Whether a name says only how a density was made, not of which crystal: "sum", "predicted", "PARCHG"."""
    words = _split_words(name)
    return bool(words) and (set(words) <= DERIVED_WORDS | PREDICTED_WORDS or PARTIAL_DENSITY.match(name) is not None)


def base_name(path: str) -> str:
    """The last part of a path, or of the member where the path is `archive::member`."""
    return os.path.basename(path.rpartition("::")[2] if not os.path.exists(path) else path)


def _split_words(name: str) -> list[str]:
    """The words of a name in lower case, without digits at their ends."""
    words = (word.rstrip("0123456789") for word in SEPARATORS.split(name.lower()))
    return [word for word in words if word]
