"""Units of cubes and XSFs: stated by the caller, told by the electron count, or flagged as a guess."""

from __future__ import annotations

import numpy as np
import pytest

from ecd_data import Crystal, Density, check, convert, open_store, read, write
from ecd_data.crystal import ATOMIC_NUMBERS, SYMBOLS
from ecd_data.errors import UsageError
from ecd_data.formats.units import BOHR, PER_ANGSTROM3, PER_BOHR3, guess_unit, least_valence, parse_unit
from tests.conftest import smooth_density
from tests.data.test_formats import xsf_text


def crystal_of(number: int, count: int = 4, cell: float = 4.08) -> Crystal:
    places = np.random.default_rng(0).random((count, 3))
    return Crystal(np.eye(3) * cell, [number] * count, places)


def density_of(electrons: float, number: int, count: int = 4) -> Density:
    rho = smooth_density((6, 6, 6))
    crystal = crystal_of(number, count)
    return Density(crystal, rho.values * electrons / (rho.values.mean() * crystal.volume))


def cube_text(rho: Density, unit: str, sign: int = -1, comment: bytes = b"c") -> bytes:
    """A cube in Å (sign -1) or bohr (1)."""
    length = 1.0 if sign < 0 else BOHR
    lines = [f" {len(rho.crystal)} 0 0 0"]
    lines += [" {} {} {} {}".format(sign * n, *row / n / length) for n, row in zip(rho.shape, rho.lattice, strict=True)]
    lines += [
        " {} 0 {} {} {}".format(z, *x / length) for z, x in zip(rho.numbers, rho.crystal.cart_coords, strict=True)
    ]
    values = rho.values * (BOHR**3 if unit == PER_BOHR3 else 1)
    lines += [" ".join(f"{x:.6E}" for x in row) for row in values.reshape(-1, rho.shape[2])]
    return comment + b"\nc\n" + "\n".join(lines).encode() + b"\n"


@pytest.mark.parametrize(
    ("electrons", "number", "unit"),
    [
        (48.0, 14, PER_BOHR3),
        (56.0, 82, PER_BOHR3),
        (60.0, 83, PER_ANGSTROM3),
        (32.0, 14, PER_BOHR3),
        (12.0, 13, PER_ANGSTROM3),
        (96.0, 26, PER_BOHR3),
    ],
)
def test_a_count_that_only_one_unit_explains_is_no_guess(tmp_path, electrons, number, unit):
    (tmp_path / "x.cube").write_bytes(cube_text(density_of(electrons, number), unit))
    rho = read(tmp_path / "x.cube")
    assert rho.meta["unit"] == unit
    assert rho.nelect == pytest.approx(electrons, abs=1e-3)
    assert "guesses" not in rho.meta


WHOLE_IN_THE_OTHER = [
    (13.5, "W", PER_BOHR3),  # 2.0005 as e/Å^3
    (2 / BOHR**3, "W", PER_BOHR3),  # 2 exactly
    (12 / BOHR**3, "Bi", PER_BOHR3),
    (7 * BOHR**3, "Na", PER_ANGSTROM3),
    (70 * BOHR**3, "Au", PER_ANGSTROM3),
    (40 * BOHR**3, "Pb", PER_ANGSTROM3),
    (5 / BOHR**3, "Ce", PER_BOHR3),
]


@pytest.mark.parametrize(("electrons", "symbol", "unit"), WHOLE_IN_THE_OTHER)
@pytest.mark.parametrize("ending", ["cube", "xsf"])
def test_a_count_that_is_whole_in_the_wrong_unit_is_flagged(tmp_path, caplog, electrons, symbol, unit, ending):
    rho = density_of(electrons, ATOMIC_NUMBERS[symbol], 1)
    path = tmp_path / f"x.{ending}"
    wrapped = np.pad(rho.values, (0, 1), mode="wrap") * (BOHR**3 if unit == PER_BOHR3 else 1)
    path.write_bytes(cube_text(rho, unit) if ending == "cube" else xsf_text(rho, np.zeros(3), wrapped).encode())
    assert "unit-guessed" in check(read(path)).flags
    assert all(said in caplog.text for said in (path.name, PER_BOHR3, PER_ANGSTROM3, "state the unit"))
    assert read(path, unit=unit).nelect == pytest.approx(electrons, rel=1e-5)


def test_a_physical_density_is_never_read_in_the_wrong_unit_without_a_flag():
    generator = np.random.default_rng(3)
    for _ in range(2000):
        numbers = generator.integers(1, 104, size=generator.integers(1, 6))
        least = sum(map(least_valence, map(int, numbers)))
        electrons = generator.uniform(least, numbers.sum())
        if generator.random() < 0.7:
            electrons = round(electrons * (scale := generator.choice([1.0, BOHR**3, BOHR**-3]))) / scale
        for unit, factor in ((PER_ANGSTROM3, 1.0), (PER_BOHR3, BOHR**3)):
            found, doubt = guess_unit(electrons * factor, numbers)
            assert found == unit or doubt, (numbers, electrons, unit)


def test_the_least_valence_is_the_group_of_an_element():
    known = {"H": 1, "He": 2, "C": 4, "Ne": 8, "Na": 1, "Fe": 8, "Cu": 1, "Zn": 2, "Ga": 3, "I": 7, "Gd": 2, "W": 6}
    known |= {"Au": 1, "Pb": 4, "Bi": 5, "U": 2, "Xe": 8, "Pt": 10, "X": 1}
    assert {symbol: least_valence(SYMBOLS.index(symbol)) for symbol in known} == known


