"""The flow from crystals to densities through an engine that computes nothing; the last tests run the real one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ecd_data.dft import make_jobs, relax, run
from ecd_data.dft.engine import Result, Step
from ecd_data.dft.steps import list_attempts
from ecd_data.errors import UsageError
from ecd_data.formats.bands import BandEdges
from ecd_data.store import open_store
from ecd_models import cli
from tests.data.dft.fake_engine import AT_REST, Fake
from tests.data.dft.records import cubic


def test_relaxed_cells_carry_both_functionals(tmp_path: Path) -> None:
    engine = Fake()
    steps = ["relax", "static", "hse", "nscf"]
    report = run({"a": cubic(6.0)}, tmp_path / "out", steps=steps, restart=True, engine=engine)
    assert report.done == ["pbe/a", "hse/a"]
    pbe, hse = (open_store(tmp_path / "out" / f"{name}.ecd")["a"] for name in ("pbe", "hse"))
    for rho in (pbe, hse):
        np.testing.assert_allclose(rho.lattice, np.eye(3) * AT_REST)
        assert rho.meta["provenance"]["relaxation"]["lattice_before"] == (np.eye(3) * 6.0).tolist()
    assert pbe.meta["properties"]["gap_nscf_eV"] == pytest.approx(0.4)
    assert pbe.meta["settings"]["kmesh_nscf"] == [4, 4, 4]
    assert pbe.meta["properties"]["scf_steps_restart"] == 1
    assert pbe.meta["properties"]["pressure_GPa"] == 0.5
    assert "scf_steps_restart" not in hse.meta["properties"]
    assert engine.runs == {"relax": 4, "density": 2, "restart": 1, "bands": 1}
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


def test_the_hybrid_density_is_of_no_other_crystal_with_the_same_id(tmp_path: Path) -> None:
    run({"a": cubic(5.0)}, tmp_path / "out" / "pbe.ecd", engine=Fake())
    cells = {"a": cubic(6.0, 32), "b": cubic(6.0)}
    report = run(cells, tmp_path / "out", steps=["relax", "static", "hse"], engine=Fake())
    assert report.done == ["pbe/b", "hse/b"]
    assert "another crystal (Si2)" in report.failures["pbe/a"]
    assert open_store(tmp_path / "out" / "hse.ecd").ids == ["b"]


@pytest.mark.parametrize("dies", ["density", "restart", "bands"])
def test_a_second_call_goes_on_behind_the_last_finished_step(tmp_path: Path, dies: str) -> None:
    engine = Fake()
    engine.dies = dies
    options = {"steps": ["relax", "static", "nscf"], "restart": True, "engine": engine}
    report = run({"a": cubic(6.0)}, tmp_path / "s.ecd", **options)
    assert report.failures == {"a": "a: killed"}
    before = dict(engine.runs)
    engine.dies = None
    assert run({"a": cubic(6.0)}, tmp_path / "s.ecd", **options).done == ["a"]
    order = ["relax", "density", "restart", "bands"]
    again = {kind: engine.runs[kind] - before.get(kind, 0) for kind in order}
    assert again == {kind: int(order.index(kind) >= order.index(dies)) for kind in order}


def test_what_does_not_converge_is_tried_with_other_mixing_then_smearing(tmp_path: Path) -> None:
    engine = Fake(diverges=lambda step: not step.settings.smearing)
    crystals, work = {"a": cubic(5.0)}, tmp_path / "work"
    report = run(crystals, tmp_path / "one.ecd", engine=engine, work=work, restart=True)
    assert report.retried["a"] == ["as asked", "mixing_beta 0.3, local-TF, more steps"]
    meta = open_store(tmp_path / "one.ecd")["a"].meta
    assert meta["settings"]["smearing"] == "cold"
    assert meta["settings"]["mixing_beta"] == 0.3
    assert meta["provenance"]["retries"] == report.retried["a"]
    assert "1 of them at a second attempt" in str(report)
    assert engine.runs == {"density": 3, "restart": 1}
    run(crystals, tmp_path / "two.ecd", engine=engine, work=work, restart=True)
    assert engine.runs == {"density": 3, "restart": 1}


def test_the_dense_mesh_falls_back_to_the_coarser(tmp_path: Path) -> None:
    record = {key: value for key, value in cubic(5.0).items() if key != "kmesh"}
    engine = Fake(diverges=lambda step: step.settings.kmesh[0] > 5)
    run({"a": record}, tmp_path / "s.ecd", engine=engine)
    assert open_store(tmp_path / "s.ecd")["a"].meta["settings"]["kmesh"] == [5, 5, 5]
    assert make_jobs({"a": record}, "pbe")[0].settings.kmesh == (10, 10, 10)
    given = make_jobs({"a": cubic(5.0)}, "pbe")[0].settings
    assert all(settings.kmesh == (2, 2, 2) for settings in list_attempts(given).values())


def test_what_never_converges_is_left_out_with_what_was_tried(tmp_path: Path) -> None:
    engine = Fake(diverges=lambda step: step.id == "a")
    report = run({"a": cubic(5.0), "b": cubic(5.0)}, tmp_path / "s.ecd", engine=engine)
    assert report.done == ["b"]
    assert report.failures["a"].startswith("a: the self-consistency did not converge, tried as asked; mixing_beta 0.3")


def test_u_acts_in_pbe_alone(tmp_path: Path) -> None:
    iron = {"a": cubic(5.0, 26), "b": cubic(5.0)}
    run(iron, tmp_path / "out", steps=["static", "hse"], hubbard_u={"Fe": 4.6}, engine=Fake())
    index = open_store(tmp_path / "out" / "pbe.ecd").index.set_index("id")
    assert index["functional"].to_dict() == {"a": "PBE+U", "b": "PBE"}
    assert set(open_store(tmp_path / "out" / "hse.ecd").index["functional"]) == {"HSE06"}
    with pytest.raises(UsageError, match="U acts on PBE only"):
        run(iron, tmp_path / "h.ecd", "hse", hubbard_u={"Fe": 4.6}, engine=Fake())


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        (["relax"], "only static and hse give a density"),
        (["static", "bands"], "no step 'bands'"),
        (["hse", "nscf"], "name both"),
        (["relax", "hse"], "cells are relaxed with PBE"),
    ],
)
def test_impossible_steps_are_refused(tmp_path: Path, steps: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        run({"a": cubic(5.0)}, tmp_path / "s.ecd", steps=steps, engine=Fake())
    assert cli._run(["dft", "run", "x.cif", str(tmp_path / "s.ecd"), "--steps", ",".join(steps)]) == 2
    assert list(tmp_path.iterdir()) == []


def test_unusable_structures_are_left_out_and_the_rest_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "cells"
    folder.mkdir()
    crystal = make_jobs({"a": cubic(5.0)}, "pbe")[0].crystal
    crystal.to_pymatgen().to(str(folder / "good.cif"))
    half = crystal.to_pymatgen()
    half.replace(0, {"Si": 0.5, "Ge": 0.5})
    half.to(str(folder / "half.cif"))
    near = replace(crystal, frac_coords=np.array([[0, 0, 0], [0, 0, 0.02]]))
    report = run([folder], tmp_path / "s.ecd", kspacing=0.1, engine=Fake())
    assert report.done == ["good"]
    assert "partial occupancies" in report.failures[str(folder / "half.cif")]
    wanted = {"near": near, "good": crystal, "none": {"lattice": 1}}
    report = run(wanted, tmp_path / "s.ecd", kspacing=0.1, engine=Fake())
    assert "Si1 and Si2 lie on top of each other (0.10 Å)" in report.failures["near"]
    assert "none: the crystal record has no numbers and no frac_coords" in report.failures["none"]
    assert report.present == ["good"]
    with pytest.raises(UsageError, match="lie on top"):
        make_jobs({"near": near}, "pbe")


def test_a_cluster_gives_the_same_store(tmp_path: Path) -> None:
    distributed = pytest.importorskip("dask.distributed")
    crystals = {name: cubic(5.0) for name in "abc"}
    run(crystals, tmp_path / "one.ecd", engine=Fake())
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as local,
        distributed.Client(local) as client,
    ):
        assert sorted(run(crystals, tmp_path / "two.ecd", engine=Fake(), cluster=client).done) == ["a", "b", "c"]
    one, two = open_store(tmp_path / "one.ecd"), open_store(tmp_path / "two.ecd")
    for name in crystals:
        np.testing.assert_array_equal(one[name].values, two[name].values)


@pytest.mark.parametrize(
    ("record", "options", "named"),
    [
        (cubic(5.0, z=32), {}, "another crystal (Si2)"),
        (cubic(5.1), {}, "another crystal (Si2)"),
        ({**cubic(5.0), "frac_coords": [[0, 0, 0], [0.5, 0.5, 0.4]]}, {}, "atoms at other positions"),
        ({**cubic(5.0), "kmesh": [4, 4, 4]}, {}, "kmesh [2, 2, 2], not [4, 4, 4]"),
        ({**cubic(5.0), "ecutwfc_Ry": 80}, {}, "ecutwfc_Ry 40.0, not 80.0"),
        (cubic(5.0), {"functional": "hse"}, "the functional PBE, not HSE06"),
        (cubic(5.0), {"hubbard_u": {"Si": 3.0}}, "the functional PBE, not PBE+U"),
    ],
)
def test_an_id_that_the_store_has_for_something_else_is_named(tmp_path: Path, record, options, named: str) -> None:
    run({"a": cubic(5.0)}, tmp_path / "s.ecd", engine=Fake())
    report = run({"a": record, "b": cubic(5.0)}, tmp_path / "s.ecd", engine=Fake(), **options)
    assert f"a is in {tmp_path / 's.ecd'} already with {named}: give another store" in report.failures["a"]
    assert (report.present, report.done) == ([], ["b"])


@pytest.mark.parametrize(
    ("first", "second", "named"),
    [
        ({"hubbard_u": {"Fe": 4.6}}, {"hubbard_u": {"Fe": 2.0}}, "hubbard_u_eV {'Fe': 4.6}, not {'Fe': 2.0}"),
        ({"spin": True}, {"spin": False}, "start_magnetization 0.4, not 0.0"),
        ({"smearing": True}, {"smearing": False}, "smearing cold, not None"),
        ({}, {"steps": ["relax", "static"]}, "a cell that was not relaxed"),
        ({"steps": ["relax", "static"]}, {}, "a relaxed cell"),
    ],
)
def test_a_density_of_other_choices_is_not_taken_for_the_one_asked_for(
    tmp_path: Path, first: dict, second: dict, named: str
) -> None:
    iron = {"a": {**cubic(6.0, 26), "start_magnetisation": 0.0}}
    assert run(iron, tmp_path / "s.ecd", engine=Fake(), **first).done == ["a"]
    report = run(iron, tmp_path / "s.ecd", engine=Fake(), **second)
    assert f"already with {named}: give another store" in report.failures["a"]
    assert run(iron, tmp_path / "s.ecd", engine=Fake(), **first).present == ["a"]


def test_a_density_of_another_engine_or_pseudopotential_is_not_taken_for_the_one_asked_for(tmp_path: Path) -> None:
    def make(name: str, digest: str | None) -> Fake:
        engine = Fake()
        engine.name = name
        if digest is not None:
            engine.datasets = lambda crystal: {s: {"file": f"{s}.upf", "sha256": digest} for s in crystal.elements}
        return engine

    store, cells = tmp_path / "s.ecd", {"a": cubic(5.0)}
    run(cells, store, engine=make("one", "old"))
    assert "a density of one, not two" in run(cells, store, engine=make("two", "old")).failures["a"]
    assert "another pseudopotential of Si" in run(cells, store, engine=make("one", "new")).failures["a"]
    assert run(cells, store, engine=make("one", "old")).present == ["a"]
    assert run(cells, store, engine=make("one", None)).present == ["a"]  # not known now


def test_two_calls_at_a_time_do_not_share_the_folder_of_a_crystal(tmp_path: Path) -> None:
    """While one computes, a second one with the same work folder would replace what the first reads afterwards."""
    work, cells, reports = tmp_path / "work", {"a": cubic(5.0)}, []

    class Meanwhile(Fake):
        def run(self, step: Step, text: str, folder: Path) -> None:
            super().run(step, text, folder)
            reports.append(run(cells, tmp_path / "hse.ecd", "hse", work=work, engine=Fake()))
            reports.append(relax(cells, tmp_path / "relaxed.json", work=work, engine=Fake()))

    assert run(cells, tmp_path / "pbe.ecd", work=work, engine=Meanwhile()).done == ["a"]
    for report in reports:
        assert report.failures["a"].startswith(f"a: another process computes in {work / 'a'}: wait for it")
    assert run(cells, tmp_path / "hse.ecd", "hse", work=work, engine=Fake()).done == ["a"]


def test_a_relaxation_that_fell_back_to_another_mesh_is_present_in_a_second_call(tmp_path: Path) -> None:
    record = {key: value for key, value in cubic(6.0).items() if key != "kmesh"}
    for named in ("done", "present"):
        engine = Fake(diverges=lambda step: step.settings.kmesh[0] > 5)
        report = run({"a": record}, tmp_path / "s.ecd", steps=["relax", "static"], engine=engine)
        assert getattr(report, named) == ["a"], report.failures
    assert open_store(tmp_path / "s.ecd")["a"].meta["settings"]["kmesh"] == [5, 5, 5]


def test_the_same_crystal_is_present_wherever_its_atoms_are_written(tmp_path: Path) -> None:
    run({"a": cubic(6.0)}, tmp_path / "s.ecd", steps=["relax", "static"], engine=Fake())
    moved = {**cubic(6.0), "frac_coords": [[1.0, 0, 0], [0.5, -0.5, 0.5]]}
    assert run({"a": moved}, tmp_path / "s.ecd", steps=["relax", "static"], engine=Fake()).present == ["a"]
    run({"a": cubic(5.0)}, tmp_path / "t.ecd", engine=Fake())
    assert run({"a": {**moved, **{"lattice": cubic(5.0)["lattice"]}}}, tmp_path / "t.ecd", engine=Fake()).present


class Banded(Fake):
    """An engine whose conduction band is 3 eV above the valence band on odd meshes, and 2 eV on even ones."""

    def read(self, step: Step, folder: Path) -> Result:
        even = all(n % 2 == 0 for n in step.settings.kmesh)
        return replace(super().read(step, folder), edges=BandEdges(-0.5 * even, 3.0 - 1.5 * even, 3.5 - even))


@pytest.mark.parametrize(("kmesh", "boundary"), [([5, 1, 4], [2, 1, 2]), ([3, 3, 3], [2, 2, 2])])
def test_gaps_of_odd_meshes_count_the_zone_boundary(tmp_path: Path, kmesh: list[int], boundary: list[int]) -> None:
    engine = Banded()
    run({"a": {**cubic(5.0), "kmesh": kmesh}}, tmp_path / "s.ecd", engine=engine)
    meta = open_store(tmp_path / "s.ecd")["a"].meta
    assert meta["settings"]["kmesh"] == kmesh
    assert meta["settings"]["kmesh_gap"] == boundary
    inside = 1.5 if boundary == [2, 2, 2] else 3.0  # [2, 1, 2] is no even mesh to this engine
    assert meta["properties"]["gap_eV"] == pytest.approx(inside)
    assert engine.runs == {"density": 1, "bands": 1}


@pytest.mark.parametrize("kmesh", [[4, 2, 4], [1, 1, 1]])
def test_gaps_of_even_meshes_and_molecules_need_no_further_run(tmp_path: Path, kmesh: list[int]) -> None:
    engine = Banded()
    run({"a": {**cubic(5.0), "kmesh": kmesh}}, tmp_path / "s.ecd", engine=engine)
    assert "kmesh_gap" not in open_store(tmp_path / "s.ecd")["a"].meta["settings"]
    assert engine.runs == {"density": 1}


def test_moments_that_atoms_start_from_are_kept(tmp_path: Path) -> None:
    pair = {"lattice": (np.eye(3) * 5.0).tolist(), "numbers": [26, 26], "frac_coords": [[0, 0, 0], [0.5, 0.5, 0.5]]}
    cells = {"afm": {**pair, "start_magnetisation": [0.4, -0.4]}, "fm": {**pair, "start_magnetisation": 0.4}}
    run(cells, tmp_path / "s.ecd", engine=Fake())
    store = open_store(tmp_path / "s.ecd")
    assert store["afm"].meta["initial_moments"] == [3.2, -3.2]
    assert store["afm"].meta["settings"]["start_magnetization"] == [0.4, -0.4]
    assert "initial_moments" not in store["fm"].meta
