"""The verdict on a density: what makes it unfit, and what is only flagged."""

from __future__ import annotations

import json
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ecd_data import Crystal, Density, check, convert, open_store, read, write
from ecd_data.checks import FLAGS, PROBLEMS, Report, check_pair
from ecd_data.checks.verdicts import check_entries, find_entries, report_json
from ecd_data.errors import UsageError
from ecd_data.formats import read_run
from ecd_data.vasp_grid import vasp_fine_grid
from tests.conftest import smooth_density

CRYSTAL = Crystal(np.eye(3) * 2, np.array([12, 8]), np.array([[0, 0, 0], [0.5, 0.5, 0.5]]))
GOOD = Density(CRYSTAL, np.full((4, 4, 4), 1.0))  # 8 electrons


@pytest.mark.parametrize(
    "name",
    ["Al_atomate", "LiH_scan", "Si_static", "aiida_converge", "mv_NiO_SOC", "pmg_nospin", "pmg_spin", "pyiron_spin"],
)
def test_real_files_are_fit(shared, name):
    rho = read(shared / "real" / f"{name}.CHGCAR.gz")
    report = check(rho)
    assert report.ok, report.problems
    assert ("non-collinear" in report.flags) == (rho.magnetization is not None and rho.magnetization.ndim == 4)


def test_a_plain_density_is_fit_and_has_no_flags():
    assert check(GOOD).ok
    assert check(GOOD).flags == ()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(bad):
    values = GOOD.values.copy()
    values[1, 2, 3] = bad
    assert "not finite" in check(replace(GOOD, values=values)).problems[0]
    assert "not finite" in check(replace(GOOD, magnetization=values)).problems[0]


@pytest.mark.parametrize(
    ("factor", "word"), [(0.0, "0.0000 electrons"), (-1.0, "-8.0000 electrons"), (8.0, "nuclear charge 20")]
)
def test_electron_counts_that_cannot_be(factor, word):
    assert any(word in problem for problem in check(replace(GOOD, values=factor * GOOD.values)).problems)


def test_the_stated_count_decides():
    assert check(replace(GOOD, meta={"nelect": 8.0})).ok
    assert "where 9.0000 are stated" in check(replace(GOOD, meta={"nelect": 9.0})).problems[0]


def test_a_little_negative_charge_is_a_flag_and_much_is_a_problem():
    values = GOOD.values.copy()
    values[0, 0, 0], values[0, 0, 1] = -0.1, 2.1  # 8 electrons still
    assert check(replace(GOOD, values=values)).flags == ("negative",)
    values[0, 0, 0] = -10
    assert any("negative" in p for p in check(replace(GOOD, values=values)).problems)


def test_unknown_elements_are_a_flag():
    crystal = Crystal(np.eye(3) * 2, np.array([0]), np.zeros((1, 3)))
    report = check(replace(GOOD, crystal=crystal))
    assert report.ok
    assert report.flags == ("no-elements",)


def test_spin_cannot_exceed_the_density():
    assert check(replace(GOOD, magnetization=-GOOD.values)).flags == ("spin",)
    assert "exceeds" in check(replace(GOOD, magnetization=1.1 * GOOD.values)).problems[0]
    vector = np.stack([GOOD.values, 0 * GOOD.values, 0 * GOOD.values])
    assert check(replace(GOOD, magnetization=vector)).flags == ("non-collinear",)
    assert "exceeds" in check(replace(GOOD, magnetization=1.1 * vector)).problems[0]


ZNO = {"engine": "VASP", "finished": True, "converged": True, "ionic_steps": 1, "frozen_density": False}
RUN = {"encut_eV": 520.0, "prec": "accura", "ediff_eV": 1e-4, "icharg": 2, "ispin": 1, "nelect": 8.0}


def with_run(settings=None, provenance=None, **changes):
    meta = {"settings": {**RUN, **(settings or {})}, "provenance": {**ZNO, **(provenance or {})}}
    return replace(GOOD, meta=meta, **changes)


def names(report) -> list[str]:
    return [problem.name for problem in report.problems]


