"""The input of a run of pw.x: what decides its density, and the same input with the start from a file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ecd_data.crystal import Crystal
from ecd_data.errors import FormatError, UsageError
from ecd_models.scf.bench import FIRST_THRESHOLD
from ecd_models.scf.espresso_cards import Cards, Geometry, read_geometry
from ecd_models.scf.namelists import Namelists, quote

NAMELIST = re.compile(rb"^(?:\xef\xbb\xbf)?[ \t]*&(control|system)\b", re.MULTILINE | re.IGNORECASE)
HEAD = 1 << 16  # bytes of a file in which a namelist must begin
LARGEST_INPUT = 1 << 26  # bytes: no input of pw.x is larger, and a density is not read as text
SELF_CONSISTENT = ("scf", "relax", "vc-relax", "md", "vc-md")
KEEP_DENSITY = ("nscf", "bands")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
META_GGA = ("scan", "tpss", "m06l", "m06-l", "tb09", "mgga")  # these words are in the names of pw.x


def is_pw_input(path: Path) -> bool:
    """Whether a file is an input of pw.x: its first bytes have the namelist &control or &system."""
    with open(path, "rb") as file:
        head = file.read(HEAD)
    return b"\0" not in head and NAMELIST.search(head) is not None


@dataclass(frozen=True)
class PwInput:
    """An input of pw.x with the geometry of its atoms."""

    path: Path
    namelists: Namelists
    cards: Cards
    geometry: Geometry

    @classmethod
    def read(cls, path: Path) -> PwInput:
        """The input in a file.

        Raises
        ------
        FormatError : it cannot be read, or what pw.x needs is missing.
        UsageError : there is no such file; or the run has no self-consistency, is non-collinear or of a meta-GGA, or
            continues another run.
        """
        if not path.is_file():
            raise UsageError(f"{path} does not exist: give the input of pw.x")
        if path.stat().st_size > LARGEST_INPUT:
            raise FormatError(f"{path} is too large for an input of pw.x: give the input itself")
        content = path.read_bytes()
        if content.startswith(BYTE_ORDER_MARK):
            raise FormatError(f"{path} begins with a byte-order mark: save it as plain UTF-8 or ASCII")
        text = content.decode("utf-8", "surrogateescape")  # keeps bytes of any other encoding
        namelists = Namelists(text, str(path))
        cards = Cards.parse(text[namelists.end :], str(path))
        for group in ("control", "system", "electrons"):
            if group not in namelists.groups:
                raise FormatError(f"{path} has no namelist &{group}, without which pw.x stops: add it")
        _refuse_other_runs(namelists)
        found = cls(path, namelists, cards, read_geometry(namelists, cards))
        if not (found.ecutrho > 0 and "K_POINTS" in cards.rows):
            raise FormatError(f"{path} needs ecutwfc in &system and the card K_POINTS: add what is missing")
        return found

    @property
    def crystal(self) -> Crystal:
        """The crystal of the run."""
        return self.geometry.crystal

    @cached_property
    def ecutrho(self) -> float:
        """The cutoff of the density in Ry, 0 where no cutoff is given."""
        given = self.namelists.number("system", "ecutrho")
        return given or 4 * (self.namelists.number("system", "ecutwfc") or 0.0)

    @property
    def gamma_only(self) -> bool:
        """Whether pw.x keeps one of G and -G alone: with `K_POINTS gamma`, not with a mesh of one point."""
        return "gamma" in self.cards.options["K_POINTS"]

    @cached_property
    def spin(self) -> bool:
        """Whether the run has spin."""
        return self.namelists.whole_number("system", "nspin") == 2

    @cached_property
    def prefix(self) -> str:
        """The name of the run in its files."""
        return self.namelists.word("control", "prefix") or "pwscf"

    @cached_property
    def total_charge(self) -> float:
        """The charge of the cell in e, positive where electrons are missing."""
        return self.namelists.number("system", "tot_charge") or 0.0

    @cached_property
    def functional(self) -> str | None:
        """The functional in place of that of the pseudopotentials; None where it is theirs."""
        return self.namelists.word("system", "input_dft")

    @property
    def iterates_geometry(self) -> bool:
        """Whether atoms move: the density serves the first self-consistency alone then."""
        return (self.namelists.word("control", "calculation") or "scf") != "scf"

    @property
    def has_hubbard(self) -> bool:
        """Whether the run has a Hubbard correction."""
        return self.namelists.flag("system", "lda_plus_u") or "HUBBARD" in self.cards.rows

    @cached_property
    def grid(self) -> tuple[int, int, int]:
        """The grid nr1, nr2, nr3 that the input asks for; 0 for what it leaves to pw.x."""
        a, b, c = (max(self.namelists.whole_number("system", f"nr{axis}") or 0, 0) for axis in (1, 2, 3))
        return a, b, c

    @cached_property
    def starting_magnetizations(self) -> dict[str, float]:
        """The starting magnetization of each species, as a share of its valence electrons."""
        found = self.namelists.numbers("system", "starting_magnetization")
        return {label: found.get(number, 0.0) for number, label in enumerate(self.geometry.species, 1)}

    def start_from_file(self, pseudo_folder: Path | None) -> str:
        """The text of the input with the start from a density; pseudo_folder: None to leave pseudo_dir as it is."""
        changed = self.namelists
        if not changed.has("electrons", "diago_thr_init"):
            changed = changed.set_value("electrons", "diago_thr_init", f"{FIRST_THRESHOLD:.1e}")
        changed = changed.set_value("electrons", "startingpot", "'file'")
        if pseudo_folder is not None:
            changed = changed.set_value("control", "pseudo_dir", quote(str(pseudo_folder)))
        return changed.set_value("control", "outdir", "'.'").text


def _refuse_other_runs(namelists: Namelists) -> None:
    """Raises UsageError for a run that a charge density alone does not start."""
    name = namelists.name
    calculation = namelists.word("control", "calculation") or "scf"
    if calculation in KEEP_DENSITY:
        raise UsageError(
            f"{name} has calculation = '{calculation}', which keeps the density that it reads: give the input of the"
            f" self-consistent run before it ({', '.join(SELF_CONSISTENT)})"
        )
    if calculation not in SELF_CONSISTENT:
        raise UsageError(
            f"{name} has calculation = '{calculation}', which is none of pw.x's self-consistent runs"
            f" ({', '.join(SELF_CONSISTENT)}): correct it"
        )
    if namelists.word("control", "restart_mode") == "restart":
        raise UsageError(f"{name} has restart_mode = 'restart', which continues a run: set it to 'from_scratch'")
    if any(namelists.flag("system", key) for key in ("noncolin", "lspinorb")):
        raise UsageError(f"{name} is a non-collinear run (noncolin, lspinorb): no start is written for it")
    if namelists.whole_number("system", "nspin") not in (None, 0, 1, 2):
        raise UsageError(f"{name} has another nspin than 1 and 2: no start is written for it")
    functional = namelists.word("system", "input_dft") or ""
    if any(word in functional.lower() for word in META_GGA):
        raise UsageError(
            f"{name} has the functional {functional}, for which pw.x reads a density of kinetic energy too: no start is"
            " written for it"
        )
    prefix = namelists.word("control", "prefix") or ""
    if re.search(r"[/\\\0\n]", prefix) or prefix in (".", ".."):
        raise UsageError(f"{name} has prefix = '{prefix}', which is no name of a file: give another one")
