"""The settings of a calculation, from a crystal or a structure file, and the user's choices."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ecd_data.crystal import Crystal
from ecd_data.dft.settings import ECUTWFC, apply_choices, default_settings, make_jobs
from ecd_data.errors import UsageError
from ecd_data.sample.verification import list_elements
from tests.data.dft.records import SILICON, cubic


def test_default_settings_follow_the_paper() -> None:
    cell = Crystal(np.diag([5.0, 10.0, 30.0]), [14, 8], [[0, 0, 0], [0.5, 0.5, 0.5]])
    settings = default_settings(cell, "pbe")
    assert settings.kmesh == (10, 5, 2)
    assert settings.coarse_kmesh == (5, 3, 1)
    assert default_settings(cell, "pbe", 0.04).kmesh == (5, 3, 1)
    assert default_settings(cell, "pbe", 0.04).coarse_kmesh is None
    assert settings.ecutwfc == max(ECUTWFC["Si"], ECUTWFC["O"])
    assert default_settings(cell, "hse").qmesh == (3, 3, 3)


def test_spin_is_on_where_shells_may_be_open() -> None:
    def start(*numbers: int) -> float | tuple[float, ...]:
        cell = Crystal(np.eye(3) * 5.0, list(numbers), [[n / len(numbers)] * 3 for n in range(len(numbers))])
        return default_settings(cell, "pbe").start_magnetization

    assert start(23) == 0.4  # vanadium: all atoms
    assert start(26, 8) == (0.4, 0.0)
    assert start(12, 8) == 0.0
    assert start(8, 8) == 0.4
    assert start(24, 8, 8, 8) == 0.0  # CrO3: closed shells


def test_every_element_of_pseudodojo_has_a_cutoff() -> None:
    assert set(ECUTWFC) == set(list_elements())


def test_jobs_come_from_structure_files(tmp_path: Path) -> None:
    structure = make_jobs({"Si": SILICON}, "pbe")[0].crystal.to_pymatgen()
    structure.to(str(tmp_path / "mine.cif"))
    (tmp_path / "other").mkdir()
    structure.to(str(tmp_path / "other" / "POSCAR"))
    jobs = make_jobs([tmp_path / "mine.cif", tmp_path / "other" / "POSCAR"], "pbe")
    assert [job.id for job in jobs] == ["mine", "other"]
    assert jobs[0].crystal.volume == pytest.approx(structure.volume)
    with pytest.raises(UsageError, match=r"absent\.cif does not exist"):
        make_jobs([tmp_path / "absent.cif"], "pbe")
    assert [job.id for job in make_jobs(tmp_path, "pbe")] == ["mine", "other"]
    (tmp_path / "other.json").write_text(json.dumps({"other": SILICON}))
    with pytest.raises(UsageError, match="two structures are called other"):
        make_jobs([tmp_path / "other" / "POSCAR", tmp_path / "other.json"], "pbe")
    with pytest.raises(UsageError, match="cannot be an id"):
        make_jobs({"../Si": SILICON}, "pbe")
    with pytest.raises(UsageError, match="pbe or hse"):
        make_jobs({"Si": SILICON}, "lda")


def test_choices_hold_for_all_crystals() -> None:
    (job,) = make_jobs({"a": cubic(5.0, 26)}, "pbe")
    settings = apply_choices(job, spin=True, hubbard_u={"Fe": 4.0, "Zn": 7.5}, forces=True).settings
    assert (settings.start_magnetization, settings.smearing, settings.hubbard_u) == (0.4, True, (("Fe", 4.0),))
    assert apply_choices(job, spin=False, smearing=False).settings.start_magnetization == 0
    with pytest.raises(UsageError, match="spin-polarised and its moment is not known"):
        apply_choices(job, spin=True, smearing=False)


def test_atoms_may_start_with_different_magnetizations() -> None:
    pair = {**SILICON, "numbers": [26, 26], "start_magnetisation": [0.4, -0.4]}
    (job,) = make_jobs({"a": pair}, "pbe")
    assert job.settings.start_magnetizations(2) == (0.4, -0.4)
    assert job.settings.as_meta()["start_magnetization"] == [0.4, -0.4]
    for same, start in (([0.4, 0.4], 0.4), ([0, 0], 0.0)):
        (job,) = make_jobs({"a": {**pair, "start_magnetisation": same}}, "pbe")
        assert job.settings.start_magnetization == start
    with pytest.raises(UsageError, match="3 numbers for 2 atoms"):
        make_jobs({"a": {**pair, "start_magnetisation": [1, 2, 3]}}, "pbe")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"kmesh": [3, 3]}, r"a: kmesh must be three whole numbers of points, not \[3, 3\]"),
        ({"kmesh": [3.5, 3, 3]}, "a: kmesh must be three whole numbers"),
        ({"kmesh": [3, -3, 3]}, "a: kmesh must be three whole numbers"),
        ({"ecutwfc": 20}, "a: a crystal record has 'ecutwfc': did you mean 'ecutwfc_Ry'"),
        ({"kmesh": 3}, "a: kmesh must be three whole numbers of points, not 3"),
        ({"kmesh": ["x", 1, 1]}, "a: kmesh must be three whole numbers"),
        ({"ecutwfc_Ry": "high"}, "a: ecutwfc_Ry must be a positive number of Ry, not 'high'"),
        ({"ecutwfc_Ry": float("nan")}, "a: ecutwfc_Ry must be a positive number"),
        ({"smearing": "no"}, "a: smearing must be true or false, not 'no'"),
        ({"symmetry": None}, "a: symmetry must be true or false, not None"),
        ({"start_magnetisation": "up"}, "a: start_magnetisation must be a number, or one for each atom"),
        ({"lattice": [[4, 0, 0], [0, 4, 0]]}, "a: lattice must be three vectors of three numbers in Å"),
        ({"lattice": [[4, 0, 0], [0, 4], [0, 0, 4]]}, "a: lattice must be three vectors"),
        ({"lattice": [[4, 0, 0], [4, 0, 0], [0, 0, 4]]}, "a: the lattice vectors span no volume: repair the record"),
        ({"numbers": ["Si"]}, r"a: numbers must be the atomic number of each atom, such as \[14, 8\], not \['Si'\]"),
        ({"numbers": [14.5]}, "a: numbers must be the atomic number"),
        ({"numbers": [0]}, "a: numbers must be the atomic number"),
        ({"numbers": [140]}, "a: numbers must be the atomic number"),
        ({"frac_coords": [[0, 0, None]]}, "a: frac_coords must be three numbers for each of the "),
        ({"frac_coords": [[0, 0, 0]] * 7}, "a: frac_coords must be three numbers for each"),
        ({"start_magnetization": 0.4}, "did you mean 'start_magnetisation'"),
    ],
)
def test_wrong_settings_of_a_record_are_named(change, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        make_jobs({"a": cubic(5.0) | change}, "pbe")


def test_records_without_keys_or_without_an_id_are_named(tmp_path: Path) -> None:
    lacking = ({"lattice": 1}, "a: the crystal record has no numbers and no frac_coords")
    for record, named in ((5, "a: a crystal record is an object"), lacking):
        with pytest.raises(UsageError, match=named):
            make_jobs({"a": record}, "pbe")
    (tmp_path / "bare.json").write_text(json.dumps(SILICON))
    with pytest.raises(UsageError, match=r"bare\.json is a crystal record without its id"):
        make_jobs(tmp_path / "bare.json", "pbe")


def test_other_facts_of_a_record_are_the_users() -> None:
    assert make_jobs({"a": cubic(5.0) | {"remark": "mine", "source": "me"}}, "pbe")
