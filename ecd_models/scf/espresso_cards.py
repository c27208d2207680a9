"""The cards of a pw.x input: species, cell and positions of the atoms, with pw.x's rules for their units."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ecd_data.crystal import Crystal, Floats
from ecd_data.errors import FormatError
from ecd_data.formats.labels import element_of_label
from ecd_data.formats.units import BOHR
from ecd_models.scf.bravais import make_cell
from ecd_models.scf.namelists import Namelists, parse_fortran_number

# pw.x takes them in capitals alone, with a blank behind them, and ignores any other line between the cards
NAMES: tuple[str, ...] = (
    "ATOMIC_SPECIES",
    "ATOMIC_POSITIONS",
    "CELL_PARAMETERS",
    "K_POINTS",
    "OCCUPATIONS",
    "CONSTRAINTS",
)
NAMES += ("ATOMIC_VELOCITIES", "ATOMIC_FORCES", "HUBBARD", "SOLVENTS", "ADDITIONAL_K_POINTS")
OPERATORS: dict[type, Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
SMALLEST_VOLUME = 1e-6  # Å^3, of a cell
LONGEST_EXPRESSION = 100  # characters of a coordinate: a longer one is no coordinate


@dataclass(frozen=True)
class Cards:
    """The cards of an input by name: what stands behind the name, in lower case, and the words of each line below."""

    name: str
    options: dict[str, str]
    rows: dict[str, list[list[str]]]

    @classmethod
    def parse(cls, text: str, name: str) -> Cards:
        """The cards in the text behind the namelists; raises FormatError where a card stands there twice."""
        options: dict[str, str] = {}
        rows: dict[str, list[list[str]]] = {}
        card = ""
        for line in text.split("\n")[1:]:  # the first one is the rest of the line that ends a namelist
            words = re.split(r"[!#]", line)[0].split()
            if words and words[0] in NAMES:
                card = words[0]
                if card in rows:
                    raise FormatError(f"{name} has the card {card} twice: remove one of them")
                options[card], rows[card] = " ".join(words[1:]).lower(), []
            elif words and re.split(r"[{(]", words[0].upper())[0] in NAMES:
                spelling = re.split(r"[{(]", words[0].upper())[0]
                raise FormatError(
                    f"{name} has the card {words[0]}, which pw.x ignores: write {spelling} in capitals with a blank"
                )
            elif words and card:
                rows[card].append(words)
        return cls(name, options, rows)

    def take(self, card: str, count: int, meaning: str) -> list[list[str]]:
        """The lines of a card, of which there must be `count`; meaning: what states the number, in errors."""
        if card not in self.rows:
            raise FormatError(f"{self.name} has no card {card}: add it")
        found = self.rows[card]
        if len(found) != count:
            raise FormatError(f"{self.name} has {len(found)} lines in {card} where {meaning}: correct one of them")
        return found


@dataclass(frozen=True)
class Geometry:
    """The atoms of an input.

    species : the pseudopotential files by label, in the order of ATOMIC_SPECIES.
    labels : the label of each atom.
    alat : pw.x's unit of length in Å.
    """

    crystal: Crystal
    species: dict[str, str]
    labels: tuple[str, ...]
    alat: float


def read_geometry(namelists: Namelists, cards: Cards) -> Geometry:
    """The atoms of an input.

    Raises
    ------
    FormatError : positions are those of a space group, a card is missing or damaged, or as in `make_cell`.
    """
    name = namelists.name
    ibrav, nat, ntyp = (namelists.whole_number("system", key) for key in ("ibrav", "nat", "ntyp"))
    if ibrav is None:
        raise FormatError(f"{name} has no ibrav: give it in &system, such as ibrav = 0 with the card CELL_PARAMETERS")
    if ibrav != 0 and "CELL_PARAMETERS" in cards.rows:
        raise FormatError(f"{name} has ibrav = {ibrav} and the card CELL_PARAMETERS too: remove one of them")
    if not nat or not ntyp or min(nat, ntyp) < 1:
        raise FormatError(f"{name} has no number of atoms or species: give nat and ntyp in &system")
    species = _read_species(cards, ntyp)
    lattice, alat = _read_cell(namelists, cards) if ibrav == 0 else make_cell(namelists)
    rows = cards.take("ATOMIC_POSITIONS", nat, f"nat is {nat}")
    scale = _position_scale(cards, lattice, alat)
    try:
        positions = np.array([[evaluate(word) for word in row[1:4]] for row in rows], dtype=np.float64).reshape(nat, 3)
        labels = tuple(row[0] for row in rows)
        if unknown := sorted({label for label in labels if label not in species}):
            raise ValueError(f"{unknown[0]} is not in ATOMIC_SPECIES")
        if abs(np.linalg.det(lattice)) < SMALLEST_VOLUME:
            raise ValueError("the vectors of the cell span no volume")
        numbers = np.array([find_element(label) for label in labels])
        fractional: Floats = positions @ scale @ np.asarray(np.linalg.inv(lattice), np.float64)
        crystal = Crystal(lattice, numbers, fractional)
    except (ValueError, ArithmeticError, np.linalg.LinAlgError) as error:
        raise FormatError(f"{name} has a cell or positions that cannot be read ({error}): correct them") from error
    return Geometry(crystal, species, labels, alat)


def find_element(label: str) -> int:
    """The atomic number that the label of a species means; raises ValueError where it means no element."""
    number = element_of_label(label)
    if not number:
        raise ValueError(f"{label} names no element")
    return number


def _read_species(cards: Cards, ntyp: int) -> dict[str, str]:
    rows = cards.take("ATOMIC_SPECIES", ntyp, f"ntyp is {ntyp}")
    if any(len(row) < 3 for row in rows):
        raise FormatError(f"{cards.name} has a line in ATOMIC_SPECIES without label, mass and file: correct it")
    species = {row[0]: row[2] for row in rows}
    if len(species) != ntyp:
        raise FormatError(f"{cards.name} has a label twice in ATOMIC_SPECIES: give each species another one")
    return species


def _read_cell(namelists: Namelists, cards: Cards) -> tuple[Floats, float]:
    """The lattice vectors as rows and pw.x's unit alat, both in Å."""
    rows = cards.take("CELL_PARAMETERS", 3, "a cell has three vectors")
    try:
        vectors = np.array([[parse_fortran_number(word) for word in row[:3]] for row in rows], np.float64).reshape(3, 3)
    except ValueError as error:
        raise FormatError(f"{cards.name} has a line in CELL_PARAMETERS without three numbers: correct it") from error
    celldm, length = namelists.numbers("system", "celldm").get(1, 0.0), namelists.number("system", "a") or 0.0
    given = celldm * BOHR or length  # where both are given, pw.x takes celldm
    option = cards.options["CELL_PARAMETERS"]
    unit = next((one for one in ("bohr", "angstrom", "alat") if one in option), "alat" if given else "bohr")
    if unit == "alat":
        if not given > 0:
            raise FormatError(f"{cards.name} has CELL_PARAMETERS in alat: give celldm(1) or A in &system, or the unit")
        return vectors * given, given
    if given:
        raise FormatError(f"{cards.name} has CELL_PARAMETERS in {unit} and celldm or A too: remove these")
    lattice = vectors * (BOHR if unit == "bohr" else 1.0)
    return lattice, float(np.linalg.norm(lattice[0]))


