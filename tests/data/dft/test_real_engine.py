"""Runs of the real pw.x, where it is installed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from ecd_data.dft import relax, run
from ecd_data.dft.espresso import Espresso
from ecd_data.dft.espresso_output import read_result
from ecd_data.dft.pseudopotentials import (
    pseudo_folder,
)
from ecd_data.dft.settings import make_jobs
from ecd_data.dft.steps import compute_density
from ecd_data.store import open_store
from tests.data.dft.records import HYDROGEN

real = pytest.mark.skipif(
    shutil.which("pw.x") is None or not pseudo_folder().is_dir(),
    reason="no Quantum ESPRESSO (pw.x), or no pseudopotentials in the cache: run `ecd dft setup`",
)


@pytest.mark.skipif(shutil.which("pw.x") is None, reason="Quantum ESPRESSO (pw.x) is not installed")
@pytest.mark.skipif(not pseudo_folder().is_dir(), reason="no pseudopotentials in the cache: run `ecd dft setup`")
def test_real_engine_repeats_itself_and_the_sample(tmp_path: Path) -> None:
    from ecd_data.density_error import eps_mae
    from ecd_data.sample.cells import load_structures
    from ecd_data.sample.meshes import refine_meshes
    from ecd_data.store.data_root import sample_store

    once, twice = (tmp_path / name for name in ("once.ecd", "twice.ecd"))
    for store in (once, twice):
        report = run(refine_meshes({"Si_diamond": load_structures()["Si_diamond"]}), store, pwx="pw.x")
        assert report.done == ["Si_diamond"], report.failures
    mine, again = open_store(once)["Si_diamond"], open_store(twice)["Si_diamond"]
    shipped = open_store(sample_store("pbe"))["Si_diamond"]
    assert mine.shape == shipped.shape
    assert mine.nelect == pytest.approx(8, abs=1e-5)
    assert eps_mae(mine, again) < 1e-5
    assert eps_mae(mine, shipped) < 1e-4


@real
def test_real_density_starts_itself_again(tmp_path: Path) -> None:
    options = {"steps": ["static", "nscf"], "restart": True, "work": tmp_path / "work"}
    report = run({"H2": HYDROGEN}, tmp_path / "s.ecd", **options)
    assert report.done == ["H2"], report.failures
    meta = open_store(tmp_path / "s.ecd")["H2"].meta
    found = meta["properties"]
    assert found["scf_steps_restart"] == 1 < found["scf_steps"]
    assert found["max_force_eV_A"] == pytest.approx(abs(meta["forces_eV_A"][0][2]), abs=1e-6)
    assert found["pressure_GPa"] == pytest.approx(np.trace(meta["stress_GPa"]) / 3)
    assert found["gap_nscf_eV"] < found["gap_eV"]
    (job,) = make_jobs({"H2": HYDROGEN}, "pbe")
    again = compute_density(Espresso("pw.x", pseudo_folder()), job, tmp_path / "work" / "H2")
    assert again.meta["provenance"]["convergence"]["converged"] is True


@real
def test_real_gap_of_an_odd_mesh_has_the_edges_at_the_zone_boundary(tmp_path: Path) -> None:
    chain = {**HYDROGEN, "kmesh": [3, 1, 1]}
    report = run({"H2": chain}, tmp_path / "s.ecd", steps=["static", "nscf"], work=tmp_path / "work")
    assert report.done == ["H2"], report.failures
    meta = open_store(tmp_path / "s.ecd")["H2"].meta
    assert meta["settings"]["kmesh_gap"] == [2, 1, 1]
    found, on_mesh = meta["properties"], read_result(tmp_path / "work" / "H2").properties
    assert found["gap_eV"] < on_mesh["gap_eV"] - 0.1
    assert found["gap_nscf_eV"] <= found["gap_eV"] + 1e-3  # the finer mesh has the points of both


@real
@pytest.mark.slow
def test_real_cell_comes_to_rest(tmp_path: Path) -> None:
    a = 2.7
    silicon = {"lattice": [[0, a, a], [a, 0, a], [a, a, 0]], "numbers": [14, 14], "ecutwfc_Ry": 18, "kmesh": [2, 2, 2]}
    silicon |= {"frac_coords": [[0, 0, 0], [0.26, 0.25, 0.24]], "metal": False}
    report = relax({"Si": silicon}, tmp_path / "relaxed.json")
    assert report.done == ["Si"], report.failures
    (job,) = make_jobs(tmp_path / "relaxed.json", "pbe")
    assert run({"Si": job.crystal}, tmp_path / "s.ecd", kspacing=0.16).done == ["Si"]
    np.testing.assert_allclose((job.crystal.frac_coords[1] - job.crystal.frac_coords[0]) % 1, 0.25, atol=2e-3)
    assert abs(job.provenance["relaxation"]["pressure_GPa"]) <= 0.1
    assert job.crystal.volume == pytest.approx(43.9, rel=0.01)  # coarse mesh and cutoff; 40.9 with good ones
