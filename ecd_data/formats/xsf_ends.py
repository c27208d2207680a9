"""Whether the last points of an XSF's grid repeat its first: the format says so, many writers do not do it.

XCrySDen's general grid of n points spans the cell with both its ends; a grid of n points that are all different looks
the same in the file. What tells them apart: whether the first and last planes agree, with which of the two the
electrons are a whole number that the nuclei hold, and with which of the two the charge lies where the atoms are.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ecd_data.crystal import Crystal, Floats
from ecd_data.errors import FormatError
from ecd_data.formats.units import TO_PER_ANGSTROM3, judge_count

ENDS_GUESSED = "xsf-ends-guessed"
SAME = 1e-4  # of the largest value: repeated points agree to the digits printed
SEEN = 1e-5  # of the largest value: below, planes in a vacuum are noise
ALIKE = 1e-3  # of the two values themselves
MOST = 0.5  # of a plane's points
LOCALISED = 0.2  # of the charge in the first wave along an axis: then the wave's phase says where the charge lies
NEARER = 0.25  # of the step between two points

Fact = bool | None  # the ends repeat, they do not, or this fact does not tell


def decide_ends(grid: Floats, crystal: Crystal, units: Iterable[str], name: str) -> tuple[bool, str | None]:
    """Whether the last planes of a grid repeat the first, and a sentence where that is not sure, else None.

    grid [a, b, c]: a density in one of `units` on points that span the cell. Raises FormatError where some points of
    a last plane repeat the first and others do not.
    """
    if min(grid.shape) < 2:
        return False, None
    possible, planes = compare_planes(grid, name)
    count, is_whole = compare_counts(grid, crystal, units)
    position = compare_positions(grid, crystal)
    facts = [fact for fact in (count if is_whole else None, planes, count, position) if fact is not None]
    repeats = possible and (facts[0] if facts else True)
    votes = [fact for fact in (planes if possible else False, count, position) if fact is not None]
    proven = (is_whole and count is not None) or (planes is True and not is_mirrored(grid)) or len(votes) > 1
    if proven and set(votes) == {repeats}:
        return repeats, None
    return repeats, _sentence(grid, repeats)


def compare_planes(grid: Floats, name: str) -> tuple[bool, Fact]:
    """Whether the first and last planes agree well enough to be the same, and what they prove.

    Planes in a vacuum agree in any case, and prove something only where they have values to compare, or noise that is
    the same to the last digit.
    """
    largest = float(np.abs(grid).max())
    possible, copied, alike_at = True, True, list[float]()
    for axis in range(3):
        first, last = np.take(grid, 0, axis), np.take(grid, -1, axis)
        size, difference = np.maximum(np.abs(first), np.abs(last)), np.abs(first - last)
        alike = (difference <= ALIKE * size)[size > SEEN * largest]
        differ = int((difference > SAME * largest).sum())
        if differ and alike.mean() > MOST:
            raise FormatError(
                f"{name} is damaged or not periodic: {differ} of the {first.size} last points along axis {axis + 1} do"
                " not repeat the first, and the others do; write it again"
            )
        possible &= not differ
        copied &= bool((first == last).all() and first.any())
        alike_at += [float(alike.mean())] if alike.size else []
    if copied:
        return possible, True
    if not alike_at or MOST <= min(alike_at) < 1:
        return possible, None
    return possible, min(alike_at) == 1


def is_mirrored(grid: Floats) -> bool:
    """Whether the second planes agree with the last but one, so that equal ends may be a mirror between points."""
    noise = SAME * float(np.abs(grid).max())
    return all(np.allclose(np.take(grid, 1, axis), np.take(grid, -2, axis), ALIKE, noise) for axis in range(3))


def compare_counts(grid: Floats, crystal: Crystal, units: Iterable[str]) -> tuple[Fact, bool]:
    """With which ends the electrons are a whole number that the nuclei hold, and whether it is whole to 0.001."""
    factors = [crystal.volume * TO_PER_ANGSTROM3[unit] for unit in units]

    def whole(points: Floats) -> int:
        counts = [judge_count(float(points.mean()) * factor, crystal.numbers) for factor in factors]
        return max(count.whole if count.held else 0 for count in counts)

    repeated, different = whole(without_ends(grid)), whole(grid)
    if repeated == different:
        return None, False
    return repeated > different, {repeated, different} == {2, 0}


def compare_positions(grid: Floats, crystal: Crystal) -> Fact:
    """With which ends the charge of a molecule, wire or slab has its centre nearer to that of its nuclei."""
    weights = np.array(crystal.numbers if crystal.numbers.all() else [1] * len(crystal), dtype=np.float64)
    errors = {True: 0.0, False: 0.0}
    for axis, n in enumerate(grid.shape):
        nuclei = _first_wave(weights, crystal.frac_coords[:, axis])
        profile = grid.sum(axis=tuple(other for other in range(3) if other != axis))
        waves = {
            True: _first_wave(profile[:-1], np.arange(n - 1) / (n - 1)),
            False: _first_wave(profile, np.arange(n) / n),
        }
        if min(abs(nuclei), *(abs(wave) for wave in waves.values())) > LOCALISED:
            for repeated, wave in waves.items():
                errors[repeated] += abs(float(np.angle(wave / nuclei))) / (2 * np.pi) * n
    better = min(errors, key=lambda repeated: errors[repeated])
    near, far = errors[better], errors[not better]
    return better if far - near > NEARER and near < far / 2 else None


def _first_wave(weights: Floats, places: Floats) -> complex:
    """The first Fourier coefficient of weights at fractional places; its phase is where they lie."""
    total = float(np.sum(weights))
    return complex(np.sum(weights * np.exp(2j * np.pi * places)) / total) if total > 0 else 0j


def without_ends(grid: Floats) -> Floats:
    """The grid [..., a, b, c] without the last plane along each of its three axes."""
    return grid[..., :-1, :-1, :-1]


def _sentence(grid: Floats, repeats: bool) -> str:
    ratio = float(without_ends(grid).mean() / grid.mean()) if grid.mean() else 1.0
    points = "x".join(str(n) for n in grid.shape)
    read, other = ("repeating the first", "all different") if repeats else ("all different", "repeating the first")
    times = 1 / ratio if repeats else ratio
    return (
        f"the last of its {points} points were read as {read}, which is not sure: as {other} the electrons would be"
        f" {times:.4f} times as many; compare with the run's, or write a cube"
    )