@pytest.mark.parametrize(
    ("settings", "provenance", "flags"),
    [
        ({"icharg": 11}, {"frozen_density": True}, {"frozen-density"}),
        ({"icharg": 1}, {"frozen_density": True}, {"frozen-density"}),  # OUTCAR's sentence alone
        ({"lhfcalc": True, "ldau": True, "ldauu": [0.0, 5.5]}, {}, {"hse-with-u"}),
        ({"lhfcalc": True, "ldau": True, "ldauu": [0.0, 0.0]}, {}, set()),
        ({"ldau": True, "ldauu": [0.0, 5.5]}, {}, set()),
        ({}, {"converged": False}, {"not-converged"}),
        ({}, {"finished": False, "converged": False}, {"unfinished"}),
        ({}, {"ionic_steps": 7}, {"relaxation"}),
        ({"encut_eV": 400.0}, {}, {"other-settings"}),
        ({"ediff_eV": 1e-3}, {}, {"other-settings"}),
        ({"ediff_eV": 1e-6}, {}, set()),
        ({"ispin": 2}, {}, {"no-magnetization"}),
        ({"zval": [3.0, 6.0], "counts": [1, 1]}, {}, {"charged"}),
        ({}, {"not_used": {"OUTCAR": "OUTCAR is of another crystal"}}, {"run-not-used"}),
    ],
)
def test_what_the_run_says_becomes_flags(settings, provenance, flags):
    report = check(with_run({"fine_grid": [4, 4, 4], **settings}, provenance))
    assert report.ok
    assert set(report.flags) == flags
    assert flags <= set(FLAGS)
    assert set(report.notes) <= flags


def test_electrons_of_the_run():
    assert names(check(with_run({"nelect": 9.0, "fine_grid": [4, 4, 4]}))) == ["electron-count"]
    only_potcar = {"zval": [2.0, 6.0], "counts": [1, 1]}
    assert check(replace(GOOD, meta={"settings": only_potcar})).ok
    wrong = {"zval": [10.0, 6.0], "counts": [1, 1]}
    assert names(check(replace(GOOD, meta={"settings": wrong}))) == ["electron-count"]


def test_the_moment_of_the_run():
    half = replace(GOOD, magnetization=GOOD.values / 4)  # 2 Bohr magnetons
    assert check(replace(half, meta={"properties": {"total_magnetization": 2.0}})).ok
    assert check(replace(half, meta={"properties": {"total_magnetization": -2.0}})).ok
    assert names(check(replace(half, meta={"properties": {"total_magnetization": 0.0}}))) == ["magnetization"]


LONG = Crystal(np.diag([4.6, 4.6, 12.5]), np.array([82, 52]), np.array([[0, 0, 0], [0.5, 0.5, 0.5]]))


def on_grid(shape, **settings):
    settings = {"settings": {**RUN, "nelect": None, **settings}} if settings else {}
    return Density(LONG, np.full(shape, 16 / LONG.volume), meta=settings)


def test_grids_and_axes():
    assert vasp_fine_grid(LONG.lattice, 520) == (72, 72, 192)
    assert check(on_grid((72, 72, 192), fine_grid=None)).flags == ()
    assert check(on_grid((72, 72, 192), fine_grid=[72, 72, 192])).ok
    assert names(check(on_grid((192, 72, 72), fine_grid=None))) == ["axes-permuted"]
    assert names(check(on_grid((192, 72, 72), fine_grid=[72, 72, 192]))) == ["axes-permuted"]
    assert names(check(on_grid((72, 72, 180), fine_grid=[72, 72, 192]))) == ["grid-mismatch"]
    assert check(on_grid((60, 60, 160), fine_grid=None)).flags == ("other-grid",)
    assert check(on_grid((72, 72, 196))).flags == ()
    assert names(check(on_grid((196, 72, 72)))) == ["axes-permuted"]
    assert check(on_grid((20, 60, 60))).flags == ("uneven-grid",)


@pytest.mark.parametrize("settings", [{"fine_grid": [12, 12, 32]}, {"encut_eV": 14.0, "prec": "accurate"}, {}])
@pytest.mark.parametrize("shape", [(8, 8, 16), (32, 12, 12)])
def test_a_resampled_density_is_flagged_and_fit(settings, shape, tmp_path):
    rho = Density(LONG, np.full((12, 12, 32), 16 / LONG.volume), meta={"settings": settings})
    report = check(rho.resample(shape))
    assert report.ok
    assert report.flags == ("other-grid",)
    assert "from 12x12x32" in report.notes["other-grid"]
    assert "from 12x12x32" in check(rho.resample((10, 10, 10)).resample(shape)).notes["other-grid"]
    assert rho.resample(rho.shape).meta == rho.meta
    assert check(rho.resample((4, 4, 4)).resample(rho.shape)).flags == ("other-grid",)  # which lost waves on the way


