"""The periodic table as cells of a grid, each coloured by a number of its element."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ecd_data.crystal import SYMBOLS
from ecd_models.evaluation.results import Results

COLUMNS = 18
DARK = 0.55  # of the scale of colours: from here on white text is legible


@dataclass(frozen=True)
class ElementCell:
    """An element's cell: place in the grid from 1, symbol, the number shown, colours, and what pointing at it shows."""

    row: int
    column: int
    symbol: str
    value: str
    background: str
    colour: str
    hint: str


@dataclass(frozen=True)
class PeriodicTable:
    """A titled periodic table, its cells, and the least and largest number of its scale."""

    title: str
    caption: str
    cells: list[ElementCell]
    low: str
    high: str
    gradient: str


def place_element(number: int) -> tuple[int, int]:
    """The row and column of an element by its atomic number; lanthanides and actinides have rows 9 and 10."""
    for first, row in ((57, 9), (89, 10)):
        if first <= number <= first + 14:
            return row, number - first + 3
    if number <= 2:
        return 1, 1 if number == 1 else 18
    starts = (3, 11, 19, 37, 55, 87)
    period = max(k for k, start in enumerate(starts) if number >= start)
    column = number - starts[period] + 1
    if period < 2:
        column += 10 if column > 2 else 0
    elif period >= 4 and column > 2:
        column -= 14
    return period + 2, column


def make_periodic_table(
    title: str, caption: str, values: Mapping[str, float], hints: Mapping[str, str], digits: int, scale: str = "YlOrRd"
) -> PeriodicTable:
    """A PeriodicTable of numbers by element symbol on a logarithmic scale of colours; elements without one are grey."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    known = [value for value in values.values() if value > 0]
    low, high = (min(known), max(known)) if known else (1.0, 1.0)
    span = np.log(high / low) or 1.0
    cells = []
    for number, symbol in enumerate(SYMBOLS[1:], start=1):
        row, column = place_element(number)
        if symbol not in values:
            if number <= 103:
                cells.append(ElementCell(row, column, symbol, "", "#f1f3f5", "#a3adb8", f"{symbol}: none"))
            continue
        share = 0.05 + 0.9 * float(np.log(max(values[symbol], low) / low) / span)
        cells.append(
            ElementCell(
                row,
                column,
                symbol,
                f"{values[symbol]:,.{digits}f}",
                to_hex(colormaps[scale](share)),
                "#ffffff" if share > DARK else "#27313d",
                hints[symbol],
            )
        )
    steps = ", ".join(to_hex(colormaps[scale](0.05 + 0.9 * k / 8)) for k in range(9))
    return PeriodicTable(title, caption, cells, f"{low:,.{digits}f}", f"{high:,.{digits}f}", steps)


def make_error_table_of_elements(model: str, results: list[Results]) -> PeriodicTable:
    """The mean error of a model over the crystals with each element, over all its results."""
    errors: dict[str, dict[tuple[str, str], float]] = {}
    for one in results:
        for crystal in one.crystals:
            for element in crystal.elements:
                errors.setdefault(element, {})[one.store_hash, crystal.id] = crystal.eps_mae_percent
    values = {element: float(np.mean(list(found.values()))) for element, found in errors.items()}
    hints = {
        element: f"{element}: {values[element]:.3f} % over {len(found)} crystals, at most {max(found.values()):.3f} %"
        for element, found in errors.items()
    }
    caption = "Mean eps_mae in % over the crystals that have the element, of all parts together."
    return make_periodic_table(f"Errors by element: {model}", caption, values, hints, 2)


def make_count_table_of_elements(name: str, counts: Mapping[str, int]) -> PeriodicTable:
    """How many named crystals of a set have each element."""
    hints = {element: f"{element}: {count:,} crystals" for element, count in counts.items()}
    values = {element: float(count) for element, count in counts.items()}
    caption = "The number of crystals with the element, from the names in the official lists."
    return make_periodic_table(f"Elements of {name}", caption, values, hints, 0, "YlGnBu")
