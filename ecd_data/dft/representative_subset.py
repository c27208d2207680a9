"""A small set of crystals that looks like a large one: how the HSE06 subset is drawn from what PBE was computed for.

The paper's criteria (section 2.2, appendix B): few atoms, one to three elements, every element there is, crystal
systems and sizes as in the whole.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ecd_data.crystal import Crystal
from ecd_data.dft.filters import SYMPREC
from ecd_data.errors import UsageError
from ecd_data.symmetry import spacegroup

MOST_ATOMS = 20
MOST_COMPONENTS = 3
SIZE_STEP = 5  # atoms a bin
SYSTEMS = {2: "triclinic", 15: "monoclinic", 74: "orthorhombic", 142: "tetragonal", 167: "trigonal", 194: "hexagonal"}
ASPECTS = ("elements", "components", "crystal systems", "sizes")


@dataclass(frozen=True)
class Traits:
    """What the selection looks at in a crystal: (aspect, class) pairs, the elements one each."""

    labels: tuple[tuple[str, str], ...]
    natoms: int
    components: int


def traits(crystal: Crystal) -> Traits:
    """The elements, number of components, crystal system and size class of a crystal."""
    number = spacegroup(crystal, SYMPREC)
    system = "none" if number is None else next((name for last, name in SYSTEMS.items() if number <= last), "cubic")
    low = (len(crystal) - 1) // SIZE_STEP * SIZE_STEP
    labels = [("elements", element) for element in crystal.elements]
    labels += [
        ("components", str(len(crystal.elements))),
        ("crystal systems", system),
        ("sizes", f"{low + 1} to {low + SIZE_STEP} atoms"),
    ]
    return Traits(tuple(labels), len(crystal), len(crystal.elements))


@dataclass(frozen=True)
class Subset:
    """The chosen ids and, for each aspect, class -> (share of the candidates, share of the chosen)."""

    ids: list[str]
    shares: dict[str, dict[str, tuple[float, float]]]
    missing: list[str]

    @property
    def distances(self) -> dict[str, float]:
        """Total variation distance between whole and subset for each aspect: 0 where they are alike, at most 1."""
        return {
            aspect: sum(abs(whole - part) for whole, part in classes.values()) / 2
            for aspect, classes in self.shares.items()
        }

    def __str__(self) -> str:
        lines = [f"{len(self.ids)} crystals; distance from the whole (0 alike, 1 apart):"]
        lines += [f"  {aspect}: {distance:.3f}" for aspect, distance in self.distances.items()]
        if self.missing:
            lines.append(f"  elements of which no candidate is small enough: {' '.join(self.missing)}")
        return "\n".join(lines)


def representative(
    crystals: Mapping[str, Crystal],
    count: int,
    *,
    max_atoms: int = MOST_ATOMS,
    max_components: int = MOST_COMPONENTS,
    seed: int = 0,
) -> Subset:
    """`count` crystals of at most max_atoms atoms and max_components elements, distributed like all of them.

    First every element that a candidate has gets one crystal, the rarest first; then the crystal is added, again and
    again, that brings the shares of elements, components, crystal systems and sizes nearest to those of the whole.
    Ties are broken by a hash of (seed, id), so the same set comes in any order. Raises UsageError where the candidates
    are fewer than `count`.
    """
    described = {id: traits(crystal) for id, crystal in crystals.items()}
    small = {id: t for id, t in described.items() if t.natoms <= max_atoms and t.components <= max_components}
    if len(small) < count:
        raise UsageError(
            f"{count} crystals cannot be chosen: only {len(small)} have at most {max_atoms} atoms and"
            f" {max_components} elements"
        )
    # what the paper's limits exclude cannot be matched: shares of sizes and components are those of the candidates
    target = _shares(described.values(), {"elements", "crystal systems"}) | _shares(
        small.values(), {"components", "sizes"}
    )
    chosen = _covering(small, count, seed)
    _filled(small, chosen, target, count, seed)
    shares = _compared(target, _shares((small[id] for id in chosen), set(ASPECTS)))
    reached = {label for t in small.values() for aspect, label in t.labels if aspect == "elements"}
    every = {label for t in described.values() for aspect, label in t.labels if aspect == "elements"}
    return Subset(sorted(chosen), shares, sorted(every - reached))


def _shares(rows: Iterable[Traits], aspects: set[str]) -> dict[tuple[str, str], float]:
    """The share of the rows that has each label of these aspects."""
    counts: Counter[tuple[str, str]] = Counter()
    total = 0
    for row in rows:
        total += 1
        counts.update(label for label in row.labels if label[0] in aspects)
    return {label: n / total for label, n in counts.items()} if total else {}


def _covering(small: Mapping[str, Traits], count: int, seed: int) -> list[str]:
    """One crystal for every element, the rarest elements first, as long as there is room."""
    holders: dict[str, list[str]] = {}
    for id, row in small.items():
        for aspect, element in row.labels:
            if aspect == "elements":
                holders.setdefault(element, []).append(id)
    chosen: list[str] = []
    covered: set[str] = set()
    for element in sorted(holders, key=lambda e: (len(holders[e]), e)):
        if element not in covered and len(chosen) < count:
            best = max(holders[element], key=lambda id: (len(_elements(small[id]) - covered), _hash(seed, id)))
            chosen.append(best)
            covered |= _elements(small[best])
    return chosen


def _filled(
    small: Mapping[str, Traits], chosen: list[str], target: Mapping[tuple[str, str], float], count: int, seed: int
) -> None:
    """Adds to `chosen`, one by one, the crystal whose labels are needed most, until there are `count`.

    Needs only fall as crystals are added, so an old value is an upper bound and the heap needs few fresh ones.
    """
    have: Counter[tuple[str, str]] = Counter(label for id in chosen for label in small[id].labels)

    def need(id: str) -> float:
        labels = small[id].labels
        return sum(1 - have[label] / (count * target[label]) for label in labels) / len(labels)

    taken = set(chosen)
    heap = [(-need(id), _hash(seed, id), id) for id in small if id not in taken]
    heapq.heapify(heap)
    while len(chosen) < count:
        _, tie, id = heapq.heappop(heap)
        fresh = -need(id)
        if heap and fresh > heap[0][0]:
            heapq.heappush(heap, (fresh, tie, id))
            continue
        chosen.append(id)
        have.update(small[id].labels)


def _compared(
    whole: Mapping[tuple[str, str], float], part: Mapping[tuple[str, str], float]
) -> dict[str, dict[str, tuple[float, float]]]:
    """The shares of whole and part by aspect and class, normalised to one in each aspect."""
    table: dict[str, dict[str, tuple[float, float]]] = {}
    for aspect in ASPECTS:
        labels = sorted({label for label in (*whole, *part) if label[0] == aspect})
        sums = [sum(side.get(label, 0.0) for label in labels) or 1.0 for side in (whole, part)]
        table[aspect] = {
            label[1]: (whole.get(label, 0.0) / sums[0], part.get(label, 0.0) / sums[1]) for label in labels
        }
    return table


def _elements(row: Traits) -> set[str]:
    return {label for aspect, label in row.labels if aspect == "elements"}


def _hash(seed: int, id: str) -> str:
    return hashlib.sha256(f"{seed}:{id}".encode()).hexdigest()
