"""Whether the last points of a grid in an XSF repeat its first. The format says so, but many programs write others.

XCrySDen's general grid of n points spans the cell with both its ends; a grid of n points that are all different looks
the same in the file. Three facts tell them apart: whether the first and last planes agree; with which reading the
number of electrons is whole and the nuclei can bind it; with which reading the charge lies where the atoms are.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ecd_data.crystal import Crystal, Floats
from ecd_data.errors import FormatError
from ecd_data.formats.units import TO_PER_ANGSTROM3, judge_count

ENDS_GUESSED = "xsf-ends-guessed"  # the flag of a density for which the facts do not agree
SAME_TOLERANCE = 1e-4  # of the largest value: repeated points agree to the printed digits
VACUUM_LEVEL = 1e-5  # of the largest value: points below lie in a vacuum and hold noise
ALIKE_TOLERANCE = 1e-3  # of the larger of two values, below which they are alike
MAJORITY = 0.5  # share of the points of a plane
MIN_WAVE = 0.2  # share of the charge in the first wave along an axis, above which its phase tells where the charge lies
MIN_ADVANTAGE = 0.25  # of the distance of two points, by which one reading must fit the nuclei better

Fact = bool | None  # True: the ends repeat; False: they do not; None: this fact does not tell


def decide_ends(grid: Floats, crystal: Crystal, units: Iterable[str], name: str) -> tuple[bool, str | None]:
    """Whether the last planes of a grid repeat the first, and a sentence where that is not certain, else None.

    Parameters
    ----------
    grid : a density [a, b, c] on points that span the cell.
    crystal : its crystal.
    units : the units that the values may be in.
    name : what errors call the file.

    Raises
    ------
    FormatError : some points of a last plane repeat the first plane and others do not.
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
    return repeats, _explain_doubt(grid, repeats)


def compare_planes(grid: Floats, name: str) -> tuple[bool, Fact]:
    """Whether the first and last planes agree so well that they may be the same, and what this proves.

    Planes in a vacuum always agree. They prove something only where they have values to compare, or noise that is the
    same to the last digit.

    Raises
    ------
    FormatError : see `decide_ends`.
    """
    largest = float(np.abs(grid).max())
    possible, copied, alike_at = True, True, list[float]()
    for axis in range(3):
        first, last = np.take(grid, 0, axis), np.take(grid, -1, axis)
        size, difference = np.maximum(np.abs(first), np.abs(last)), np.abs(first - last)
        alike = (difference <= ALIKE_TOLERANCE * size)[size > VACUUM_LEVEL * largest]
        differ = int((difference > SAME_TOLERANCE * largest).sum())
        if differ and alike.mean() > MAJORITY:
            raise FormatError(
                f"{name} is damaged or not periodic: {differ} of the {first.size} last points along axis {axis + 1} do"
                " not repeat the first, and the others do; write it again"
            )
        possible &= not differ
        copied &= bool((first == last).all() and first.any())
        alike_at += [float(alike.mean())] if alike.size else []
    if copied:
        return possible, True
    if not alike_at or MAJORITY <= min(alike_at) < 1:
        return possible, None
    return possible, min(alike_at) == 1


def is_mirrored(grid: Floats) -> bool:
    """Whether the second planes equal the last but one: then equal ends may come from a mirror plane between points."""
    noise = SAME_TOLERANCE * float(np.abs(grid).max())
    pairs = ((np.take(grid, 1, axis), np.take(grid, -2, axis)) for axis in range(3))
    return all(np.allclose(second, before_last, ALIKE_TOLERANCE, noise) for second, before_last in pairs)


def compare_counts(grid: Floats, crystal: Crystal, units: Iterable[str]) -> tuple[Fact, bool]:
    """Whether the ends repeat by the number of electrons, and whether that is whole to 0.001 with one reading alone."""
    factors = [crystal.volume * TO_PER_ANGSTROM3[unit] for unit in units]

    def whole(points: Floats) -> int:
        counts = [judge_count(float(points.mean()) * factor, crystal.numbers) for factor in factors]
        return max(count.whole if count.held else 0 for count in counts)

    repeated, different = whole(drop_ends(grid)), whole(grid)
    if repeated == different:
        return None, False
    return repeated > different, {repeated, different} == {2, 0}


def compare_positions(grid: Floats, crystal: Crystal) -> Fact:
    """Whether the ends repeat by the centre of the charge of a molecule, wire or slab, which lies near its nuclei."""
    weights = np.array(crystal.numbers if crystal.numbers.all() else [1] * len(crystal), dtype=np.float64)
    errors = {True: 0.0, False: 0.0}
    for axis, n in enumerate(grid.shape):
        nuclei = _first_wave(weights, crystal.frac_coords[:, axis])
        profile = grid.sum(axis=tuple(other for other in range(3) if other != axis))
        waves = {
            True: _first_wave(profile[:-1], np.arange(n - 1) / (n - 1)),
            False: _first_wave(profile, np.arange(n) / n),
        }
        if min(abs(nuclei), *(abs(wave) for wave in waves.values())) > MIN_WAVE:
            for repeated, wave in waves.items():
                errors[repeated] += abs(float(np.angle(wave / nuclei))) / (2 * np.pi) * n
    better = min(errors, key=lambda repeated: errors[repeated])
    near, far = errors[better], errors[not better]
    return better if far - near > MIN_ADVANTAGE and near < far / 2 else None


def _first_wave(weights: Floats, positions: Floats) -> complex:
    """The first Fourier coefficient of weights at fractional positions; its phase tells where they lie."""
    total = float(np.sum(weights))
    return complex(np.sum(weights * np.exp(2j * np.pi * positions)) / total) if total > 0 else 0j


def drop_ends(grid: Floats) -> Floats:
    """The grid [..., a, b, c] without the last plane along each of its three axes."""
    return grid[..., :-1, :-1, :-1]


def _explain_doubt(grid: Floats, repeats: bool) -> str:
    ratio = float(drop_ends(grid).mean() / grid.mean()) if grid.mean() else 1.0
    points = "x".join(str(n) for n in grid.shape)
    read, other = ("repeating the first", "all different") if repeats else ("all different", "repeating the first")
    times = 1 / ratio if repeats else ratio
    return (
        f"the last of its {points} points were read as {read}, which is not certain: as {other} the electrons would be"
        f" {times:.4f} times as many; compare with the run's, or write a cube"
    )
