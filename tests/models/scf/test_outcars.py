"""Electronic steps of VASP runs: the published ones, and runs that say nothing of a ratio."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from ecd_data.errors import EcdError, UsageError
from ecd_models.cli import _run
from ecd_models.scf.outcars import Ratio, count_all, count_steps, optimal_ratio

HEAD = """ vasp.5.4.1 05Feb16 (build) complex
   VRHFIN =O: s2p4
   TITEL  = PAW_PBE O 08Apr2002
 Dimension of arrays:
   ENCUT  =  520.0 eV
   NELECT =      18.0000    total number of electrons
   ICHARG =  {icharg}
   NELM   =    140;   NELMIN=  6
   NSW    =      0
"""
STEP = "--------------------------------------- Iteration {ionic:4d}({step:4d})  ----------------------------------\n"
REACHED = "------------------------ aborting loop because EDIFF is reached -----------------------------\n"
DONE = " General timing and accounting informations for this job:\n"


def outcar(steps: list[int], reached: bool = True, done: bool = True, icharg: int = 2) -> str:
    """The lines that count of an OUTCAR with so many electronic steps in each ionic one."""
    body = ""
    for ionic, count in enumerate(steps, 1):
        body += "".join(STEP.format(ionic=ionic, step=step) for step in range(1, count + 1))
        body += REACHED if reached else ""
    return HEAD.format(icharg=icharg) + body + (DONE if done else "")


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.fixture(scope="session")
def published(shared) -> dict[str, tuple[int, int]]:
    """Steps of the 19 published pairs, PBE and HSE06."""
    with open(shared / "ecd/scf_steps_19.csv") as file:
        rows = list(csv.DictReader(file))
    return {row["material_id"]: (int(row["steps_pbe"]), int(row["steps_hse"])) for row in rows}


def test_the_published_outcars_have_their_steps(shared, published):
    for material in ("icsd-163383-O1Zn1", "icsd-168642-N1Pr1"):
        found = [count_steps(shared / f"ecd/outcars/{material}_{name}/OUTCAR.gz") for name in ("PBE", "HSE")]
        assert tuple(count.steps for count in found) == published[material]
    assert found[1].frozen


def test_table_3(published, tmp_path, capsys):
    """The optimal ratios of the 19 default runs, from OUTCARs with their numbers of steps."""
    for column, wanted in ((0, (0.0615, 0.0157)), (1, (0.0714, 0.0328))):
        files = [write(tmp_path / str(column) / id / "OUTCAR.gz", outcar([n[column]])) for id, n in published.items()]
        assert _run(["scf", "steps", *map(str, files), "--json"]) == 0
        said = json.loads(capsys.readouterr().out)
        assert said["files"] == {str(f): n[column] for f, n in zip(files, published.values(), strict=True)}
        ratio = said["optimal_ratio"]
        assert (round(ratio["mean"], 4), round(ratio["std"], 4)) == wanted


def test_ratios_are_means_with_the_population_standard_deviation():
    assert optimal_ratio([10, 20]) == Ratio(pytest.approx(0.075), pytest.approx(0.025))
    assert optimal_ratio([8]) == Ratio(0.125, 0.0)
    steps = np.random.default_rng(0).integers(1, 60, 50)
    assert optimal_ratio(steps).std == pytest.approx(np.std(1 / steps, ddof=0))


@pytest.mark.parametrize("count", [1, 9, 99, 140])
def test_any_number_of_steps_is_counted(count, tmp_path):
    assert count_steps(write(tmp_path / "OUTCAR", outcar([count]))).steps == count


BAD = {
    "unfinished": (outcar([7], reached=False, done=False), "did not finish"),
    "stopped after convergence": (outcar([7], done=False), "did not finish"),
    "before the first step": (outcar([], done=False), "did not finish"),
    "relaxation": (outcar([12, 5, 4]), "3 ionic steps"),
    "unconverged": (outcar([140], reached=False), "did not converge"),
    "two runs": (outcar([5]) + outcar([7]), "two runs"),
    "cut in its header": (HEAD[:60], "is not an OUTCAR"),
    "espresso": ("     Program PWSCF v.6.7 starts on 1Jan2026\n", "Quantum ESPRESSO"),
    "vasprun": ('<?xml version="1.0"?>\n<modeling>\n <generator>\n <i name="program">vasp </i>\n', "vasprun.xml"),
    "abinit": (".Version 9.6.2 of ABINIT \n", "ABINIT"),
    "words": ("nothing that is known\n", "is not an OUTCAR"),
    "empty": ("", "is not an OUTCAR"),
}


@pytest.mark.parametrize("case", BAD)
def test_other_files_are_refused_in_one_sentence(case, tmp_path, capsys):
    text, words = BAD[case]
    good, bad = write(tmp_path / "good/OUTCAR", outcar([9])), write(tmp_path / "bad/OUTCAR.gz", text)
    with pytest.raises(EcdError, match=words) as error:
        count_steps(bad)
    assert str(bad) in str(error.value)
    assert "\n" not in str(error.value)
    assert _run(["scf", "steps", str(good), str(bad), "--json"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""  # no ratio of the rest
    assert captured.err.count("\n") == 1


def test_missing_files_folders_and_repeated_files(tmp_path, capsys):
    file = write(tmp_path / "OUTCAR", outcar([9]))
    counts, refused = count_all([file, tmp_path / "nowhere", tmp_path])
    assert [count.steps for count in counts] == [9]
    assert "does not exist" in refused[0]
    assert "is a folder" in refused[1]
    with pytest.raises(UsageError, match="twice"):
        count_all([file, file])


def test_a_kept_density_is_told(tmp_path, capsys):
    file = write(tmp_path / "OUTCAR", outcar([9], icharg=11))
    assert _run(["scf", "steps", str(file)]) == 0
    captured = capsys.readouterr()
    assert "0.1111 ± 0.0000" in captured.out
    assert "not" in captured.err
    assert str(file) in captured.err
