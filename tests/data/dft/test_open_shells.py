"""Which crystals get spin: those of d and f elements whose charges do not balance with closed shells."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecd_data.dft.open_shells import list_magnetic_elements, load_hubbard_u, may_have_moment
from ecd_data.errors import UsageError


@pytest.mark.parametrize(
    "counts",
    [
        {"Fe": 2, "O": 3},
        {"Ni": 1, "O": 1},
        {"Cu": 1, "O": 1},
        {"Mn": 1, "O": 2},
        {"V": 1, "O": 2},
        {"Ce": 2, "O": 3},
        {"U": 1, "O": 2},
        {"Ti": 1, "H": 2},
        {"W": 1},
        {"Nb": 3, "Sn": 1},
    ],
)
def test_open_shells_and_metals_get_spin(counts):
    assert may_have_moment(counts)


@pytest.mark.parametrize(
    "counts",
    [
        {"Cu": 2, "O": 1},
        {"Ti": 1, "O": 2},
        {"V": 2, "O": 5},
        {"Ce": 1, "O": 2},
        {"K": 1, "Mn": 1, "O": 4},
        {"Zn": 1, "N": 2, "O": 6},
        {"Sc": 1, "N": 1},
    ],
)
def test_closed_shells_get_none(counts):
    assert not may_have_moment(counts)


@pytest.mark.parametrize("counts", [{"Si": 2}, {"Na": 1}, {"Mg": 1, "O": 1}, {"Pb": 1, "Te": 1}, {"Al": 2, "Sb": 1}])
def test_crystals_without_d_and_f_elements_get_none(counts):
    assert not may_have_moment(counts)


def test_f_shells_in_the_core_are_closed():
    oxide = {"Nd": 2, "O": 3}
    assert may_have_moment(oxide)
    assert not may_have_moment(oxide, {"Nd": "Nd_3"})
    assert may_have_moment({"Nd": 1, "O": 1}, {"Nd": "Nd_3"})
    assert not may_have_moment({"Eu": 1, "O": 1}, {"Eu": "Eu_2"})
    assert may_have_moment({"Fe": 1, "O": 1}, {"Fe": "Fe_pv"})


def test_the_number_of_formula_units_does_not_matter():
    for counts in ({"La": 1, "W": 1, "N": 3}, {"Fe": 1, "S": 2}, {"Zr": 1, "O": 2}):
        assert may_have_moment(counts) == may_have_moment({symbol: 7 * n for symbol, n in counts.items()})


@pytest.mark.parametrize(
    ("counts", "elements"),
    [
        ({"Fe": 1, "O": 1}, ["Fe"]),
        ({"V": 1}, ["V"]),
        ({"V": 2, "O": 5}, []),
        ({"Cr": 1, "O": 3}, []),
        ({"Mn": 1, "Al": 1, "Cu": 2}, ["Mn"]),
        ({"Gd": 1, "N": 1}, ["Gd"]),
        ({"O": 2}, ["O"]),
        ({"Mg": 1, "O": 1}, []),
        ({"Pd": 1}, []),
    ],
)
def test_moments_start_on_magnetic_elements(counts, elements):
    assert list_magnetic_elements(counts) == elements


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("Fe", "'Fe' is no element with its U in eV: write Fe=4.6"),
        ("Fe:4.6", "'Fe:4.6' is no element with its U"),
        ("", "'' is no element with its U"),
        ("Fe=4,", "'' is no element with its U"),
        ("Fe=", "'Fe=' is no element with its U"),
        ("Fe=a", "the U of Fe must be a number from 0 to 20 eV, such as 4.6, not a"),
        ("Fe=4=5", "the U of Fe must be a number from 0 to 20 eV"),
        ("Fe=46", "the U of Fe must be a number from 0 to 20 eV"),
        ("Fe=-3", "the U of Fe must be a number from 0 to 20 eV"),
        ("Fe=nan", "the U of Fe must be a number from 0 to 20 eV"),
        ("fe=4", "name 'fe', which is no element symbol: did you mean Fe?"),
        ("Iron=4", "name 'Iron', which is no element symbol: write Fe=4.6"),
        ("Fe=4,Fe=5", "names Fe twice"),
        ("absent.json", "absent.json with the U values cannot be read"),
    ],
)
def test_wrong_values_of_u_are_named(text: str, named: str) -> None:
    with pytest.raises(UsageError) as error:
        load_hubbard_u(text)
    assert named in str(error.value)


@pytest.mark.parametrize("content", ["{", "[1]", '{"Fe": "x"}', '{"Fe": null}', '{"Fe": [4]}'])
def test_wrong_files_of_u_are_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "u.json").write_text(content)
    with pytest.raises(UsageError, match=r"is no JSON|is no object with|U of Fe must be a number"):
        load_hubbard_u(str(tmp_path / "u.json"))
