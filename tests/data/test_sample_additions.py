"""The crystals that are added to the sample: what they must show, what they must not, and how they are run."""

from __future__ import annotations

import json
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from ecd_data.crystal import ATOMIC_NUMBERS, SYMBOLS
from ecd_data.dft import make_jobs
from ecd_data.dft.settings import ECUTWFC
from ecd_data.release.formula import elements_of
from ecd_data.sample import hybrid_additions, join_additions
from ecd_data.sample.additions import (
    EDITION,
    NONMETALS,
    WANTED_FORMULAS,
    add_settings,
    load_additions,
    make_addition_cells,
    may_have_gap,
)
from ecd_data.sample.cells import load_structures, make_cells, parent_of, select_hybrids
from ecd_data.sample.costs import VALENCE, estimate_hybrid_seconds, estimate_seconds
from ecd_data.sample.held_out import HeldOut, find_formula, find_held_out, find_type, to_crystal
from ecd_data.sample.hybrid_additions import TOTAL, choose_hybrids
from ecd_data.sample.ionic import is_ionic
from ecd_data.sample.meshes import KSPACING, NARROW_KSPACING, QSPACING
from ecd_data.sample.recipe import read_records
from ecd_data.sample.split import Cell, make_splits, plan_additions, split_three_editions
from ecd_data.sample.split_additions import COMPOSITIONS, GEOMETRIES
from ecd_data.sample.table import SAMPLE_FOLDER
from ecd_data.sample.verification import NOBLE_GASES, list_elements, list_oxides, make_verification_cell
from ecd_data.store import open_store
from ecd_data.store.data_root import sample_store

COMPUTED = SAMPLE_FOLDER / "computed"  # of the repository, not of the package
CRYSTALS = load_additions()
CELLS = make_addition_cells()
FORMULAS = {id: find_formula(to_crystal(record)) for id, record in CELLS.items()}
SAMPLE, MANIFEST = split_three_editions()
TRAINED = {SAMPLE[id].formula for id in MANIFEST["pbe"]["train"]}
DESCRIBED = {id: Cell(FORMULAS[id], CRYSTALS[parent_of(id)]["prototype"], EDITION, parent_of(id)) for id in CELLS}


@pytest.fixture(scope="module")
def held_out() -> HeldOut:
    """What the tests hold out."""
    return find_held_out()


def _count(formulas: set[str]) -> Counter[str]:
    return Counter(element for formula in formulas for element in elements_of(formula))


def _symbols(record) -> set[str]:
    return {SYMBOLS[number] for number in record["numbers"]}


def test_there_are_five_hundred_cells_and_no_id_twice() -> None:
    earlier = make_cells()
    assert not set(CELLS) & set(earlier | read_records("elements"))
    assert len(CELLS) + len(earlier) >= 550  # some runs may fail


def test_nothing_that_is_held_out_is_added(held_out: HeldOut) -> None:
    """No formula, pair or structure type of a test part, counted from the split and not from the code that chose."""
    tested = {SAMPLE[id].formula for name in ("pbe", "ood") for id in MANIFEST[name]["test"]} - TRAINED
    tested |= {SAMPLE[id].formula for id in MANIFEST["ood"]["test"]} | {
        SAMPLE[id].formula for id in MANIFEST["pbe"]["validation_compositions"]
    }
    assert not tested & set(FORMULAS.values())
    trained_pairs = {pair for id in MANIFEST["pbe"]["train"] for pair in SAMPLE[id].pairs}
    added = {pair for formula in FORMULAS.values() for pair in combinations(sorted(elements_of(formula)), 2)}
    for part in ("test_pairs", "test_rare_elements"):
        for id in MANIFEST["ood"][part]:
            assert SAMPLE[id].pairs - trained_pairs - added, f"every pair of {id} would train"
    assert not held_out.pairs & added
    types = {find_type(to_crystal(load_structures()[id])) for id in MANIFEST["ood"]["test_types"]}
    for id, record in CRYSTALS.items():
        assert find_type(to_crystal(record)) not in types, id
    prototypes = {SAMPLE[id].prototype for id in MANIFEST["ood"]["test_types"]}
    assert not prototypes & {record["prototype"] for record in CRYSTALS.values()}


@pytest.mark.parametrize(
    ("id", "reason"),
    [
        ("MgO_rs", "formula of a test or validation part: MgO"),
        ("KI_rs", "formula of a test or validation part: IK"),
        ("GaN_zb", "formula of a test or validation part: GaN"),
        ("Be_hcp", "formula of a test or validation part: Be"),
    ],
)
def test_what_is_held_out_is_recognised(held_out: HeldOut, id: str, reason: str) -> None:
    assert held_out.find_conflict(to_crystal(load_structures()[id])) == reason


