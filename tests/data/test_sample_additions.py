"""The crystals that are added to the sample: what they must show, what they must not, and how they are run."""

from __future__ import annotations

import json
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from ecd_data.crystal import ATOMIC_NUMBERS, SYMBOLS
from ecd_data.density import Density
from ecd_data.dft import RunReport, make_jobs
from ecd_data.dft.settings import ECUTWFC
from ecd_data.release.formula import elements_of
from ecd_data.sample import addition_runs, hybrid_additions, join_additions
from ecd_data.sample.addition_runs import FINAL, choose_final_meshes, order_cells, run_additions
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
from ecd_data.sample.join_additions import find_hindrance
from ecd_data.sample.meshes import KSPACING, NARROW_KSPACING, QSPACING
from ecd_data.sample.recipe import read_records
from ecd_data.sample.split import Cell, make_splits, plan_additions, split_three_editions
from ecd_data.sample.split_additions import COMPOSITIONS, GEOMETRIES
from ecd_data.sample.table import SAMPLE_FOLDER
from ecd_data.sample.verification import NOBLE_GASES, list_elements, list_oxides, make_verification_cell
from ecd_data.store import StoreWriter, open_store
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


def test_a_narrow_gap_leads_to_the_finer_mesh() -> None:
    parents = {id: CELLS[id] for id in CRYSTALS if not CELLS[id]["narrow_gap"]}
    id = next(iter(id for id in parents if f"{id}-d1" in CELLS))
    cells = {id: CELLS[id], f"{id}-d1": CELLS[f"{id}-d1"]}
    wide, narrow = choose_final_meshes(cells, {id: 1.5}), choose_final_meshes(cells, {id: 0.2})
    assert wide[id]["kmesh"] == CELLS[id]["kmesh"]
    assert all(one["narrow_gap"] for one in narrow.values())
    assert np.prod(narrow[f"{id}-d1"]["kmesh"]) > np.prod(wide[f"{id}-d1"]["kmesh"])
    assert choose_final_meshes(cells, {}) == {}


def test_cheap_cells_run_first_and_parents_before_their_cells() -> None:
    order = order_cells(CELLS)
    assert sorted(order) == sorted(CELLS)
    place = {id: n for n, id in enumerate(order)}
    assert all(place[parent_of(id)] <= place[id] for id in CELLS)
    seconds = [estimate_seconds(add_settings(CELLS[id], narrow_gap=True)) for id in order]
    assert np.mean(seconds[:50]) < np.mean(seconds[-50:]) / 10


def test_the_queue_continues_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crystal with a small gap runs twice, a displaced cell after it, and a second call repeats nothing."""
    ids = ["H2O_antifl", "H2O_antifl-d1", "H_sc_acwf"]
    stores: dict[str, dict[str, float]] = {}
    meshes: dict[str, list[int]] = {}

    def run(records, store, **options) -> RunReport:
        name = Path(store).name
        done = [id for id in records if id not in stores.get(name, {})]
        stores.setdefault(name, {}).update(dict.fromkeys(done, 0.5))
        meshes.update({f"{name}/{id}": records[id]["kmesh"] for id in done})
        return RunReport(done=done, cpu_seconds=1.0)

    monkeypatch.setattr(addition_runs, "run", run)
    monkeypatch.setattr(addition_runs, "read_column", lambda store, column: stores.get(store.name, {}))
    monkeypatch.setattr(addition_runs, "list_finished", lambda store: set(stores.get(store.name, {})))
    monkeypatch.setattr(addition_runs, "make_joined_cells", dict)
    cells = {id: CELLS[id] for id in ids}
    report = run_additions(tmp_path, tmp_path / "work", cells=cells)
    assert set(report.done) == set(ids)
    assert set(stores["gaps.ecd"]) == {"H2O_antifl"}
    assert meshes["gaps.ecd/H2O_antifl"] != meshes["pbe.ecd/H2O_antifl"]
    assert not report.failures
    again = run_additions(tmp_path, tmp_path / "work", cells=cells)
    assert not again.done
    assert set(again.present) == set(ids)
    stores.clear()
    monkeypatch.setattr(addition_runs, "make_joined_cells", lambda: cells)  # what has joined is not computed again
    assert set(run_additions(tmp_path, tmp_path / "work", cells=cells).present) == set(ids)


@pytest.mark.skipif(not (COMPUTED / FINAL).exists(), reason="all computed cells have joined the sample")
def test_computed_cells_that_wait_have_the_settings_of_the_recipe() -> None:
    """Which of the two meshes is right follows from the gap, see `find_hindrance`."""
    store = open_store(COMPUTED / FINAL)
    assert set(store.ids) <= set(CELLS) - set(open_store(sample_store("pbe")).ids)
    for id in store.ids:
        settings, cell = store.meta(id)["settings"], CELLS[id]
        assert settings["ecutwfc_Ry"] == cell["ecutwfc_Ry"], id
        assert settings["kmesh"] in (cell["kmesh"], add_settings(cell, narrow_gap=True)["kmesh"]), id
        np.testing.assert_allclose(store.crystal(id).lattice, cell["lattice"], atol=1e-6)
    for id in store.ids:
        if parent_of(id) == id:
            assert not find_hindrance(store, id, {id: CELLS[id]}, {}), id


def test_a_first_run_without_a_gap_is_followed_by_one_on_the_finer_mesh(tmp_path: Path, monkeypatch) -> None:
    meshes: dict[str, list[int]] = {}

    def run(records, store, **options) -> RunReport:
        meshes.update({f"{Path(store).name}/{id}": records[id]["kmesh"] for id in records})
        with StoreWriter(store) as writer:
            for id, record in records.items():
                rho = _stand_in(record, 1.4)
                del rho.meta["properties"]["gap_eV"]
                writer.add(id, rho)
        return RunReport(done=list(records))

    monkeypatch.setattr(addition_runs, "run", run)
    report = run_additions(tmp_path, tmp_path / "work", cells={"H2O_antifl": CELLS["H2O_antifl"]})
    assert not report.failures
    assert np.prod(meshes["pbe.ecd/H2O_antifl"]) > np.prod(meshes["gaps.ecd/H2O_antifl"])


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


@pytest.fixture
def computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sample of one crystal, and computed stand-ins: hydrogen is a metal, H2O and its displaced cells have gaps."""
    monkeypatch.setattr(join_additions, "load_joined", lambda: json.loads((tmp_path / "joined.json").read_text()))
    monkeypatch.setattr(join_additions, "write_manifest", lambda path: path.write_text("written"))
    (tmp_path / "joined.json").write_text('{"He_fcc_acwf": false}')
    with StoreWriter(tmp_path / "pbe.ecd") as writer:
        writer.add("MgO_rs", _stand_in(load_structures()["MgO_rs"], 4.5))
    with StoreWriter(tmp_path / "done" / "pbe.ecd") as writer:
        for id, gap in (("H_sc_acwf", 0.0), ("H2O_antifl", 1.4), ("H2O_antifl-d1", 1.1), ("CdH2_hP3_164-d1", 3.0)):
            writer.add(id, _stand_in(CELLS[id], gap))
    return tmp_path


