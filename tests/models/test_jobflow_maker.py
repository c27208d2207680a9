"""The jobflow Maker: its job writes the prediction where it runs, and says what it wrote."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ecd_data import open_store, read
from ecd_data.errors import UsageError
from ecd_models import load_model, predict

pytest.importorskip("jobflow", reason="jobflow is not installed (pip install 'ecd-data[jobflow]')")
from jobflow import run_locally

from ecd_models.prediction.jobflow_maker import PredictDensityMaker


@pytest.fixture
def structure():
    return open_store("pbe")["MgO_rs"].crystal.to_pymatgen()


def run(maker: PredictDensityMaker, structure: object) -> dict:
    job = maker.make(structure)
    [answer] = run_locally(job, create_folders=True, ensure_success=True)[job.uuid].values()
    return answer.output


def test_a_job_writes_the_prediction(tmp_path, monkeypatch, structure):
    monkeypatch.chdir(tmp_path)
    output = run(PredictDensityMaker(shape=(12, 12, 12)), structure)
    written = read(output["file"])
    exact = predict(load_model(), structure, shape=(12, 12, 12))
    assert np.allclose(written.values, exact.values, rtol=1e-8)
    assert Path(output["file"]).parent != tmp_path  # the folder of the job
    assert output["electrons"] == pytest.approx(exact.nelect)
    assert (output["shape"], output["formula"], output["augmentation"]) == ([12, 12, 12], "MgO", False)


def test_a_maker_survives_being_stored(structure):
    maker = PredictDensityMaker(encut=200, valences={"Mg": 10, "O": 6})
    assert PredictDensityMaker.from_dict(maker.as_dict()) == maker
    assert maker.make(structure).name == "predict density"


def test_other_valences_are_refused_when_the_job_runs(tmp_path, monkeypatch, structure):
    monkeypatch.chdir(tmp_path)
    job = PredictDensityMaker(shape=(12, 12, 12), valences={"Mg": 2, "O": 6}).make(structure)
    with pytest.raises(RuntimeError, match="did not finish"):
        run_locally(job, ensure_success=True, log=False)


@pytest.mark.parametrize(
    "options",
    [{}, {"encut": 500, "shape": (1, 2, 3)}, {"encut": 500, "file": "/tmp/CHGCAR"}, {"encut": 1, "file": "a/b"}],
)
def test_wrong_makers_are_refused(options):
    with pytest.raises(UsageError):
        PredictDensityMaker(**options)
