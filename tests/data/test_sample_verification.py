"""The verification crystals, and equations of state against all-electron codes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ecd_data.crystal import Crystal
from ecd_data.sample import equations_of_state
from ecd_data.sample.equations_of_state import (
    OF_A_KIND,
    SCALES,
    birch_murnaghan,
    choose_crystals,
    compare_crystals,
    compute_epsilon,
    compute_nu,
    make_comparison_table,
    make_volume_record,
    name_volume,
)
from ecd_data.sample.held_out import find_type
from ecd_data.sample.verification import (
    NOBLE_GASES,
    OXIDES,
    EquationOfState,
    choose_bare,
    list_elements,
    list_oxides,
    make_verification_cell,
    read_reference,
)

BARE = ("FCC", "BCC", "SC", "Diamond")  # kinds of elemental structures


def test_the_crystals_are_those_of_the_list(shared: Path) -> None:
    listed = json.loads((shared / "dft" / "acwf.json").read_text())
    references = json.loads((shared / "dft" / "acwf_reference.json").read_text())
    for element in ("H", "Ti", "Cs", "Rn"):
        for kind in (*BARE, *OXIDES):
            theirs, ours = listed[f"{element}_{kind}"], make_verification_cell(element, kind)
            assert sorted(ours["numbers"]) == sorted(theirs["numbers"])
            volumes = [abs(np.linalg.det(cell["lattice"])) for cell in (ours, theirs)]
            assert volumes[0] == pytest.approx(volumes[1], rel=1e-5)
            types = [find_type(Crystal(c["lattice"], c["numbers"], c["frac_coords"])) for c in (ours, theirs)]
            assert types[0] == types[1]
            reference = references[f"{element}_{kind}"]
            assert read_reference(element, kind).v0 == pytest.approx(reference["V0_A3"], rel=1e-5)
            assert read_reference(element, kind).b0 == pytest.approx(reference["B0_eV_A3"], rel=1e-3, abs=1e-6)


def test_oxides_have_states_that_elements_are_known_for() -> None:
    assert list_oxides("Ca") == ["XO"]
    assert list_oxides("Ti")[0] == "XO2"
    assert list_oxides("O") == list_oxides("Ne") == []
    without = {element for element in list_elements() if not list_oxides(element)}
    assert without == {*NOBLE_GASES, "O"} - {"Xe"}
    assert (choose_bare("Na"), choose_bare("Si"), choose_bare("Mg")) == ("BCC", "Diamond", "FCC")


def test_twenty_crystals_of_ten_kinds_and_twenty_elements_are_chosen() -> None:
    chosen = choose_crystals()
    assert len({element for element, _ in chosen}) == len(chosen) == 20
    assert all([kind for _, kind in chosen].count(kind) == OF_A_KIND for kind in (*BARE, *OXIDES))


def test_all_volumes_have_one_mesh_and_no_spin() -> None:
    records = [make_volume_record("Fe", "XO3", scale) for scale in SCALES]
    assert len({tuple(record["kmesh"]) for record in records}) == 1
    assert {record["start_magnetisation"] for record in records} == {0.0}
    volumes = [abs(np.linalg.det(record["lattice"])) for record in records]
    np.testing.assert_allclose(np.array(volumes) / volumes[3], SCALES, rtol=1e-6)


def test_measures_are_those_of_the_paper() -> None:
    one, other = EquationOfState(20.0, 0.5, 4.0), EquationOfState(20.04, 0.5, 4.0)
    assert compute_epsilon(one, one) == compute_nu(one, one) == 0
    assert compute_epsilon(one, other) == pytest.approx(compute_epsilon(other, one))
    assert compute_nu(one, other) == pytest.approx(0.2, abs=1e-3)
    assert compute_nu(one, EquationOfState(20.0, 0.505, 4.0)) == pytest.approx(100 * 0.00995 / 20, rel=1e-3)
    assert compute_nu(one, other) / compute_epsilon(one, other) == pytest.approx(1.65, rel=0.1)  # as in the paper


def test_a_fit_finds_the_curve_that_energies_follow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference itself agrees fully with itself; a crystal with a missing volume is left out."""
    crystals = [("Al", "FCC"), ("Li", "SC")]
    energies = {}
    for element, kind in crystals:
        volumes = [abs(np.linalg.det(make_verification_cell(element, kind, scale)["lattice"])) for scale in SCALES]
        curve = birch_murnaghan(np.array(volumes), read_reference(element, kind)) - 50.0
        energies |= {name_volume(element, kind, s): e for s, e in zip(SCALES, curve, strict=True)}
    del energies["Li_SC-v1.00"]
    monkeypatch.setattr(equations_of_state, "read_column", lambda store, column: energies)
    (found,) = compare_crystals(crystals, tmp_path)
    assert found.crystal == "Al_FCC"
    assert found.ours.v0 == pytest.approx(found.reference.v0, rel=1e-4)
    assert found.epsilon < 0.01
    assert found.nu < 0.01
    assert "| Al_FCC |" in make_comparison_table([found])
