"""Density and magnetization from the grids of a file that names them: spin up and down, or total and difference."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

import numpy as np

from ecd_data.crystal import Floats
from ecd_data.errors import FormatError

UP, DOWN, TOTAL, DIFFERENCE = "spin up", "spin down", "total", "magnetization"
UNCLEAR = "perhaps a spin"
SPIN_GUESSED = "spin-guessed"
WORD = re.compile(r"[a-z]+|\d+|[-+]")
HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")  # of densityUp
GLUED = re.compile(r"(rho|den|dens|density|charge|chg|chden)(up|down|dn|dw|alpha|beta)")
UPS = {"up", "alpha", "majority", "spinup"}
DOWNS = {"down", "dn", "dw", "beta", "minority", "spindown", "spindn"}
TOTALS = {"total", "tot", "sum", "charge", "rho", "density"}
DIFFERENCES = {"magnetization", "magnetisation", "magnetic", "magn", "mag", "mz", "moment", "polarization"}
DIFFERENCES |= {"spindensity"}
CHANGES = {"diff", "difference", "delta", "minus"}  # of the spins, or with "density" in the label of two densities
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
PHRASES = {"set", "made", "back", "start", "speed", "blow", "build", "warm", "cool", "break", "clean"}  # before up
PHASES = {"alpha", "beta"}  # also of crystals: alpha-quartz
DENSITIES = {*TOTALS, "spin", "channel", "component", "electron", "electrons", "den", "dens", "chg", "chden"}
NO_CHANNEL = {"to", "date", "dated", "sampled", "sampling", "scaled", "scaling", "loaded"}  # behind up or down
NEGATIVE = 0.1  # of the charge of a spin channel: so much is rather a magnetization

Grids = Sequence[tuple[str, Floats]]


def density_and_spin(grids: Grids, name: str) -> tuple[Floats, Floats | None, str | None]:
    """Density, magnetization (None without spin) [a, b, c] and a sentence where this is a guess, of grids by label.

    Raises FormatError for a grid that is another quantity by its label, for a spin channel alone, and for several grids
    that are not the two spin channels, or total and magnetization, of one density.
    """
    roles = [role(label) for label, _ in grids]
    for (label, _), found in zip(grids, roles, strict=True):
        if found in OTHERS.values():
            raise FormatError(f"{name} holds the grid {label!r}, {found}: write the density alone")
    if len(grids) == 1:
        return grids[0][1], None, _alone(grids[0][0], roles[0], name)
    return _pair(dict(zip(roles, (grid for _, grid in grids), strict=True)), grids, name)


def _alone(label: str, found: str | None, name: str) -> str | None:
    """A sentence where the only grid may be a spin channel; raises FormatError where it is one, or a magnetization."""
    if found == UNCLEAR:
        return f"the only grid is {label!r} and was read as a density of both spins: check its electrons"
    if found == UP and UPS.isdisjoint(_words(label)):  # rho2xsf of SIESTA counts channels without spin, too
        return f"the only grid is {label!r} and was read as a density without spin: check its electrons"
    if found in (UP, DOWN, DIFFERENCE):
        raise FormatError(f"{name} holds only the grid {label!r}, {found}: write the total density, or both spins")
    return None


def _pair(by_role: dict[str | None, Floats], grids: Grids, name: str) -> tuple[Floats, Floats, str | None]:
    named = ", ".join(repr(label) for label, _ in grids)
    if len(grids) != 2 or set(by_role) not in ({UP, DOWN}, {TOTAL, DIFFERENCE}):
        raise FormatError(
            f"{name} holds {len(grids)} grids ({named}): write the density alone, or its two spin channels named up"
            " and down"
        )
    one, two = by_role.values()
    if one.shape != two.shape:
        raise FormatError(f"{name} holds {named} on {one.shape} and {two.shape} points: it is damaged, write it again")
    if TOTAL in by_role:
        return by_role[TOTAL], by_role[DIFFERENCE], None
    negative = max(float(-grid[grid < 0].sum() / max(np.abs(grid).sum(), 1e-300)) for grid in (one, two))
    doubt = f"one of {named}, read as spin channels, is negative: see whether they are total and magnetization"
    return by_role[UP] + by_role[DOWN], by_role[UP] - by_role[DOWN], doubt if negative > NEGATIVE else None


def _words(label: str) -> list[str]:
    plain = HUMP.sub(" ", re.sub(r"(?i)3d", " ", label)).lower()
    words: list[str] = []
    for word in WORD.findall(plain):
        glued = GLUED.fullmatch(word)
        words += glued.groups() if glued else [word]
    return words


def _channel(words: list[str], names: set[str]) -> bool | None:
    """Whether a label names a spin channel by one of the names; None where that word may be of a phrase: "scaled up".

    False also for the word in what is no channel: "up to date".
    """
    spoken = [word for word in words if word not in "+-"]
    clear = unclear = False
    for before, word, after in zip(["", *spoken], spoken, [*spoken[1:], ""], strict=False):
        if word not in names or after in NO_CHANNEL:
            continue
        phrase = (before.endswith("ed") and before != "polarized") or before in PHRASES
        phrase |= word in PHASES and after.isalpha() and after not in DENSITIES
        clear, unclear = clear or not phrase, unclear or phrase
    return True if clear else None if unclear else False


def role(label: str) -> str | None:
    """What a grid's label says it is: UP, DOWN, TOTAL, DIFFERENCE, a value of OTHERS, or None where it does not say."""
    words = _words(label)
    found = set(words)
    numbers = {two for one, two in itertools.pairwise(words) if one == "spin" and two.isdigit()}
    ups, downs = _channel(words, UPS), _channel(words, DOWNS)
    up, down = bool(ups) or numbers == {"1"}, bool(downs) or numbers == {"2"}
    joined = [one + two for one, two in itertools.pairwise(words)]  # of "v_h", "v_bare"
    if others := [OTHERS[word] for word in (*words, *joined) if word in OTHERS]:
        return others[0]
    if up and down:
        return DIFFERENCE if found & {"-", *CHANGES} else TOTAL if found & {"+", "plus", *TOTALS} else None
    if up or down:
        return UP if up else DOWN
    if numbers:
        return None
    if None in (ups, downs):
        return UNCLEAR
    if found & DIFFERENCES or "spin" in found:
        return DIFFERENCE
    if found & CHANGES:
        return CHANGE if found & TOTALS else DIFFERENCE
    return TOTAL if found & TOTALS else None
