"""The rule that gives each cell of the sample its converged k mesh."""

from __future__ import annotations

import numpy as np
import pytest

from ecd_data.sample.cells import make_cells, parent_of
from ecd_data.sample.meshes import KSPACING, NARROW_GAP, NARROW_KSPACING, converged_kmesh, refine_meshes
from ecd_data.sample.recipe import read_records
from ecd_data.sample.report import CONVERGED_STORES, find_differences, make_convergence_table
from ecd_data.sample.table import SAMPLE_FOLDER
from ecd_data.store import open_store


def _spacing(record) -> np.ndarray:
    return np.linalg.norm(np.linalg.inv(record["lattice"]), axis=0) / record["kmesh"]


def test_no_cell_is_coarser_than_the_rule() -> None:
    for id, record in refine_meshes(make_cells()).items():
        narrow = record["metal"] or record.get("narrow_gap", False)
        assert _spacing(record).max() <= (NARROW_KSPACING if narrow else KSPACING) + 1e-9, id
        assert not narrow or all(points % 2 == 0 for points in record["kmesh"]), id


def test_cells_with_a_gap_below_the_limit_are_marked() -> None:
    records = make_cells()
    for name in ("pbe", "ood"):
        for row in open_store(SAMPLE_FOLDER / f"{name}.ecd").index.itertuples():
            record = records[row.id]
            assert row.gap_eV >= NARROW_GAP or record["metal"] or record["narrow_gap"], row.id


def test_a_made_cell_has_the_mark_of_its_crystal() -> None:
    records = make_cells()
    for id, record in records.items():
        assert record.get("narrow_gap") == records[parent_of(id)].get("narrow_gap")


def test_meshes_are_scaled_with_the_cell() -> None:
    lattice = np.diag([4.0, 5.0, 8.0])
    assert converged_kmesh(lattice, narrow_gap=False) == [7, 5, 4]
    assert converged_kmesh(lattice, narrow_gap=True) == [10, 8, 6]  # 10, 8 and 5 points, the last made even
    assert converged_kmesh(2 * lattice, narrow_gap=False) == [4, 3, 2]


def test_molecules_keep_one_point_and_cheap_cells_come_first() -> None:
    refined = refine_meshes(read_records("elements"))
    assert refined["O2"]["kmesh"] == [1, 1, 1]
    assert list(refined)[-1] == "B_alpha"


@pytest.mark.parametrize("name", ["pbe", "ood", "elements"])
def test_refined_densities_were_computed_on_these_meshes(name: str) -> None:
    folder = CONVERGED_STORES / f"{name}.ecd"
    if not folder.is_dir():
        pytest.skip(f"no cell of {name} has been computed again yet")
    store, records = open_store(folder), refine_meshes(read_records(name))
    assert set(store.ids) <= set(records)
    for id in store.ids:
        assert store[id].meta["settings"]["kmesh"] == records[id]["kmesh"]


def test_what_finer_meshes_change_is_small_and_told_largest_first() -> None:
    found = find_differences()
    errors = [one.eps_mae_percent for one in found]
    assert errors == sorted(errors, reverse=True)
    assert 0 <= errors[-1] <= errors[0] < 1
    assert all(np.prod(one.after) > np.prod(one.before) for one in found)
    assert make_convergence_table(found).startswith(f"{len(found)} cells")
