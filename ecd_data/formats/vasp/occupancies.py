"""PAW occupancies: the text that VASP prints behind each grid, and the arrays by atom that pymatgen makes of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecd_data.crystal import Floats
from ecd_data.errors import FormatError
from ecd_data.formats.numbers import to_floats

AUGMENTATION = re.compile(r"augmentation occupancies[ \t]*(?:\(imaginary part\))?[ \t]*\d+[ \t]+(\d+)[ \t]*\r?\n")
SECTION = re.compile(r"augmentation occupancies[ \t]*(\(imaginary part\))?[ \t]*(\d+)[ \t]+(\d+)[ \t]*\r?\n")
TITLE = {False: "augmentation occupancies", True: "augmentation occupancies (imaginary part)"}
PER_LINE = 5
DIGITS, ALL_DIGITS = 7, 17  # of VASP; of any float64


def check_tail(tail: str, natoms: int, name: str, last: bool = False) -> None:
    """Raises FormatError where augmentation occupancies, or the moments of the atoms after them, are cut or glued.

    last: no grid follows. VASP prints moments in front of another grid only, so behind the last one they mean that the
    rest of the file is missing.
    """
    before, *sections = AUGMENTATION.split(tail)
    due = [0, *map(int, sections[::2])]
    for number, (count, text) in enumerate(zip(due, [before, *sections[1::2]], strict=True)):
        numbers = to_floats(text.encode())
        extra = -1 if numbers is None else len(numbers) - count
        if last and number == len(due) - 1 and extra in (natoms, 3 * natoms):
            raise FormatError(f"{name} ends after the moments of its atoms, where another grid is due: it is cut")
        if extra not in ((0, natoms, 3 * natoms) if number == len(due) - 1 else (0,)):
            what = (
                f"augmentation occupancies {number}"
                if number
                else "what follows a grid, which has more numbers than due,"
            )
            raise FormatError(f"{name}: {what} cannot be read or ends too early: it is cut, damaged or glued")


def grids_of(data: Mapping[str, Any]) -> tuple[str, ...]:
    """The grids of a CHGCAR among pymatgen's `data`: the density, and one or three of the magnetization."""
    if "diff_x" in data:
        return ("total", "diff_x", "diff_y", "diff_z")
    return ("total", "diff") if "diff" in data else ("total",)


def print_blocks(data_aug: Mapping[str, Any], grids: Sequence[str], natoms: int, name: str) -> tuple[str, ...] | None:
    """pymatgen's `data_aug` as VASP prints it, a text for each of `grids`; None where there are no occupancies.

    It holds arrays by atom, real or complex, or the lines of a file, as before pymatgen 2026.5. Digits that VASP does
    not print are kept. Raises FormatError where it is anything else, or not of `natoms` atoms.
    """
    try:
        texts = tuple(_print_block(data_aug.get(grid)) for grid in grids)
    except (ValueError, TypeError, LookupError) as error:
        raise FormatError(f"{name}: augmentation occupancies cannot be read ({error}): write it anew") from error
    for text in texts:
        strange = {int(atom) for _, atom, _ in SECTION.findall(text)} - set(range(1, natoms + 1))
        if strange:
            raise FormatError(f"{name} has occupancies of atom {strange.pop()}, but {natoms} atoms: write it anew")
        check_tail(text, natoms, name)
    return texts if any(text.strip() for text in texts) else None


def _print_block(block: Any) -> str:
    if block is None:
        return ""
    if isinstance(block, str):
        block = block.splitlines()
    if isinstance(block, Mapping):
        arrays = {int(atom): _array(values) for atom, values in block.items()}
        return "".join(print_atom(atom, arrays[atom], exact=True) for atom in sorted(arrays))
    return "".join(line.rstrip("\r\n") + "\n" for line in block)  # with or without their ends


def _array(value: Any) -> NDArray[Any]:
    """The occupancies of an atom, plain or monty's record of an array, which has two parts where it is complex."""
    if isinstance(value, Mapping):
        parts = np.asarray(value["data"], dtype=np.float64)
        value = parts[0] + 1j * parts[1] if "complex" in str(value.get("dtype", "")) else parts
    array = np.asarray(value)
    if array.ndim != 1 or array.dtype.kind not in "fiuc" or not np.isfinite(array).all():
        raise ValueError(f"those of an atom are {array.dtype} of shape {array.shape}, or not finite")
    return array


def print_atom(atom: int, values: NDArray[Any], exact: bool = False) -> str:
    """The augmentation occupancies of an atom as VASP prints them, seven digits; all digits where `exact`."""
    if np.iscomplexobj(values):
        return _print_part(atom, values.real, exact, False) + _print_part(atom, values.imag, exact, True)
    return _print_part(atom, values, exact, False)


def _print_part(atom: int, values: Floats, exact: bool, imaginary: bool) -> str:
    words = [_fortran(x, DIGITS) for x in values]
    if exact and not np.array_equal(np.array(words, dtype=np.float64), values):
        words = [_fortran(x, ALL_DIGITS) for x in values]
    lines = [f"{TITLE[imaginary]} {atom:>3} {len(values):>3}"]
    lines += ["".join(f" {w}" for w in words[k : k + PER_LINE]) for k in range(0, len(words), PER_LINE)]
    return "\n".join(lines) + "\n"


def _fortran(x: float, digits: int) -> str:
    """A number as Fortran's E14.7 prints it, or one of more digits."""
    mantissa, exponent = f"{abs(x):.{digits - 1}E}".split("E")
    power = int(exponent) + 1 if x else 0
    return f"{'-' if x < 0 else ' '}0.{mantissa.replace('.', '')}E{power:+03d}"


def parse_block(text: str) -> dict[int, NDArray[Any]]:
    """The occupancies in the text behind a grid by atom, complex where it has imaginary parts, as pymatgen has them.

    The moments of the atoms, which VASP writes behind the last of them, are no occupancies and are left out.
    """
    found: dict[int, NDArray[Any]] = {}
    _, *sections = SECTION.split(text)
    for imaginary, atom, count, numbers in zip(*[iter(sections)] * 4, strict=True):
        values = to_floats(numbers.encode())
        if values is None or len(values) < int(count):
            raise FormatError(f"the augmentation occupancies of atom {atom} cannot be read: leave them out")
        values = values[: int(count)]
        found[int(atom)] = found.get(int(atom), 0) + 1j * values if imaginary else values
    return found
