"""The choice of a small subset of crystals with the distribution of the whole set, such as the one for HSE06.

The criteria are the paper's (section 2.2, appendix B): few atoms, one to three elements, every element that occurs,
crystal systems and sizes distributed as in the whole set.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ecd_data.arguments import whole_number
from ecd_data.crystal import Crystal
from ecd_data.dft.selection import SYMPREC
from ecd_data.errors import UsageError
from ecd_data.fixed_order import order_key
from ecd_data.symmetry import crystal_system, spacegroup

MOST_ATOMS = 20  # the paper's limit for HSE06
MOST_COMPONENTS = 3  # elements of a crystal, the paper's limit for HSE06
SEED = 0  # of the order of crystals that fit equally well
SIZE_STEP = 5  # atoms in a size class
ASPECTS = ("elements", "components", "crystal systems", "sizes")


@dataclass(frozen=True)
class CrystalTraits:
    """The properties of a crystal that decide the choice: pairs (aspect, class), with one pair for each element."""

    labels: tuple[tuple[str, str], ...]
    natoms: int
    components: int


def find_traits(crystal: Crystal) -> CrystalTraits:
    """The elements, number of components, crystal system and size class of a crystal."""
    number = spacegroup(crystal, SYMPREC)
    system = "none" if number is None else crystal_system(number)
    low = (len(crystal) - 1) // SIZE_STEP * SIZE_STEP
    labels = [("elements", element) for element in crystal.elements]
    labels += [
        ("components", str(len(crystal.elements))),
        ("crystal systems", system),
        ("sizes", f"{low + 1} to {low + SIZE_STEP} atoms"),
    ]
    return CrystalTraits(tuple(labels), len(crystal), len(crystal.elements))


@dataclass(frozen=True)
class RepresentativeSubset:
    """The chosen subset.

    Attributes
    ----------
    ids : the sorted ids.
    shares : for each aspect and class, its share of the whole set and of the subset.
    missing : elements that no chosen crystal has: no candidate has them, or `count` is too small for all.
    """

    ids: list[str]
    shares: dict[str, dict[str, tuple[float, float]]]
    missing: list[str]

    @property
    def distances(self) -> dict[str, float]:
        """The total variation distance between whole and subset for each aspect: from 0 (equal) to 1."""
        return {
            aspect: sum(abs(whole - part) for whole, part in classes.values()) / 2
            for aspect, classes in self.shares.items()
        }

    def __str__(self) -> str:
        lines = [f"{len(self.ids)} crystals; distance from the whole set (0 equal, 1 disjoint):"]
        lines += [f"  {aspect}: {distance:.3f}" for aspect, distance in self.distances.items()]
        if self.missing:
            lines.append(f"  elements that no chosen crystal has: {' '.join(self.missing)}")
        return "\n".join(lines)


def choose_representative(crystals: Mapping[str, Crystal], count: int) -> RepresentativeSubset:
    """A subset of `count` small crystals, distributed like the whole set.

    First every element gets one crystal, the rarest elements first. Then the crystal is added, one after the other,
    that brings the shares of elements, components, crystal systems and sizes nearest to those of the whole set. Ties
    are broken by a hash of the id, so the order of the crystals does not matter.

    Parameters
    ----------
    crystals : the whole set by id.
    count : the size of the subset.

    Raises
    ------
    UsageError : `count` is not positive, or fewer than `count` crystals are small enough.
    """
    whole_number(count, "the size of the subset (--subset)", 1)
    traits = {id: find_traits(crystal) for id, crystal in crystals.items()}
    small = {id: t for id, t in traits.items() if t.natoms <= MOST_ATOMS and t.components <= MOST_COMPONENTS}
    if len(small) < count:
        raise UsageError(
            f"{count} crystals cannot be chosen: only {len(small)} have at most {MOST_ATOMS} atoms and"
            f" {MOST_COMPONENTS} elements; ask for fewer"
        )
    # large crystals are excluded, so the shares of sizes and components are those of the candidates
    target = _count_shares(traits.values(), {"elements", "crystal systems"})
    target |= _count_shares(small.values(), {"components", "sizes"})
    chosen = _cover_elements(small, count)
    _fill_subset(small, chosen, target, count)
    shares = _compare_shares(target, _count_shares((small[id] for id in chosen), set(ASPECTS)))
    everything, covered = (set[str]().union(*(_elements_of(traits[id]) for id in ids)) for ids in (traits, chosen))
    return RepresentativeSubset(sorted(chosen), shares, sorted(everything - covered))


def _count_shares(rows: Iterable[CrystalTraits], aspects: set[str]) -> dict[tuple[str, str], float]:
    """The share of the rows that have each label of these aspects."""
    counts: Counter[tuple[str, str]] = Counter()
    total = 0
    for row in rows:
        total += 1
        counts.update(label for label in row.labels if label[0] in aspects)
    return {label: n / total for label, n in counts.items()} if total else {}


def _cover_elements(small: Mapping[str, CrystalTraits], count: int) -> list[str]:
    """The ids of crystals that cover every element, the rarest elements first, at most `count`."""
    holders: dict[str, list[str]] = {}
    for id, row in small.items():
        for aspect, element in row.labels:
            if aspect == "elements":
                holders.setdefault(element, []).append(id)
    chosen: list[str] = []
    covered: set[str] = set()
    for element in sorted(holders, key=lambda e: (len(holders[e]), e)):
        if element not in covered and len(chosen) < count:
            best = max(holders[element], key=lambda id: (len(_elements_of(small[id]) - covered), order_key(id, SEED)))
            chosen.append(best)
            covered |= _elements_of(small[best])
    return chosen


def _fill_subset(
    small: Mapping[str, CrystalTraits], chosen: list[str], target: Mapping[tuple[str, str], float], count: int
) -> None:
    """Add to `chosen`, one after the other, the crystal whose labels are needed most, until there are `count`.

    The need of a crystal only falls as others are added, so an old value in the heap is an upper bound, and few values
    must be computed again.
    """
    have: Counter[tuple[str, str]] = Counter(label for id in chosen for label in small[id].labels)

    def need(id: str) -> float:
        labels = small[id].labels
        return sum(1 - have[label] / (count * target[label]) for label in labels) / len(labels)

    taken = set(chosen)
    heap = [(-need(id), order_key(id, SEED), id) for id in small if id not in taken]
    heapq.heapify(heap)
    while len(chosen) < count:
        _, tie, id = heapq.heappop(heap)
        fresh = -need(id)
        if heap and fresh > heap[0][0]:
            heapq.heappush(heap, (fresh, tie, id))
            continue
        chosen.append(id)
        have.update(small[id].labels)


def _compare_shares(
    whole: Mapping[tuple[str, str], float], part: Mapping[tuple[str, str], float]
) -> dict[str, dict[str, tuple[float, float]]]:
    """The shares of whole and part by aspect and class; they add up to 1 in each aspect."""
    table: dict[str, dict[str, tuple[float, float]]] = {}
    for aspect in ASPECTS:
        labels = sorted({label for label in (*whole, *part) if label[0] == aspect})
        sums = [sum(side.get(label, 0.0) for label in labels) or 1.0 for side in (whole, part)]
        table[aspect] = {
            label[1]: (whole.get(label, 0.0) / sums[0], part.get(label, 0.0) / sums[1]) for label in labels
        }
    return table


def _elements_of(row: CrystalTraits) -> set[str]:
    return {label for aspect, label in row.labels if aspect == "elements"}
