"""The rule that gives each cell of the sample its converged k mesh."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ecd_data.density import Density
from ecd_data.sample.additions import make_joined_cells
from ecd_data.sample.cells import load_structures, make_cells, parent_of
from ecd_data.sample.convergence import (
    DOUBLED,
    RAISED,
    RAISED_D,
    REPEATED,
    find_differences,
    make_checks,
    make_convergence_table,
)
from ecd_data.sample.costs import estimate_hybrid_seconds, estimate_seconds
from ecd_data.sample.meshes import (
    KSPACING,
    NARROW_GAP,
    NARROW_KSPACING,
    converged_kmesh,
    has_narrow_gap,
    hybrid_mesh,
    refine_meshes,
)
from ecd_data.sample.recipe import read_records
from ecd_data.sample.report import find_coarse_cells
from ecd_data.sample.table import SAMPLE_FOLDER
from ecd_data.store import StoreWriter, open_store

CELLS = make_cells() | make_joined_cells()


def _spacing(record) -> np.ndarray:
    return np.linalg.norm(np.linalg.inv(record["lattice"]), axis=0) / record["kmesh"]


def test_no_cell_is_coarser_than_the_rule() -> None:
    for id, record in refine_meshes(CELLS).items():
        narrow = has_narrow_gap(record)
        assert _spacing(record).max() <= (NARROW_KSPACING if narrow else KSPACING) + 1e-9, id
        assert not narrow or all(points % 2 == 0 for points in record["kmesh"]), id


def test_cells_with_a_gap_below_the_limit_are_marked() -> None:
    records = CELLS
    for name in ("pbe", "ood"):
        for row in open_store(SAMPLE_FOLDER / f"{name}.ecd").index.itertuples():
            record = records[row.id]
            assert row.gap_eV >= NARROW_GAP or record["metal"] or record["narrow_gap"], row.id


def test_a_made_cell_has_the_mark_of_its_crystal() -> None:
    records = CELLS
    for id, record in records.items():
        assert record.get("narrow_gap") == records[parent_of(id)].get("narrow_gap")


def test_meshes_are_scaled_with_the_cell() -> None:
    lattice = np.diag([4.0, 5.0, 8.0])
    assert converged_kmesh(lattice, narrow_gap=False) == [7, 5, 4]
    assert converged_kmesh(lattice, narrow_gap=True) == [10, 8, 6]  # 10, 8 and 5 points, the last made even
    assert converged_kmesh(2 * lattice, narrow_gap=False) == [4, 3, 2]


def test_meshes_of_hybrids_have_the_zone_boundary_and_are_denser_for_narrow_gaps() -> None:
    lattice = np.diag([4.0, 5.0, 20.0])
    assert hybrid_mesh(lattice, narrow_gap=False) == [4, 4, 2]  # 3, 3 and 1 points, made even
    assert hybrid_mesh(lattice, narrow_gap=True) == [6, 4, 2]  # 5, 4 and 1
    records = read_records("hse")
    assert all(points % 2 == 0 for record in records.values() for points in record["qmesh_hse"])
    assert records["Si_diamond"]["qmesh_hse"] == [6, 6, 6]
    seconds = [estimate_hybrid_seconds(record) for record in records.values()]
    assert seconds == sorted(seconds)


def test_molecules_keep_one_point_and_cheap_cells_come_first() -> None:
    refined = read_records("elements")
    assert refined["O2"]["kmesh"] == [1, 1, 1]
    seconds = [estimate_seconds(record) for record in refined.values()]
    assert seconds == sorted(seconds)


def test_all_cells_with_pbe_have_converged_meshes_and_others_are_listed() -> None:
    coarse = find_coarse_cells()
    assert set(coarse) == {"pbe", "ood", "elements", "hse"}
    assert not coarse["pbe"]


def test_the_largest_change_by_a_finer_mesh_comes_first(tmp_path) -> None:
    store, factors = open_store(SAMPLE_FOLDER / "pbe.ecd"), {"MgO_rs": 1.01, "NaCl_rs": 1.03, "LiF_rs": 1.02}
    with StoreWriter(tmp_path / "finer.ecd") as writer:
        for id, factor in factors.items():
            writer.add(id, dataclasses.replace(store[id], values=factor * store[id].values))
    found = find_differences([(store, open_store(tmp_path / "finer.ecd"))])
    assert [one.id for one in found] == ["NaCl_rs", "LiF_rs", "MgO_rs"]
    table = make_convergence_table(found, 2)
    assert table.startswith("3 cells: eps_mae 1.9545 % on average")
    assert len(table.splitlines()) == 2 + 2 + 2


def test_checks_cover_both_rules_of_the_meshes_and_many_structure_types() -> None:
    ids = set(read_records("pbe")) | set(read_records("ood"))
    checks, records = make_checks(ids, ["kmesh", "cutoff"]), refine_meshes(load_structures())
    assert (len(checks["kmesh"]), len(checks["cutoff"])) == (DOUBLED, RAISED + RAISED_D)
    narrow = [has_narrow_gap(record) for record in checks["kmesh"].values()]
    assert 5 <= sum(narrow) <= 15
    assert len({record["prototype"] for record in checks["kmesh"].values()}) >= 10
    for id, record in checks["kmesh"].items():
        assert record["kmesh"] == [2 * points for points in records[id]["kmesh"]]
        assert record["ecutwfc_Ry"] == records[id]["ecutwfc_Ry"]
    for id, record in checks["cutoff"].items():
        assert record["kmesh"] == records[id]["kmesh"]
        assert record["ecutwfc_Ry"] == 1.25 * records[id]["ecutwfc_Ry"]
    assert sum(any(21 <= z <= 30 or 39 <= z <= 48 for z in r["numbers"]) for r in checks["cutoff"].values()) >= 4


def test_what_is_computed_again_is_drawn_once_and_has_the_settings_of_the_recipe() -> None:
    records = read_records("pbe") | read_records("ood")
    again = make_checks(set(records), ["repeat"])["repeat"]
    assert len(again) == REPEATED
    assert again == {id: records[id] for id in again}
    assert list(again) == list(make_checks(set(records), ["repeat"])["repeat"])


def test_a_change_is_measured_on_the_grid_of_the_finer_calculation(tmp_path) -> None:
    """A density that only moves to another grid has not changed; one that is scaled by 1 % has changed by 1 %."""
    store = open_store(SAMPLE_FOLDER / "pbe.ecd")
    rho, scale = store["MgO_rs"], 1.01
    meta = rho.meta | {"properties": {"energy_eV": rho.meta["properties"]["energy_eV"] + 0.02}}
    finer = rho.resample(tuple(2 * n for n in rho.shape))
    for factor, percent in ((1.0, 0.0), (scale, 100 * (1 - 1 / scale))):
        path = tmp_path / f"{factor}.ecd"
        changed = Density(rho.crystal, factor * finer.values, meta=meta)
        with StoreWriter(path) as writer:
            writer.add("MgO_rs", changed)
        (found,) = find_differences([(store, open_store(path))])
        assert found.eps_mae_percent == pytest.approx(percent, abs=0.01)
        assert found.energy_mev_atom == pytest.approx(10)
