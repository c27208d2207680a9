"""The valences that a model learned: the electrons of an atom of each element in its training data, and their source.

A density of pseudopotentials holds valence electrons only, and programs differ in which those are: Fe has 16 in the
embedded sample and 8 in VASP's standard POTCAR. A density for one set of pseudopotentials is useless with another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecd_data.crystal import ATOMIC_NUMBERS, SYMBOLS, Crystal
from ecd_data.density import Density
from ecd_data.errors import UsageError
from ecd_data.store.reader import Store
from ecd_models.atoms.electron_count import fit_valences

MAX_CRYSTALS_READ = 8  # training crystals whose settings are read, since reading settings means decoding a density
SEVERAL = "several"  # stands for an engine or method where the data have more than one


@dataclass(frozen=True)
class TrainingValences:
    """The electrons of an atom of each element in the training data, and what computed these densities.

    undetermined: elements whose electrons the training crystals do not determine exactly; engine: such as "VASP";
    method: "PAW", "pseudopotentials" or "all-electron". engine and method are "" where the data do not say, and
    "several" where they differ.
    """

    valences: Mapping[str, float] = field(default_factory=dict)
    undetermined: tuple[str, ...] = ()
    engine: str = ""
    method: str = ""
    functional: str = ""

    @property
    def made_by(self) -> str:
        """What computed the densities, in words."""
        words = [self.engine or "a code that is not recorded", f"with {self.method}" if self.method else ""]
        return " ".join(filter(None, words)) + (f" ({self.functional})" if self.functional else "")

    def saw(self, symbol: str) -> bool:
        """Whether the training crystals contain an element."""
        return symbol in self.valences or symbol in self.undetermined

    def electrons(self, crystal: Crystal) -> float | None:
        """The number of electrons of a crystal, None where the number for one of its elements is not known."""
        if not set(crystal.symbols) <= set(self.valences):
            return None
        return float(sum(self.valences[symbol] for symbol in crystal.symbols))

    def to_record(self) -> dict[str, Any]:
        """The fields as JSON holds them."""
        return asdict(self) | {"valences": dict(self.valences), "undetermined": list(self.undetermined)}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> TrainingValences:
        """The valences from the fields that `to_record` returns.

        Raises
        ------
        ValueError, TypeError, KeyError : the record is not valid.
        """
        valences = {symbol: float(count) for symbol, count in record["valences"].items()}
        if unknown := (set(valences) | set(record["undetermined"])) - set(ATOMIC_NUMBERS):
            raise ValueError(f"no elements: {', '.join(sorted(unknown))}")
        if not all(0 < count < np.inf for count in valences.values()):
            raise ValueError("valences that are not positive")
        texts = {name: str(record.get(name, "")) for name in ("engine", "method", "functional")}
        return cls(valences, tuple(record["undetermined"]), **texts)


def read_training_valences(store: Store, ids: Sequence[str]) -> TrainingValences:
    """The valences that a model learns from the crystals of a store with these ids.

    They are whole numbers that give each crystal with the element its electrons. Where there are no such numbers
    (charged cells, two pseudopotentials for an element), or several sets of them, the elements are `undetermined`.
    """
    rows = store.index[store.index["id"].isin(set(ids))]
    valences, undetermined = find_exact_valences(list(zip(rows["numbers"], rows["nelect"], strict=True)))
    functionals = sorted({str(name) for name in rows["functional"].dropna() if name})
    densities = [store[id] for id in _choose_evenly(list(ids), MAX_CRYSTALS_READ)]
    engines = {str(rho.meta.get("provenance", {}).get("engine", "")) for rho in densities}
    methods = {find_core_treatment(rho) for rho in densities}
    return TrainingValences(
        valences, undetermined, _name_common(engines), _name_common(methods), ", ".join(functionals)
    )


def find_exact_valences(
    crystals: Sequence[tuple[NDArray[np.int64], float]],
) -> tuple[dict[str, float], tuple[str, ...]]:
    """The electrons of each element that crystals determine exactly, and the other elements.

    crystals: atomic numbers [n] and number of electrons of each.
    """
    elements = sorted({int(z) for numbers, _ in crystals for z in numbers if z})
    counted = [(np.asarray(numbers), float(nelect)) for numbers, nelect in crystals if np.isfinite(nelect)]
    counted = [(numbers, nelect) for numbers, nelect in counted if len(numbers) and numbers.all()]
    try:
        fitted = fit_valences(counted) if counted else np.full(len(SYMBOLS), np.nan)
    except UsageError:  # the electrons are not sums over the atoms
        fitted = np.full(len(SYMBOLS), np.nan)
    determined = {z for z in elements if fitted[z] > 0 and fitted[z] == np.rint(fitted[z])}
    for numbers, nelect in counted:
        if set(numbers.tolist()) <= determined and not is_same_electron_count(float(fitted[numbers].sum()), nelect):
            determined -= set(numbers.tolist())
    valences = {SYMBOLS[z]: float(fitted[z]) for z in elements if z in determined}
    return valences, tuple(SYMBOLS[z] for z in elements if z not in determined)


def merge_valences(before: TrainingValences | None, now: TrainingValences) -> tuple[TrainingValences, str | None]:
    """The valences of a model that learned `before` and is now trained with data that teach `now`; a warning or None.

    Where the two contradict each other, `now` replaces `before`, since the training makes the model forget it.
    """
    if before is None:
        return now, None
    shared = set(before.valences) & set(now.valences)
    differ = [symbol for symbol in sorted(shared) if before.valences[symbol] != now.valences[symbol]]
    others = [name for name in ("engine", "method") if {"", getattr(now, name)} & {getattr(before, name)} == set()]
    if differ or others:
        counts = ", ".join(f"{s} {before.valences[s]:g} instead of {now.valences[s]:g}" for s in differ[:5])
        difference = (
            f"with other electrons per atom ({counts})" if differ else f"of {before.made_by}, not {now.made_by}"
        )
        return (
            now,
            f"starts from a model of densities {difference}: only what these training crystals have is kept as known",
        )
    undetermined = {*before.undetermined, *now.undetermined} - {*before.valences, *now.valences}
    texts = {name: getattr(now, name) or getattr(before, name) for name in ("engine", "method", "functional")}
    return TrainingValences({**before.valences, **now.valences}, tuple(sorted(undetermined)), **texts), None


def is_same_electron_count(found: float, due: float) -> bool:
    """Whether two numbers of electrons are equal within 0.1, or within 0.1 % of a large one, as in files."""
    return bool(abs(found - due) <= max(0.1, 1e-3 * abs(due)))


def find_core_treatment(rho: Density) -> str:
    """How a density treats core electrons: "PAW", "pseudopotentials", "all-electron", or "" where it does not say."""
    settings = rho.meta.get("settings", {})
    if rho.meta.get("kind") == "all-electron":
        return "all-electron"
    if rho.augmentation is not None or str((settings.get("potcar") or [""])[0]).startswith("PAW"):
        return "PAW"
    engine = str(rho.meta.get("provenance", {}).get("engine", ""))
    if engine in ("VASP", "GPAW"):
        return "PAW"
    return "pseudopotentials" if settings.get("pseudopotentials") else ""


def parse_zval(texts: Iterable[str]) -> dict[str, frozenset[float]]:
    """The valences by element in words such as "Fe=8"; an element may have several.

    Raises
    ------
    UsageError : a word has another form.
    """
    found: dict[str, frozenset[float]] = {}
    for text in texts:
        symbol, _, count = text.partition("=")
        try:
            value = float(count)
        except ValueError:
            value = np.nan
        if symbol not in ATOMIC_NUMBERS or not 0 < value < np.inf:
            raise UsageError(f"{text!r} is no valence: write an element and its electrons, as in Fe=8")
        found[symbol] = found.get(symbol, frozenset()) | {value}
    return found


def _choose_evenly(ids: list[str], count: int) -> list[str]:
    chosen: NDArray[np.int64] = np.unique(np.linspace(0, len(ids) - 1, min(count, len(ids))).astype(np.int64))
    return [ids[i] for i in chosen]


def _name_common(words: set[str]) -> str:
    """What all densities have; "" where one of them does not say, SEVERAL where two differ."""
    known = words - {""}
    if len(known) > 1:
        return SEVERAL
    return "" if "" in words or not known else known.pop()