def test_pairs_and_types_of_tests_are_recognised_in_other_crystals(held_out: HeldOut) -> None:
    iodide = load_structures()["KCl_rs"] | {"numbers": [ATOMIC_NUMBERS["Rb"], ATOMIC_NUMBERS["I"]] * 1}
    assert held_out.find_composition_conflict("I3Rb2") == "pair of elements of a test part: I-Rb"
    assert held_out.find_conflict(to_crystal(iodide)) == "formula of a test or validation part: IRb"
    hcp = load_structures()["Be_hcp"] | {"numbers": [ATOMIC_NUMBERS["Ru"]] * 2}
    assert held_out.find_conflict(to_crystal(hcp)) == "structure type of test_types"
    assert held_out.find_conflict(to_crystal(load_structures()["KCl_rs"])) is None


def test_elements_of_one_formula_get_four() -> None:
    before, after = _count(TRAINED), _count(TRAINED | set(FORMULAS.values()))
    parts = plan_additions()
    trained = _count(TRAINED | {FORMULAS[id] for id, part in parts.items() if part == "train"})
    for element in list_elements():
        wanted = WANTED_FORMULAS if element not in NOBLE_GASES else 1
        assert after[element] >= wanted, element
        assert trained[element] >= min(wanted, after[element]), element
    assert [element for element, count in before.items() if count == 1]


def test_every_element_is_bare_and_oxidised_unless_a_test_forbids_it(held_out: HeldOut) -> None:
    formulas = TRAINED | set(FORMULAS.values())
    bare = {element for element in list_elements() if element not in formulas}
    assert bare <= held_out.formulas
    for element in set(list_elements()) - {"O"}:
        if not any({element, "O"} <= elements_of(formula) for formula in formulas):
            oxides = [to_crystal(make_verification_cell(element, kind)) for kind in list_oxides(element)]
            assert all(held_out.find_conflict(oxide) for oxide in oxides), element


def test_low_symmetry_layered_and_intermetallic_types_are_there() -> None:
    classes = Counter(record["class"] for record in CRYSTALS.values())
    assert min(classes[name] for name in ("layered", "low symmetry", "intermetallic")) >= 10
    new = {record["prototype"] for record in CRYSTALS.values()} - {cell.prototype for cell in SAMPLE.values()}
    assert len(new) >= 25
    displaced = {parent_of(id) for id in CELLS if parent_of(id) != id}
    assert len(displaced) >= 40
    assert all(len(elements_of(FORMULAS[id])) > 1 for id in displaced)
    assert len(CELLS) - len(CRYSTALS) == len(displaced)


def test_ionic_compounds_are_neutral_and_cheap() -> None:
    ionic = {id: CRYSTALS[id] for id in CRYSTALS if CRYSTALS[id]["class"] == "ionic"}
    assert len(ionic) >= 50
    for id, record in ionic.items():
        metal, nonmetal = sorted(_symbols(record), key=lambda symbol: symbol in NONMETALS)
        assert metal not in NONMETALS, id
        assert nonmetal in NONMETALS, id
        assert estimate_seconds(add_settings(record, narrow_gap=True)) < 200, id
    assert sum(may_have_gap(record) for record in ionic.values()) >= 50
    assert {record["prototype"] for record in ionic.values()} == {"rs", "zb", "cscl", "fluorite"}
    assert is_ionic("Li", 2, "O", 1)
    assert is_ionic("Ca", 1, "F", 2)
    assert not is_ionic("Ca", 2, "F", 1)
    assert not is_ionic("Na", 1, "O", 1)
    assert not is_ionic("V", 1, "N", 1)
    assert is_ionic("V", 1, "N", 1, rare_charges=True)
    assert not is_ionic("Au", 1, "P", 1), "no clear difference of electronegativities"


def test_settings_follow_the_rule() -> None:
    for id, cell in CELLS.items():
        spacing = np.linalg.norm(np.linalg.inv(cell["lattice"]), axis=0) / cell["kmesh"]
        assert spacing.max() <= (NARROW_KSPACING if cell["narrow_gap"] else KSPACING) + 1e-9, id
        assert not cell["narrow_gap"] or all(points % 2 == 0 for points in cell["kmesh"]), id
        assert cell["ecutwfc_Ry"] == max(ECUTWFC[symbol] for symbol in _symbols(cell))
        assert cell["smearing"]
        assert bool(cell["magnetic_elements"]) == bool(cell["start_magnetisation"])
        assert set(cell["magnetic_elements"]) <= {"O", "V", "Cr", "Mn", "Fe", "Co", "Ni"}
        assert "O" not in cell["magnetic_elements"] or _symbols(cell) == {"O"}
    assert {job.id for job in make_jobs(CELLS, "pbe")} == set(CELLS)


