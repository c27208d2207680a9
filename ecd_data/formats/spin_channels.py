"""Density and magnetization from the grids of a file that names them: spin up and down, or total and difference."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

import numpy as np

from ecd_data.crystal import Floats
from ecd_data.errors import FormatError

# What the label of a grid says that the grid is.
UP, DOWN, TOTAL, DIFFERENCE = "spin up", "spin down", "total", "magnetization"
PERHAPS_SPIN = "perhaps a spin"
SPIN_GUESSED = "spin-guessed"  # the flag of a density whose label may name a spin channel
WORD = re.compile(r"[a-z]+|\d+|[-+]")
CAMEL_CASE = re.compile(r"(?<=[a-z])(?=[A-Z])")  # between the words of "densityUp"
JOINED_WORDS = re.compile(r"(rho|den|dens|density|charge|chg|chden)(up|down|dn|dw|alpha|beta)")
UPS = {"up", "alpha", "majority", "spinup"}
DOWNS = {"down", "dn", "dw", "beta", "minority", "spindown", "spindn"}
TOTALS = {"total", "tot", "sum", "charge", "rho", "density"}
DIFFERENCES = {"magnetization", "magnetisation", "magnetic", "magn", "mag", "mz", "moment", "polarization"}
DIFFERENCES |= {"spindensity"}
# These words mean the difference of the spins, or with "density" in the same label that of two densities.
CHANGES = {"diff", "difference", "delta", "minus"}
CHANGE = "a difference of densities"
OTHERS = {
    "elf": "an electron localization function",
    "potential": "a potential",
    "hartree": "a potential",
    "vhartree": "a potential",
    "vh": "a potential",
    "vxc": "a potential",
    "vks": "a potential",
    "veff": "a potential",
    "vloc": "a potential",
    "vbare": "a potential",
    "tau": "a kinetic energy density",
    "kinetic": "a kinetic energy density",
    "laplacian": "a Laplacian",
    "wfc": "a wave function",
    "psi": "a wave function",
    "locpot": "a potential",
    "ldos": "a density of some states",
    "wavefunction": "a wave function",
    "orbital": "a wave function",
    "drho": CHANGE,
    "deformation": CHANGE,
}
# "scaled up", "set up": before "up" they make a phrase
PHRASE_STARTS = {"set", "made", "back", "start", "speed", "blow", "build", "warm", "cool", "break", "clean"}
CRYSTAL_PHASES = {"alpha", "beta"}  # these also name crystal phases, as in "alpha-quartz"
DENSITIES = {*TOTALS, "spin", "channel", "component", "electron", "electrons", "den", "dens", "chg", "chden"}
# After "up" or "down" they make a phrase, as in "up to date"
NOT_AFTER_CHANNEL = {"to", "date", "dated", "sampled", "sampling", "scaled", "scaling", "loaded"}
# Share of the charge: a grid with more negative charge is rather a magnetization than a spin channel
MAX_NEGATIVE = 0.1

Grids = Sequence[tuple[str, Floats]]


def combine_spin_grids(grids: Grids, name: str) -> tuple[Floats, Floats | None, str | None]:
    """The density, the magnetization (None without spin), and a sentence where the labels leave doubts, else None.

    Parameters
    ----------
    grids : label and values [a, b, c] of each grid of the file.
    name : what errors call the file.

    Raises
    ------
    FormatError : a label names another quantity, the only grid is one spin channel, or several grids are neither the
        two spin channels nor total and magnetization of one density.
    """
    roles = [find_role(label) for label, _ in grids]
    for (label, _), found in zip(grids, roles, strict=True):
        if found in OTHERS.values():
            raise FormatError(f"{name} holds the grid {label!r}, {found}: write the density alone")
    if len(grids) == 1:
        return grids[0][1], None, _check_single_grid(grids[0][0], roles[0], name)
    return _combine_pair(dict(zip(roles, (grid for _, grid in grids), strict=True)), grids, name)


def _check_single_grid(label: str, found: str | None, name: str) -> str | None:
    """A sentence where the only grid may be a spin channel; FormatError where it is one, or a magnetization."""
    if found == PERHAPS_SPIN:
        return f"the only grid is {label!r} and was read as a density of both spins: check its electrons"
    # SIESTA's rho2xsf numbers the one channel of a run without spin
    if found == UP and UPS.isdisjoint(_split_label(label)):
        return f"the only grid is {label!r} and was read as a density without spin: check its electrons"
    if found in (UP, DOWN, DIFFERENCE):
        raise FormatError(f"{name} holds only the grid {label!r}, {found}: write the total density, or both spins")
    return None


def _combine_pair(by_role: dict[str | None, Floats], grids: Grids, name: str) -> tuple[Floats, Floats, str | None]:
    names = ", ".join(repr(label) for label, _ in grids)
    if len(grids) != 2 or set(by_role) not in ({UP, DOWN}, {TOTAL, DIFFERENCE}):
        raise FormatError(
            f"{name} holds {len(grids)} grids ({names}): write the density alone, or its two spin channels named up"
            " and down"
        )
    one, two = by_role.values()
    if one.shape != two.shape:
        raise FormatError(f"{name} holds {names} on {one.shape} and {two.shape} points: it is damaged, write it again")
    if TOTAL in by_role:
        return by_role[TOTAL], by_role[DIFFERENCE], None
    negative = max(float(-grid[grid < 0].sum() / max(np.abs(grid).sum(), 1e-300)) for grid in (one, two))
    doubt = f"one of {names}, read as spin channels, is negative: see whether they are total and magnetization"
    return by_role[UP] + by_role[DOWN], by_role[UP] - by_role[DOWN], doubt if negative > MAX_NEGATIVE else None


def _split_label(label: str) -> list[str]:
    plain = CAMEL_CASE.sub(" ", re.sub(r"(?i)3d", " ", label)).lower()
    words: list[str] = []
    for word in WORD.findall(plain):
        parts = JOINED_WORDS.fullmatch(word)
        words += parts.groups() if parts else [word]
    return words


def _names_channel(words: list[str], names: set[str]) -> bool | None:
    """Whether the words of a label name a spin channel; None where the word may belong to a phrase: "scaled up".

    False also where the word certainly belongs to a phrase: "up to date".
    """
    spoken = [word for word in words if word not in "+-"]
    clear = unclear = False
    for before, word, after in zip(["", *spoken], spoken, [*spoken[1:], ""], strict=False):
        if word not in names or after in NOT_AFTER_CHANNEL:
            continue
        phrase = (before.endswith("ed") and before != "polarized") or before in PHRASE_STARTS
        phrase |= word in CRYSTAL_PHASES and after.isalpha() and after not in DENSITIES
        clear, unclear = clear or not phrase, unclear or phrase
    return True if clear else None if unclear else False


def find_role(label: str) -> str | None:
    """What the label of a grid says: UP, DOWN, TOTAL, DIFFERENCE, PERHAPS_SPIN, CHANGE, a value of OTHERS, or None."""
    words = _split_label(label)
    found = set(words)
    numbers = {two for one, two in itertools.pairwise(words) if one == "spin" and two.isdigit()}
    ups, downs = _names_channel(words, UPS), _names_channel(words, DOWNS)
    up, down = bool(ups) or numbers == {"1"}, bool(downs) or numbers == {"2"}
    pairs = [one + two for one, two in itertools.pairwise(words)]  # of "v_h", "v_bare"
    if others := [OTHERS[word] for word in (*words, *pairs) if word in OTHERS]:
        return others[0]
    if up and down:
        return DIFFERENCE if found & {"-", *CHANGES} else TOTAL if found & {"+", "plus", *TOTALS} else None
    if up or down:
        return UP if up else DOWN
    if numbers:
        return None
    if None in (ups, downs):
        return PERHAPS_SPIN
    if found & DIFFERENCES or "spin" in found:
        return DIFFERENCE
    if found & CHANGES:
        return CHANGE if found & TOTALS else DIFFERENCE
    return TOTAL if found & TOTALS else None
