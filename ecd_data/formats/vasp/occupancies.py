"""PAW occupancies as VASP prints them after each grid, and as arrays by atom, which pymatgen uses."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ecd_data.crystal import Floats
from ecd_data.errors import FormatError, UsageError
from ecd_data.formats.numbers import to_floats

if TYPE_CHECKING:
    from ecd_data.density import Density

AUGMENTATION = re.compile(r"augmentation occupancies[ \t]*(?:\(imaginary part\))?[ \t]*\d+[ \t]+(\d+)[ \t]*\r?\n")
SECTION = re.compile(r"augmentation occupancies[ \t]*(\(imaginary part\))?[ \t]*(\d+)[ \t]+(\d+)[ \t]*\r?\n")
TITLES = {False: "augmentation occupancies", True: "augmentation occupancies (imaginary part)"}
PER_LINE = 5  # numbers in a line
DIGITS, ALL_DIGITS = 7, 17  # that VASP prints; that every float64 needs


def check_tail(tail: str, natoms: int, name: str, last: bool = False) -> None:
    """Raise FormatError where the augmentation occupancies after a grid, or the moments after these, are incomplete.

    Parameters
    ----------
    tail : the text after the grid.
    natoms : the number of atoms.
    name : what errors call the file.
    last : whether no grid follows. VASP prints moments only in front of another grid, so moments after the last one
        mean that the rest of the file is missing.
    """
    before, *sections = AUGMENTATION.split(tail)
    expected = [0, *map(int, sections[::2])]
    for number, (count, text) in enumerate(zip(expected, [before, *sections[1::2]], strict=True)):
        numbers = to_floats(text.encode())
        extra = -1 if numbers is None else len(numbers) - count
        if last and number == len(expected) - 1 and extra in (natoms, 3 * natoms):
            raise FormatError(f"{name} ends after the moments of its atoms, where another grid is due: it is cut")
        if extra not in ((0, natoms, 3 * natoms) if number == len(expected) - 1 else (0,)):
            what = (
                f"augmentation occupancies {number}"
                if number
                else "what follows a grid, which has more numbers than due,"
            )
            raise FormatError(f"{name}: {what} cannot be read or ends too early: it is cut, damaged or glued")


def list_grids(data: Mapping[str, Any]) -> tuple[str, ...]:
    """The keys in pymatgen's `data` of the grids that a CHGCAR holds: one, two, or four without a common spin axis."""
    if "diff_x" in data:
        return ("total", "diff_x", "diff_y", "diff_z")
    return ("total", "diff") if "diff" in data else ("total",)


def format_blocks(data_aug: Mapping[str, Any], grids: Sequence[str], natoms: int, name: str) -> tuple[str, ...] | None:
    """The text that VASP prints after each of `grids`, from pymatgen's `data_aug`; None without occupancies.

    Digits that VASP does not print are kept.

    Parameters
    ----------
    data_aug : for each grid real or complex arrays by atom or, as before pymatgen 2026.5, lines of text.
    grids : the keys of the grids.
    natoms : the number of atoms.
    name : what errors call the source.

    Raises
    ------
    FormatError : `data_aug` holds anything else, or occupancies of other atoms.
    """
    try:
        texts = tuple(_format_block(data_aug.get(grid)) for grid in grids)
    except (ValueError, TypeError, LookupError) as error:
        raise FormatError(f"{name}: augmentation occupancies cannot be read ({error}): write it anew") from error
    for text in texts:
        unknown = {int(atom) for _, atom, _ in SECTION.findall(text)} - set(range(1, natoms + 1))
        if unknown:
            raise FormatError(f"{name} has occupancies of atom {unknown.pop()}, but {natoms} atoms: write it anew")
        check_tail(text, natoms, name)
    return texts if any(text.strip() for text in texts) else None


def _format_block(block: Any) -> str:
    if block is None:
        return ""
    if isinstance(block, str):
        block = block.splitlines()
    if isinstance(block, Mapping):
        arrays = {int(atom): _read_array(values) for atom, values in block.items()}
        return "".join(format_atom(atom, arrays[atom], exact=True) for atom in sorted(arrays))
    return "".join(line.rstrip("\r\n") + "\n" for line in block)  # lines may have line ends or none