@pytest.mark.parametrize(("electrons", "number"), [(44.05, 79), (43.97, 79), (58.4, 82), (28.3, 53), (27.5, 55)])
@pytest.mark.parametrize("ending", ["cube", "xsf"])
def test_where_both_units_are_possible_it_is_flagged_logged_and_can_be_stated(
    tmp_path, caplog, electrons, number, ending
):
    rho = density_of(electrons, number)
    path = tmp_path / f"au.{ending}"
    wrapped = np.pad(rho.values, (0, 1), mode="wrap")
    path.write_bytes(
        cube_text(rho, PER_ANGSTROM3) if ending == "cube" else xsf_text(rho, np.zeros(3), wrapped).encode()
    )
    again = read(path)
    assert "unit-guessed" in check(again).flags
    assert len(caplog.records) == 1
    assert all(word in caplog.text for word in (path.name, "e/Å^3", "e/bohr^3", f"{electrons:.2f}"))
    convert(path, tmp_path / "x.ecd")
    store = open_store(tmp_path / "x.ecd")
    assert "unit-guessed" in store.index["flags"][0]
    assert "unit-guessed" in check(store["au"]).flags
    for name, factor in (("e/A^3", 1), ("e/Å^3", 1), ("e/bohr^3", BOHR**-3)):
        stated = read(path, unit=name)
        assert stated.nelect == pytest.approx(electrons * factor, rel=1e-6)
        assert "guesses" not in stated.meta


def test_cubes_in_bohr_are_per_bohr3_and_flagged_where_that_is_unlikely(tmp_path):
    for electrons, unit, flagged in ((32.0, PER_BOHR3, False), (31.9, PER_BOHR3, False), (44.0, PER_ANGSTROM3, True)):
        rho = density_of(electrons, 79 if flagged else 14)
        (tmp_path / "x.cube").write_bytes(cube_text(rho, unit, 1))
        again = read(tmp_path / "x.cube")
        assert again.meta["unit"] == PER_BOHR3
        assert ("unit-guessed" in check(again).flags) == flagged
        assert read(tmp_path / "x.cube", unit=unit).nelect == pytest.approx(electrons, abs=1e-3)


@pytest.mark.parametrize("name", ["e/Å^3", "e/A^3", "e/Å³", "e / Angstrom**3", "electrons/ang^3", "e/\u212b^3", "1/A3"])
def test_names_of_the_unit_in_angstrom(name):
    assert parse_unit(name) == PER_ANGSTROM3


@pytest.mark.parametrize("name", ["e/bohr^3", "e/bohr3", "E/Bohr³", "e/a0^3", "e/au^3", "e/a.u.^3", "electron/bohr**3"])
def test_names_of_the_unit_in_bohr(name):
    assert parse_unit(name) == PER_BOHR3


@pytest.mark.parametrize("name", ["", "e", "e/nm^3", "eV/Å^3", "e/Å^2", "bohr", "C/m^3", 7])
def test_other_units_are_refused(tmp_path, name):
    write(tmp_path / "x.cube", smooth_density())
    with pytest.raises(UsageError, match=r"give 'e/A\^3' or 'e/bohr\^3'"):
        read(tmp_path / "x.cube", unit=name)


def test_a_unit_of_a_format_that_states_its_own_is_refused(tmp_path):
    write(tmp_path / "CHGCAR", smooth_density())
    with pytest.raises(UsageError, match="CHGCAR is read as chgcar, whose unit is fixed"):
        read(tmp_path / "CHGCAR", unit="e/A^3")


def test_unknown_elements_empty_and_negative_fields_are_never_sure():
    for electrons, numbers in ((8.3, [0, 0]), (0.0, [8]), (-3.0, [8]), (900.0, [1, 1])):
        assert guess_unit(electrons, np.array(numbers))[1] is not None


def test_comments_of_any_encoding_are_read_and_written_back(tmp_path):
    rho = density_of(32.0, 14)
    for comment in (b"d=2 \xc5", "密度".encode("gbk"), "密度 Å".encode(), b"\xff\xfe"):
        (tmp_path / "x.cube").write_bytes(cube_text(rho, PER_BOHR3, 1, comment))
        again = read(tmp_path / "x.cube")
        write(tmp_path / "y.cube", again)
        assert (tmp_path / "y.cube").read_bytes().split(b"\n")[0] == comment
        convert(tmp_path / "x.cube", tmp_path / f"{comment.hex()}.ecd")
        assert open_store(tmp_path / f"{comment.hex()}.ecd")["x"].meta["comment"] == again.meta["comment"]


def test_the_cases_of_others(shared):
    cases = shared / "cases" / "files"
    if not cases.is_dir():
        pytest.skip("../shared has no cases")
    gold = cases / "unit_guess_heavy_elements" / "Au4_angstrom.cube"
    assert "unit-guessed" in check(read(gold)).flags
    assert read(gold, unit="e/Å^3").nelect == pytest.approx(44.05, abs=1e-3)
    assert read(cases / "comment_not_utf8" / "latin1.cube").nelect == pytest.approx(8, abs=1e-3)