def _position_scale(cards: Cards, lattice: Floats, alat: float) -> Floats:
    """The matrix [3, 3] that makes Å of positions in the unit of their card."""
    option = cards.options["ATOMIC_POSITIONS"]
    if "crystal_sg" in option:
        raise FormatError(f"{cards.name} has positions of a space group (crystal_sg): list all atoms of the cell")
    if "crystal" in option:
        return lattice
    return np.eye(3) * (BOHR if "bohr" in option else 1.0 if "angstrom" in option else alat)


def evaluate(text: str) -> float:
    """The number that a coordinate states, also as 1/3 or 2*0.25; raises ValueError where it states none."""
    try:
        return parse_fortran_number(text)
    except ValueError:
        if len(text) > LONGEST_EXPRESSION:
            raise
    try:
        tree = ast.parse(re.sub(r"(?<=[\d.])[dD](?=[-+\d])", "e", text).replace("^", "**"), mode="eval").body
    except SyntaxError:
        raise ValueError(f"{text} is no number") from None
    return _evaluate_node(tree, text)


def _evaluate_node(node: Any, text: str) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return float(node.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _evaluate_node(node.operand, text)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        value = OPERATORS[type(node.op)](_evaluate_node(node.left, text), _evaluate_node(node.right, text))
        if isinstance(value, float):
            return value
    raise ValueError(f"{text} is no number")