def test_only_even_compounds_with_a_nonmetal_may_have_a_gap() -> None:
    records = load_structures()
    assert may_have_gap(records["MgO_rs"])
    assert may_have_gap({"numbers": [ATOMIC_NUMBERS["Ne"]]})
    assert not may_have_gap(records["C_diamond"])
    assert not may_have_gap(records["Al_fcc"])
    assert not may_have_gap(records["NiAl_cscl"])
    assert not may_have_gap({"numbers": [ATOMIC_NUMBERS["Al"], ATOMIC_NUMBERS["O"]]})


def test_valences_are_those_of_the_stored_densities() -> None:
    for row in open_store(sample_store("pbe")).index.itertuples():
        assert sum(VALENCE[SYMBOLS[number]] for number in row.numbers) == round(row.nelect), row.id


def test_parts_are_train_and_validation_only() -> None:
    parts = plan_additions()
    assert set(parts) == set(CELLS)
    assert set(parts.values()) == {"train", "validation_compositions", "validation_geometries"}
    validated = {FORMULAS[id] for id, part in parts.items() if part == "validation_compositions"}
    assert len(validated) == COMPOSITIONS
    assert not validated & {FORMULAS[id] for id, part in parts.items() if part != "validation_compositions"}
    geometries = [id for id, part in parts.items() if part == "validation_geometries"]
    assert len(geometries) == len({FORMULAS[id] for id in geometries}) == GEOMETRIES
    assert all(parts[parent_of(id)] == "train" for id in geometries)


def test_crystals_that_join_move_nothing_and_train_or_validate_as_planned() -> None:
    """Whichever cells have joined already, the parts of the others and of the first three editions are the same."""
    planned, hybrids = plan_additions(), set(select_hybrids())
    for some in ([], list(CELLS)[::3], [id for id in CELLS if id in CRYSTALS], list(CELLS)):
        joined = {id: DESCRIBED[id] for id in some}
        waiting = {id: cell for id, cell in DESCRIBED.items() if id not in joined}
        splits = make_splits(SAMPLE | joined, hybrids, waiting)
        assert splits["ood"] == MANIFEST["ood"]
        for part, ids in splits["pbe"].items():
            new = {
                id for id in joined if planned[id] == part or (part, planned[id][:10]) == ("validation", "validation")
            }
            assert set(ids) == set(MANIFEST["pbe"][part]) | new, part


def test_a_crystal_validates_only_when_its_elements_train(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(join_additions, "make_manifest", lambda: split_three_editions()[1])  # before any joins
    planned = plan_additions()
    together = list(CRYSTALS)
    assert join_additions.find_early_validation(together) == {}
    lone = {element for element in list_elements() if not _count(TRAINED)[element]}  # no crystal shows them yet
    validating = [id for id in CRYSTALS if planned[id] == "validation_compositions"]
    validates = next(id for id in validating if lone & _symbols(CRYSTALS[id]))
    element = min(lone & _symbols(CRYSTALS[validates]))
    without = [id for id in together if element not in _symbols(CRYSTALS[id]) or id == validates]
    reason = f"it validates, and fewer than 2 formulas with {element} train yet"
    assert join_additions.find_early_validation(without) == {validates: reason}


def test_hybrids_join_until_there_are_enough() -> None:
    gaps = hybrid_additions.read_known_gaps(Path("absent"))
    chosen = choose_hybrids(gaps)
    assert len(chosen) + len(select_hybrids()) == TOTAL
    tested = {id for name in ("pbe", "ood") for id in MANIFEST[name]["test"]}
    assert not set(chosen) & (tested | set(select_hybrids()))
    for id, record in chosen.items():
        spacing = np.linalg.norm(np.linalg.inv(record["lattice"]), axis=0) / record["qmesh_hse"]
        assert spacing.max() <= QSPACING + 1e-9, id
        assert all(points % 2 == 0 for points in record["qmesh_hse"]), id
        assert (record["metal"], record["start_magnetisation"]) == (False, 0.0)
        assert estimate_hybrid_seconds(record) > 0
    first = next(id for id in chosen if id in CRYSTALS)
    assert first not in choose_hybrids(gaps | {first: 0.1})


def test_additions_are_written_by_their_rule_with_a_source() -> None:
    for id, record in CRYSTALS.items():
        assert record["source"].endswith("of the verification crystals") or "DLSVolumePredictor" in record["source"], id
        assert add_settings(record)["kmesh"]
        assert set(_symbols(record)) <= set(VALENCE)


@pytest.mark.slow
def test_the_choice_repeats(tmp_path: Path) -> None:
    pytest.importorskip("smact")
    from ecd_data.sample.choose_additions import write_additions

    write_additions(tmp_path / "additions.json")
    assert json.loads((tmp_path / "additions.json").read_text())["crystals"] == CRYSTALS