def test_augmentation_that_does_not_fit():
    atom = "augmentation occupancies   {}   2\n  0.1E+00 0.2E+00\n"
    whole = atom.format(1) + atom.format(2)
    assert check(replace(GOOD, augmentation=(whole,))).ok
    assert names(check(replace(GOOD, augmentation=(atom.format(1),)))) == ["augmentation"]
    assert names(check(replace(GOOD, augmentation=(whole, whole)))) == ["augmentation"]
    spin = replace(GOOD, magnetization=GOOD.values / 4)
    assert check(replace(spin, augmentation=(whole, whole))).ok
    assert names(check(replace(spin, augmentation=(whole, "")))) == ["augmentation"]


def test_all_electron_densities_are_not_counted(shared, tmp_path):
    shutil.copy(shared / "real" / "Si_AECCAR2.AECCAR2.gz", tmp_path / "AECCAR2.gz")
    report = check(read_run(tmp_path / "AECCAR2.gz"))
    assert report.ok
    assert "all-electron" in report.flags


def test_a_part_of_a_density_is_unfit_under_any_name(tmp_path):
    for name in ("PARCHG", "run.PARCHG.0001.vasp"):
        write(tmp_path / name, GOOD, "chgcar")
        assert names(check(read(tmp_path / name))) == ["partial"]
    write(tmp_path / "x_CHGCAR", read(tmp_path / "PARCHG"))
    write(tmp_path / "x.cube", read(tmp_path / "x_CHGCAR").supercell((2, 1, 1)))
    for name in ("x_CHGCAR", "x.cube"):
        assert names(check(read(tmp_path / name))) == ["partial"]


@pytest.mark.parametrize("kind", ["all-electron", "pseudo"])
def test_a_file_of_any_name_says_its_kind(kind, tmp_path):
    core = replace(GOOD, meta={"kind": kind, "comment": "MgO"})
    for rho in (core, replace(core, meta={"kind": kind})) + ((core + core,) if kind == "all-electron" else ()):
        write(tmp_path / "x_CHGCAR", rho)
        again = read(tmp_path / "x_CHGCAR")
        assert again.meta["kind"] == kind
        assert check(again) == check(rho)
        write(tmp_path / "y_CHGCAR", again)
        assert (tmp_path / "y_CHGCAR").read_bytes() == (tmp_path / "x_CHGCAR").read_bytes()


def test_members_of_archives_have_their_kind(tmp_path):
    write(tmp_path / "AECCAR2", GOOD, "chgcar")
    with tarfile.open(tmp_path / "run.tar", "w") as archive:
        archive.add(tmp_path / "AECCAR2", "AECCAR2")
    convert(f"{tmp_path}/run.tar::AECCAR2", tmp_path / "out.ecd")
    store = open_store(tmp_path / "out.ecd")
    assert store[store.ids[0]].meta["kind"] == "all-electron"


def with_electrons(rho: Density, count: float) -> Density:
    return replace(rho, values=rho.values * (count / rho.nelect))


@pytest.mark.parametrize(
    ("electrons", "settings", "flags"),
    [
        (8.0005, {}, ()),  # the rounding of a text file
        (7.5, {}, ("fractional-count",)),
        (8.1, {}, ("fractional-count",)),
        (8.002, {}, ("fractional-count",)),
        (1.0, {}, ("few-electrons",)),
        (0.1001, {}, ("fractional-count", "few-electrons")),
        (7.5, {"nelect": 7.5}, ()),  # a cell that is charged by half an electron, and a run that says so
        (7.5, {"zval": [1.5, 6.0], "counts": [1, 1]}, ()),  # pseudo-hydrogen or a mixed species
    ],
)
def test_a_count_that_no_run_states_is_whole(electrons, settings, flags):
    report = check(replace(with_electrons(GOOD, electrons), meta={"settings": settings}))
    assert report.ok
    assert report.flags == flags


def test_a_count_of_a_large_cell_may_be_off_by_more(tmp_path):
    big = Density(Crystal(np.eye(3) * 9, [12] * 9 * 9, np.random.default_rng(1).random((81, 3))), np.ones((9, 9, 9)))
    assert "fractional-count" not in check(with_electrons(big, 800.01)).flags
    assert "fractional-count" in check(with_electrons(big, 800.1)).flags
    rho = with_electrons(smooth_density(), 16.5)
    convert_one = tmp_path / "x_CHGCAR"
    write(convert_one, rho)
    convert(convert_one, tmp_path / "my.ecd")
    assert "fractional-count" in open_store(tmp_path / "my.ecd").row("x")["flags"]
    [(_, report)] = check_entries(find_entries([tmp_path / "my.ecd"]))  # whose own count is not what a run stated
    assert "fractional-count" in report.flags