def _read_array(value: Any) -> NDArray[Any]:
    """The occupancies of an atom from a sequence or monty's record of an array, with two parts if it is complex."""
    if isinstance(value, Mapping):
        parts = np.asarray(value["data"], dtype=np.float64)
        value = parts[0] + 1j * parts[1] if "complex" in str(value.get("dtype", "")) else parts
    array = np.asarray(value)
    if array.ndim != 1 or array.dtype.kind not in "fiuc" or not np.isfinite(array).all():
        raise ValueError(f"those of an atom are {array.dtype} of shape {array.shape}, or not finite")
    return array


def format_atom(atom: int, values: NDArray[Any], exact: bool = False) -> str:
    """The text of the occupancies of an atom as VASP prints it, with seven digits, or with all digits if `exact`."""
    if np.iscomplexobj(values):
        return _format_part(atom, values.real, exact, False) + _format_part(atom, values.imag, exact, True)
    return _format_part(atom, values, exact, False)


def _format_part(atom: int, values: Floats, exact: bool, imaginary: bool) -> str:
    words = [_format_number(x, DIGITS) for x in values]
    if exact and not np.array_equal(np.array(words, dtype=np.float64), values):
        words = [_format_number(x, ALL_DIGITS) for x in values]
    lines = [f"{TITLES[imaginary]} {atom:>3} {len(values):>3}"]
    lines += ["".join(f" {w}" for w in words[k : k + PER_LINE]) for k in range(0, len(words), PER_LINE)]
    return "\n".join(lines) + "\n"


def _format_number(x: float, digits: int) -> str:
    """A number as Fortran prints it in E14.7, or in a field for more digits."""
    mantissa, exponent = f"{abs(x):.{digits - 1}E}".split("E")
    power = int(exponent) + 1 if x else 0
    return f"{'-' if x < 0 else ' '}0.{mantissa.replace('.', '')}E{power:+03d}"


def parse_occupancies(text: str) -> dict[int, NDArray[Any]]:
    """The occupancies by atom in the text after a grid, complex where it has imaginary parts.

    The moments of the atoms, which VASP writes after the last of them, are left out.

    Raises
    ------
    FormatError : the text cannot be read.
    """
    occupancies: dict[int, NDArray[Any]] = {}
    _, *sections = SECTION.split(text)
    for imaginary, atom, count, numbers in zip(*[iter(sections)] * 4, strict=True):
        values = to_floats(numbers.encode())
        if values is None or len(values) < int(count):
            raise FormatError(f"the augmentation occupancies of atom {atom} cannot be read: leave them out")
        values = values[: int(count)]
        occupancies[int(atom)] = occupancies.get(int(atom), 0) + 1j * values if imaginary else values
    return occupancies


def copy_augmentation(rho: Density, reference: Density) -> Density:
    """`rho` with the augmentation occupancies of `reference`, one block for each grid of `rho`.

    The occupancies belong to atoms and not to the grid, so the shapes may differ.

    Raises
    ------
    UsageError : the reference has no occupancies, other atoms or another order of them, or none for a magnetization.
    """
    if not reference.augmentation:
        raise UsageError("the reference has no augmentation occupancies: give a CHGCAR of a PAW calculation")
    if reference.crystal.symbols != rho.crystal.symbols:
        raise UsageError(
            f"the reference has the atoms {reference.crystal.formula} where {rho.crystal.formula} is due, or another"
            " order of them: give a CHGCAR of the same atoms in the same order"
        )
    if rho.magnetization is None:
        return replace(rho, augmentation=(_drop_moments(reference.augmentation[0]),))
    grids = 2 if rho.magnetization.ndim == 3 else 4
    if len(reference.augmentation) != grids:
        raise UsageError(f"the reference has {len(reference.augmentation)} grids where {grids} are due")
    return replace(rho, augmentation=reference.augmentation)


def has_augmentation_for(rho: Density, reference: Density) -> bool:
    """Whether `reference` has occupancies for the atoms and the grids of `rho`."""
    try:
        copy_augmentation(rho, reference)
    except UsageError:
        return False
    return True


def _drop_moments(block: str) -> str:
    """The block without the moments of the atoms, which VASP writes after it where there is a magnetization."""
    blocks = list(AUGMENTATION.finditer(block))
    if not blocks:
        return block
    last = blocks[-1]
    lines, numbers, due = block[last.end() :].splitlines(keepends=True), 0, int(last[1])
    for k, line in enumerate(lines):
        if numbers >= due:
            return block[: last.end()] + "".join(lines[:k])
        numbers += len(line.split())
    return block
