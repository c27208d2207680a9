"""The runs of the crystals that are added to the sample, and how they join it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ecd_data.density import Density
from ecd_data.dft import RunReport
from ecd_data.sample import addition_runs, join_additions
from ecd_data.sample.addition_runs import FINAL, FIRST, choose_final_meshes, order_cells, run_additions
from ecd_data.sample.additions import add_settings
from ecd_data.sample.cells import load_structures, parent_of
from ecd_data.sample.choose_additions import WIDE_GAPS
from ecd_data.sample.costs import estimate_seconds
from ecd_data.sample.held_out import to_crystal
from ecd_data.sample.join_additions import find_hindrance
from ecd_data.sample.meshes import NARROW_GAP
from ecd_data.sample.table import SAMPLE_FOLDER, read_column
from ecd_data.store import StoreWriter, open_store
from ecd_data.store.data_root import sample_store
from tests.data.test_sample_additions import CELLS, CRYSTALS

COMPUTED = SAMPLE_FOLDER / "computed"  # of the repository, not of the package


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


@pytest.mark.skipif(not (COMPUTED / FINAL).exists(), reason="all computed cells have joined the sample")
def test_compounds_that_count_as_wide_have_such_gaps() -> None:
    gaps = read_column(COMPUTED / FIRST, "gap_eV") | read_column(COMPUTED / FINAL, "gap_eV")
    assert all(gaps.get(id, NARROW_GAP) >= NARROW_GAP for id in WIDE_GAPS)
    assert WIDE_GAPS & gaps.keys()


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