def test_counts_that_files_of_other_units_have(shared):
    folder = shared / "cases" / "files" / "count_not_whole_is_ok"
    if not folder.is_dir():
        pytest.skip("the shared cases are not here")
    for file in folder.iterdir():
        if file.name != "WHY.txt":
            assert "fractional-count" in check(read(file)).flags


@pytest.mark.parametrize(
    ("lattice", "frac", "close"),
    [
        (np.eye(3) * 2, [[0, 0, 0], [0.5, 0.5, 0.5]], False),
        (np.eye(3) * 2, [[0, 0, 0], [0, 0, 0.28]], True),
        (np.eye(3) * 2, [[0, 0, 0], [0, 0, 0.38]], False),  # 0.76 Å
        (np.eye(3) * 2, [[0, 0, 0.01], [0, 0, 0.99]], True),  # across the face
        (np.eye(3) * 2, [[0, 0, 0], [0, 0, 0]], True),  # one site of two elements
        (np.diag([5, 5, 0.5]), [[0, 0, 0], [0.5, 0.5, 0.5]], True),  # an atom and its image
        (np.diag([50, 50, 1e-4]), [[0, 0, 0], [0.5, 0.5, 0.5]], True),
    ],
)
def test_atoms_that_are_too_near(lattice, frac, close):
    rho = Density(Crystal(lattice, np.array([12, 8]), np.array(frac)), np.ones((4, 4, 4)))
    report = check(with_electrons(rho, 8))
    assert ("close-atoms" in report.flags) == close


def test_a_prediction_says_so():
    assert check(replace(GOOD, meta={"comment": "predicted by charge3net"})).flags == ("predicted",)
    assert check(replace(GOOD, meta={"comment": "as predicted by theory"})).flags == ()


def test_pairs_of_pbe_and_hse():
    pbe = smooth_density()
    assert check_pair(pbe, replace(pbe, values=pbe.values * (1 + 0.01 * np.sin(pbe.values * 50)))) == Report()
    assert check_pair(pbe, pbe).flags == ("frozen-density",)
    noise = pbe.values * (1 + 1e-5 * np.random.default_rng(0).normal(size=pbe.shape))
    assert check_pair(pbe, replace(pbe, values=noise)).flags == ("frozen-density",)
    assert check_pair(pbe, pbe.resample((14, 12, 16))).flags == ("pair-grid", "frozen-density")
    assert names(check_pair(pbe, GOOD)) == ["pair-crystal"]
    turned = Crystal(pbe.lattice[[2, 0, 1]], pbe.numbers, pbe.frac_coords[:, [2, 0, 1]])
    report = check_pair(pbe, Density(turned, pbe.values.transpose(2, 0, 1)))
    assert names(report) == ["pair-axes"]
    assert report.flags == ("frozen-density",)
    rotation = np.linalg.qr(np.arange(9).reshape(3, 3) + np.eye(3))[0]
    assert check_pair(replace(pbe, crystal=replace(pbe.crystal, lattice=pbe.lattice @ rotation)), pbe).ok
    reversed_atoms = Crystal(pbe.lattice, pbe.numbers[::-1], pbe.frac_coords[::-1])
    assert check_pair(replace(pbe, crystal=reversed_atoms), pbe).ok
    assert check_pair(replace(pbe, values=np.where(pbe.values > 0, np.nan, 0)), pbe).flags == ("pair-missing",)
    cube = Crystal(np.eye(3) * 4, [1], [[0, 0, 0]])
    one, two = (Density(cube, np.ones(shape)) for shape in ((4, 4, 8), (8, 4, 4)))
    assert names(check_pair(one, two)) == ["pair-axes"]


def test_files_folders_stores_and_their_entries(tmp_path):
    for id, electrons in (("a", 20), ("b", 16)):
        write(tmp_path / f"{id}_CHGCAR", with_electrons(smooth_density(), electrons))
    (tmp_path / "sub").mkdir()
    shutil.copy(tmp_path / "a_CHGCAR", tmp_path / "sub" / "CHGCAR")
    (tmp_path / "cut_CHGCAR").write_bytes((tmp_path / "b_CHGCAR").read_bytes()[:999])
    store = tmp_path / "my.ecd"
    convert([tmp_path / "a_CHGCAR", tmp_path / "b_CHGCAR", tmp_path / "sub"], store)
    found = find_entries([tmp_path / "*_CHGCAR", tmp_path / "sub", store, tmp_path / "nothing"])
    results = {entry.name: report for entry, report in check_entries(found)}
    assert list(results) == [
        *(str(tmp_path / f"{name}_CHGCAR") for name in ("a", "b", "cut")),
        str(tmp_path / "sub" / "CHGCAR"),
        *(f"{store}::{id}" for id in ("a", "b", "sub")),
        str(tmp_path / "nothing"),
    ]
    assert [entry.id for entry in find_entries([f"{store}::b"])] == ["b"]
    bad = {name: names(report) for name, report in results.items() if not report.ok}
    assert bad == {str(tmp_path / name): ["unreadable"] for name in ("cut_CHGCAR", "nothing")}
    assert "does not exist" in results[str(tmp_path / "nothing")].problems[0]
    assert "duplicate" in results[str(tmp_path / "sub" / "CHGCAR")].flags
    assert "duplicate" in results[f"{store}::sub"].flags
    report = json.loads(report_json((entry, results[entry.name]) for entry in found))
    assert (report["ok"], report["checked"], report["bad"]) == (False, 8, 2)
    assert report["entries"][f"{store}::a"] == {"ok": True, "problems": {}, "flags": {}}