def _stand_in(record, gap: float) -> Density:
    meta = {"settings": {"kmesh": record["kmesh"]}, "properties": {"gap_eV": gap}, "functional": "PBE"}
    return Density(to_crystal(record), np.full((4, 4, 4), 0.1), meta=meta)


def test_computed_cells_join_and_displaced_ones_may_come_later(computed: Path) -> None:
    report = join_additions.join_additions(computed / "done", computed)
    assert report.joined == ["H_sc_acwf", "H2O_antifl", "H2O_antifl-d1"]
    assert report.waiting == {"CdH2_hP3_164": "not computed, as its CdH2_hP3_164-d1"}
    assert json.loads((computed / "joined.json").read_text()) == {
        "He_fcc_acwf": False,
        "H_sc_acwf": True,
        "H2O_antifl": False,
        "H2O_antifl-d1": False,
    }
    store = open_store(computed / "pbe.ecd")
    assert store.ids == ["MgO_rs", "H_sc_acwf", "H2O_antifl", "H2O_antifl-d1"]
    assert store.meta("H2O_antifl")["settings"]["kmesh"] == CELLS["H2O_antifl"]["kmesh"]
    hashes = [s.index.set_index("id")["sha256"]["H_sc_acwf"] for s in (store, open_store(computed / "done/pbe.ecd"))]
    assert hashes[0] == hashes[1]  # it is not encoded again, which would add an error
    assert (computed / "splits.json").read_text() == "written"
    again = join_additions.join_additions(computed / "done", computed)
    assert (again.joined, len(open_store(computed / "pbe.ecd"))) == ([], 4)
    for id in ("CO2_fluorite", "CO2_fluorite-d1"):
        with StoreWriter(computed / "done" / "pbe.ecd") as writer:
            writer.add(id, _stand_in(CELLS[id], 1.3))
        assert join_additions.join_additions(computed / "done", computed).joined == [id]


def test_a_gap_that_is_not_known_counts_as_narrow(computed: Path) -> None:
    rho = _stand_in(CELLS["H2O_antifl"], 1.4)
    del rho.meta["properties"]["gap_eV"]
    with StoreWriter(computed / "unknown.ecd") as writer:
        writer.add("H2O_antifl", rho)
    reason = find_hindrance(open_store(computed / "unknown.ecd"), "H2O_antifl", {"H2O_antifl": CELLS["H2O_antifl"]}, {})
    assert reason.startswith("H2O_antifl has a gap of 0.00 eV on the mesh for wider ones")


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


def test_a_crystal_with_a_narrow_gap_on_the_mesh_for_wide_ones_waits(computed: Path) -> None:
    for name, displaced in (("narrow", 0.93), ("wide", 1.3)):
        with StoreWriter(computed / f"{name}.ecd") as writer:
            for id, gap in (("H2O_antifl", 1.4), ("H2O_antifl-d1", displaced)):
                writer.add(id, _stand_in(CELLS[id], gap))
    cells = {id: cell for id, cell in CELLS.items() if parent_of(id) == "H2O_antifl"}
    store, other = (open_store(computed / f"{name}.ecd") for name in ("narrow", "wide"))
    wide = "H2O_antifl-d1 has a gap of 0.93 eV on the mesh for wider ones: compute its crystal again"
    assert find_hindrance(store, "H2O_antifl", cells, {}) == wide
    one = {"H2O_antifl-d1": cells["H2O_antifl-d1"]}
    assert find_hindrance(store, "H2O_antifl", one, {"H2O_antifl": False}) == wide
    assert find_hindrance(other, "H2O_antifl", one, {"H2O_antifl": False}) == ""
    assert find_hindrance(other, "H2O_antifl", one, {"H2O_antifl": True}).endswith(
        "have meshes of two rules: compute them again"
    )


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
