"""What tells one pair of elements from another: descriptors, and the similarity to pairs that were fitted.

Descriptors alone make the model linear in properties of the elements. Similarities let it follow the pairs of its
fit more closely, and give a pair that it never saw the values of the pairs that resemble it.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from ecd_data.crystal import SYMBOLS, Floats
from ecd_data.errors import UsageError
from ecd_models.networks.elements import column, in_d_block, valence

PAIR_DESCRIPTORS = 12
# Combinations of the descriptors that change their sign when the two atoms are exchanged [12, 6].
ANTISYMMETRIC = np.zeros((PAIR_DESCRIPTORS, 6))
ANTISYMMETRIC[[1, 3, 5], [0, 1, 2]] = 1
ANTISYMMETRIC[[6, 8, 10], [3, 4, 5]] = 1
ANTISYMMETRIC[[7, 9, 11], [3, 4, 5]] = -1
SIMILARITY_LENGTH = 1.5  # in units of `_scaled_properties`; better than 1 in cross-validation over compositions
MIN_EIGENVALUE = 1e-6  # of the similarities of the anchors, which may nearly depend on each other

Integers = NDArray[np.int64]


def pair_descriptors(first: Integers, second: Integers) -> Floats:
    """The descriptors of pairs of elements, from the atomic numbers [e] of the two [e, 12].

    They are 1; the difference of the electronegativities, its absolute value and their product; the mean of the
    electronegativities minus 2 and its product with the difference; and of each element valence / 4 - 1, whether it is
    in the d block, and log(radius / 1.3 Å).
    """
    chi, radius = column("electronegativity"), column("covalent_radius")
    difference, mean = chi[second] - chi[first], (chi[first] + chi[second]) / 2 - 2
    columns = [np.ones(len(first)), difference, abs(difference), difference * abs(difference), mean, mean * difference]
    for values in (valence() / 4 - 1, in_d_block(), np.log(radius / 1.3)):
        columns += [values[first], values[second]]
    return np.stack(columns, axis=1)


def describe_pairs(first: Integers, second: Integers, anchors: tuple[str, ...]) -> Floats:
    """The descriptors of pairs, then their similarities to the anchors in both orders [e, 12 + ordered anchors].

    Similarities are whitened: as a prior of independent weights they are the Gaussian process whose covariance is the
    similarity. Exchanging the two elements exchanges the columns of an anchor's two orders.
    """
    descriptors = pair_descriptors(first, second)
    if not anchors:
        return descriptors
    similarities = _similarity(_scaled_properties(first, second), _scaled_properties(*order_anchors(anchors).T))
    return np.concatenate([descriptors, similarities @ _whitening(anchors)], axis=1)


def order_anchors(anchors: tuple[str, ...]) -> Integers:
    """The atomic numbers of anchors such as "Al-N", each in both orders unless its elements are the same [a, 2].

    Raises
    ------
    UsageError : an anchor is no pair of two elements of the table, or is there twice.
    """
    pairs = [_read_anchor(anchor) for anchor in anchors]
    if len({frozenset(pair) for pair in pairs}) < len(pairs):
        raise UsageError(f"a pair of elements is there twice among the anchors {', '.join(anchors)}")
    return np.array([pair for a, b in pairs for pair in dict.fromkeys([(a, b), (b, a)])], dtype=np.int64).reshape(-1, 2)


def _read_anchor(anchor: str) -> tuple[int, int]:
    numbers = [SYMBOLS.index(symbol) if symbol in SYMBOLS else 0 for symbol in anchor.split("-")]
    if len(numbers) != 2 or not np.isfinite(column("electronegativity")[numbers]).all():
        raise UsageError(f'the anchor {anchor!r} is no pair of elements such as "Al-N", of hydrogen to curium')
    return numbers[0], numbers[1]


def find_antisymmetric(anchors: tuple[str, ...]) -> Floats:
    """Combinations of the columns of `describe_pairs` that change their sign when the atoms are exchanged [d, c].

    The charge that they add to one atom of a pair, they take from the other.
    """
    pairs = order_anchors(anchors).tolist()
    couples = [(pairs.index([a, b]), pairs.index([b, a])) for a, b in pairs if a < b]
    result = np.zeros((PAIR_DESCRIPTORS + len(pairs), ANTISYMMETRIC.shape[1] + len(couples)))
    result[:PAIR_DESCRIPTORS, : ANTISYMMETRIC.shape[1]] = ANTISYMMETRIC
    for number, (there, back) in enumerate(couples):
        result[PAIR_DESCRIPTORS + np.array([there, back]), ANTISYMMETRIC.shape[1] + number] = 1, -1
    return result


def choose_anchors(pairs: Iterable[tuple[int, int]], count: int) -> tuple[str, ...]:
    """Up to `count` of the pairs of atomic numbers, as "Al-N", to which the others are most similar.

    The next anchor is the one that leaves the smallest variance, summed over all pairs in both orders, of a Gaussian
    process with the similarity as covariance whose values at the anchors are known.
    """
    known = sorted({(min(pair), max(pair)) for pair in pairs})
    numbers = np.array(known, dtype=np.int64).reshape(-1, 2)
    properties = _scaled_properties(*np.concatenate([numbers, numbers[:, ::-1]]).T)
    covariance = _similarity(properties, properties)
    chosen: list[int] = []
    while len(chosen) < min(count, len(known)):
        gains = (covariance**2).sum(axis=1) / np.maximum(covariance.diagonal(), MIN_EIGENVALUE)
        gains[chosen] = -1
        chosen.append(int(np.argmax(gains[: len(known)])))
        for row in (chosen[-1], chosen[-1] + len(known)):
            if covariance[row, row] > MIN_EIGENVALUE:
                covariance = covariance - np.outer(covariance[row], covariance[row]) / covariance[row, row]
    return tuple("-".join(SYMBOLS[z] for z in known[row]) for row in chosen)


def _scaled_properties(first: Integers, second: Integers) -> Floats:
    """Properties of the two elements of pairs, which differ by about 1 between neighbours in the table [e, 8]."""
    chi, radius = column("electronegativity"), column("covalent_radius")
    properties = [(chi - 2) / 0.8, np.log(radius / 1.3) / 0.35, (valence() / 4 - 1) / 0.6, in_d_block()]
    return np.stack([values[numbers] for numbers in (first, second) for values in properties], axis=1)


def _similarity(some: Floats, others: Floats) -> Floats:
    squares = ((some[:, None] - others) ** 2).sum(axis=2)
    return np.exp(-squares / (2 * SIMILARITY_LENGTH**2))


@cache
def _whitening(anchors: tuple[str, ...]) -> Floats:
    """The inverse root of the similarities between the ordered anchors [a, a]."""
    properties = _scaled_properties(*order_anchors(anchors).T)
    values, vectors = np.linalg.eigh(_similarity(properties, properties))
    return (vectors / np.sqrt(np.maximum(values, MIN_EIGENVALUE))) @ vectors.T