def test_pairs_of_stores(tmp_path):
    rho = with_electrons(smooth_density(), 20)
    (tmp_path / "hse").mkdir()
    for id, factor in (("frozen", 0.0), ("good", 0.05)):
        write(tmp_path / f"{id}_CHGCAR", rho)
        other = replace(rho, values=rho.values * (1 + factor * np.sin(rho.values * 36)))
        write(tmp_path / "hse" / f"{id}_CHGCAR", with_electrons(other, 20))
    write(tmp_path / "hse" / "alone_CHGCAR", rho)
    pbe, hse = tmp_path / "pbe.ecd", tmp_path / "hse.ecd"
    convert(str(tmp_path / "*_CHGCAR"), pbe)
    convert(tmp_path / "hse", hse)
    results = {entry.id: report for entry, report in check_entries(find_entries([hse]), pbe)}
    assert results["good"].flags == ()
    assert results["frozen"].flags == ("frozen-density", "duplicate")
    assert results["alone"].ok
    assert results["alone"].flags[0] == "pair-missing"
    assert str(pbe) in str(results["alone"].notes)
    with pytest.raises(UsageError, match=r"none of the 1 densities .*'alone'"):
        list(check_entries(find_entries([f"{hse}::alone"]), pbe))
    [(_, report)] = check_entries(find_entries([tmp_path / "hse" / "frozen_CHGCAR"]), tmp_path / "frozen_CHGCAR")
    assert report.flags == ("frozen-density",)


def test_a_damaged_partner_is_named_and_the_others_are_compared(tmp_path):
    for seed, id in enumerate("ab"):
        write(tmp_path / f"{id}_CHGCAR", with_electrons(smooth_density(seed=seed), 20))
    convert(str(tmp_path / "*_CHGCAR"), tmp_path / "pbe.ecd")
    [part] = (tmp_path / "pbe.ecd" / "parts").iterdir()
    data = bytearray(part.read_bytes())
    row = open_store(tmp_path / "pbe.ecd").row("a")
    data[row["offset"] + row["length"] // 2] ^= 255
    part.write_bytes(data)
    entries = find_entries([tmp_path / "*_CHGCAR"])
    reports = {entry.id: report for entry, report in check_entries(entries, tmp_path / "pbe.ecd")}
    assert "cannot be read" in reports["a"].notes["pair-missing"]
    assert "frozen-density" in reports["b"].flags


def test_every_name_is_documented():
    text = (Path(__file__).parents[2] / "docs" / "checks.md").read_text()
    for name in (*FLAGS, *PROBLEMS):
        assert f"`{name}`" in text


def test_flags_of_a_published_run_land_in_the_index(shared, tmp_path):
    crystal = Crystal(np.eye(3) * 3.1596607141688238, np.array([7, 59]), np.array([[0.5] * 3, [0.0] * 3]))
    write(tmp_path / "PrN_CHGCAR", Density(crystal, np.full((48, 48, 48), 16 / crystal.volume)))
    outcar = shared / "ecd" / "outcars" / "icsd-168642-N1Pr1_HSE" / "OUTCAR.gz"
    shutil.copy(outcar, tmp_path / "PrN_OUTCAR.gz")
    convert(tmp_path / "PrN_CHGCAR", tmp_path / "my.ecd")
    store = open_store(tmp_path / "my.ecd")
    row = store.row("PrN")
    assert set(row["flags"]) == {"frozen-density", "hse-with-u"}
    assert row["functional"] == "HSE06+U"
    assert row["gap_eV"] == 0
    assert store["PrN"].meta["settings"]["icharg"] == 11
    [(_, report)] = check_entries(find_entries([tmp_path / "my.ecd"]))
    assert report.ok
    assert set(report.flags) == set(row["flags"])
