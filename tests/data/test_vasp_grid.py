"""The grids that VASP takes, by runs whose NGXF lines and CHGCAR shapes are known."""

from __future__ import annotations

import csv
import gzip
import re

import numpy as np
import pytest

from ecd_data import read
from ecd_data.errors import UsageError
from ecd_data.vasp_grid import fits_some_cutoff, vasp_coarse_grid, vasp_fine_grid

LATTICE = re.compile(rb"direct lattice vectors.*\n((?:.*\n){3})")
GRID = re.compile(rb"NGXF= *(\d+) NGYF= *(\d+) NGZF= *(\d+)")
FCC = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2


def test_the_published_runs_have_these_grids(shared):
    for path in sorted(shared.glob("ecd/outcars/*/OUTCAR.gz")):
        text = gzip.decompress(path.read_bytes())
        rows = LATTICE.search(text)[1].splitlines()
        lattice = np.array([[float(x) for x in row.split()[:3]] for row in rows])
        encut = float(re.search(rb"ENCUT *= *([\d.]+)", text)[1])
        prec = re.search(rb"PREC *= *(\w+)", text)[1].decode()
        assert vasp_fine_grid(lattice, encut, prec) == tuple(map(int, GRID.search(text).groups())), path


@pytest.mark.parametrize("name", ["Al_atomate.CHGCAR", "Si_static.CHGCAR", "Si_AECCAR2.AECCAR2", "pmg_spin.CHGCAR"])
def test_files_of_the_materials_project_have_these_grids(shared, name):
    rho = read(shared / "real" / f"{name}.gz")
    assert vasp_fine_grid(rho.lattice, 520, "Accurate") == rho.shape


@pytest.mark.parametrize(
    ("lattice", "encut", "prec", "fine"),
    [  # lattice, ENCUT and NGXF as VASP 6 (Cr) and 5.4.4 (Si, a slab with Li) printed them
        (np.eye(3) * 2.807173758, 400, "normal", (28, 28, 28)),
        (FCC * 5.4, 200, "normal", (28, 28, 28)),
        (np.diag([18.27, 11.51, 36.65]), 520, "Accurate", (280, 180, 560)),
    ],
)
def test_other_runs(lattice, encut, prec, fine):
    assert vasp_fine_grid(lattice, encut, prec) == fine


def test_every_grid_of_the_published_hse_list_is_one_that_the_rule_can_give(shared):
    with gzip.open(shared / "ecd" / "official" / "hse_probe_counts.csv.gz", "rt") as file:
        sizes = {int(n) for row in csv.reader(file) for n in row[2:]}
    lengths = np.linspace(0.8, 60, 20000)
    possible = {vasp_fine_grid(np.diag([x, 5.0, 5.0]), 520)[0] for x in lengths}
    assert sizes <= possible


def test_the_precisions():
    cell = np.diag([4.0, 5.0, 9.0])
    assert vasp_fine_grid(cell, 500, "single") == vasp_coarse_grid(cell, 500, "accurate")
    assert vasp_fine_grid(cell, 500, "SingleN") == vasp_coarse_grid(cell, 500, "normal")
    assert vasp_fine_grid(cell, 500, "a") == vasp_fine_grid(cell, 500, "Accurate")
    fine = [vasp_fine_grid(cell, 500, prec, enaug=750) for prec in ("low", "medium", "high")]
    assert fine == sorted(fine)
    assert all(n % 2 == 0 for shape in fine for n in shape)
    for prec in ("low", "medium", "high"):  # callers without an argument for ENAUG can follow the message, too
        with pytest.raises(UsageError, match=r"ENAUG.*give the grid itself, NGXF NGYF NGZF") as error:
            vasp_fine_grid(cell, 500, prec)
        assert "enaug=" not in str(error.value)


@pytest.mark.parametrize(
    ("encut", "prec"), [(0, "normal"), (-520, "normal"), (float("nan"), "normal"), (520, "x"), (520, "")]
)
def test_what_vasp_does_not_know_is_refused(encut, prec):
    with pytest.raises(UsageError, match=r"cutoff|PREC"):
        vasp_fine_grid(np.eye(3) * 4, encut, prec)


def test_grids_of_cutoffs_fit_and_permuted_ones_do_not():
    rng = np.random.default_rng(0)
    for _ in range(50):
        cell, prec = np.diag(rng.uniform(3, 20, size=3)), str(rng.choice(["accurate", "normal", "single"]))
        assert fits_some_cutoff(cell, vasp_fine_grid(cell, rng.uniform(200, 900), prec))
    cell = np.diag([4.6, 4.6, 12.5])
    assert fits_some_cutoff(cell, (72, 72, 196))
    assert not fits_some_cutoff(cell, (196, 72, 72))
