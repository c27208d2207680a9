"""The file of relaxed crystals: what it keeps, what it refuses, and one writer at a time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ecd_data.dft import make_jobs, relax
from ecd_data.dft.engine import RunError, Step
from ecd_data.errors import UsageError
from tests.data.dft.fake_engine import AT_REST, Fake
from tests.data.dft.records import cubic


@pytest.mark.parametrize(
    ("record", "options", "named"),
    [
        (cubic(6.0, z=32), {}, "relaxed from another crystal"),
        (cubic(6.2), {}, "relaxed from another crystal"),
        ({**cubic(6.0), "ecutwfc_Ry": 80}, {}, "with a cutoff in Ry of 40.0, not 80.0"),
        ({**cubic(6.0), "kmesh": [4, 4, 4]}, {}, "with a k mesh of [2, 2, 2], not [4, 4, 4]"),
        (cubic(6.0), {"hubbard_u": {"Si": 3.0}}, "with U in eV of {}, not {'Si': 3.0}"),
        (cubic(6.0), {"spin": True}, "with a start magnetization of 0.0, not 0.4"),
        (cubic(6.0), {"smearing": True}, "with smearing of False, not True"),
    ],
)
def test_a_record_of_something_else_is_not_taken_for_the_crystal(
    tmp_path: Path, record: dict, options: dict, named: str
) -> None:
    file = tmp_path / "relaxed.json"
    relax({"a": cubic(6.0)}, file, engine=Fake())
    report = relax({"a": record}, file, engine=Fake(), **options)
    assert f"a is in {file} already" in report.failures["a"]
    assert named in report.failures["a"]
    assert not report.present
    assert relax({"a": cubic(6.0)}, file, engine=Fake()).present == ["a"]


def test_a_relaxed_record_keeps_the_mesh_for_the_hybrid_and_names_its_u(tmp_path: Path) -> None:
    file, options = tmp_path / "relaxed.json", {"hubbard_u": {"Si": 3.0}, "engine": Fake()}
    record = {**cubic(6.0), "qmesh_hse": [5, 5, 6]}
    assert relax({"a": record}, file, **options).done == relax({"a": record}, file, **options).present == ["a"]
    (job,) = make_jobs(file, "hse")
    assert job.settings.qmesh == (5, 5, 6)
    assert job.provenance["relaxation"]["hubbard_u_eV"] == {"Si": 3.0}


def test_relaxed_crystals_go_on_as_records(tmp_path: Path) -> None:
    engine, file = Fake(diverges=lambda step: step.id == "bad"), tmp_path / "relaxed.json"
    report = relax({"a": cubic(6.0), "bad": cubic(6.0)}, file, engine=engine)
    assert (report.done, list(report.failures)) == (["a"], ["bad"])
    assert relax({"a": cubic(6.0), "c": cubic(5.2)}, file, engine=engine).present == ["a"]
    records = json.loads(file.read_text())
    assert list(records) == ["a", "c"]
    assert records["a"]["relaxation"]["rounds"] == 4
    (job, _) = make_jobs(file, "pbe")
    np.testing.assert_allclose(job.crystal.lattice, np.eye(3) * AT_REST)
    assert job.settings.kmesh == (2, 2, 2)
    assert job.provenance["relaxation"]["relax_steps"] == 12
    file.write_text("[1]")
    with pytest.raises(UsageError, match="does not hold relaxed crystals"):
        relax({"a": cubic(6.0)}, file, engine=engine)


def test_a_cell_that_never_rests_is_named(tmp_path: Path) -> None:
    report = relax({"a": cubic(50.0)}, tmp_path / "r.json", engine=Fake())
    assert "a: 6 relaxations in turn did not suffice" in report.failures["a"]


def test_a_file_of_relaxed_crystals_is_written_by_one_call_at_a_time(tmp_path: Path) -> None:
    """Two at a time would each write the file without the crystals that the other has relaxed."""
    file, refusals = tmp_path / "relaxed.json", []

    class Meanwhile(Fake):
        def run(self, step: Step, text: str, folder: Path) -> None:
            super().run(step, text, folder)
            for work in (None, tmp_path / "work"):
                with pytest.raises(RunError) as refused:
                    relax({"b": cubic(5.0)}, file, work=work, engine=Fake())
                refusals.append(str(refused.value))

    assert relax({"a": cubic(5.0)}, file, engine=Meanwhile()).done == ["a"]
    assert set(refusals) == {
        f"{file}: another process computes in {file}.work: wait for it, or give another file for the relaxed crystals"
    }
    assert relax({"b": cubic(5.0)}, file, engine=Fake()).done == ["b"]
    assert list(json.loads(file.read_text())) == ["a", "b"]
    assert not Path(f"{file}.work").exists()
