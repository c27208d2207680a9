"""A CHG that holds the densities of several steps of a relaxation or molecular dynamics."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from ecd_data import Crystal, Density, read, write
from ecd_data.errors import FormatError, UsageError
from ecd_data.formats import find_renderer
from tests.conftest import smooth_density

SHAPE = (4, 3, 5)


def steps(count: int, spin: bool = False, crystal: Crystal | None = None) -> list[Density]:
    """Densities of atoms that move, in a cell that changes."""
    made = []
    for number in range(count):
        rho = smooth_density(SHAPE, spin=spin)
        if crystal is None:
            atoms = Crystal(rho.lattice * (1 + 0.01 * number), rho.numbers, rho.frac_coords + 0.01 * number)
        else:
            atoms = crystal
        spins = rho.magnetization * (1 - 0.1 * number) if spin else None
        made.append(Density(atoms, rho.values * (1 + 0.1 * number), spins, meta={"comment": "md"}))
    return made


def text_of(densities: list[Density]) -> bytes:
    return b"".join(map(find_renderer("CHGCAR"), densities))


def same(one: Density, two: Density) -> None:
    np.testing.assert_allclose(one.values, two.values, rtol=1e-9)
    np.testing.assert_allclose(one.lattice, two.lattice, rtol=1e-12)
    np.testing.assert_allclose(one.frac_coords, two.frac_coords, atol=1e-12)
    assert (one.magnetization is None) == (two.magnetization is None)
    if one.magnetization is not None:
        np.testing.assert_allclose(one.magnetization, two.magnetization, rtol=1e-9)


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("spin", [False, True])
@pytest.mark.parametrize("count", [2, 3, 4, 7])
def test_the_last_step_is_read_and_any_other_by_its_number(tmp_path, count, spin, ending):
    made = steps(count, spin)
    text = text_of(made)
    (tmp_path / f"CHG{ending}").write_bytes(gzip.compress(text) if ending else text)
    rho = read(tmp_path / f"CHG{ending}")
    same(rho, made[-1])
    assert (rho.meta["steps"], rho.meta["step"]) == (count, count - 1)
    for number in range(-count, count):
        again = read(tmp_path / f"CHG{ending}", step=number)
        same(again, made[number])
        assert (again.meta["steps"], again.meta["step"]) == (count, number % count)
    for number in (count, -count - 1, 99):
        with pytest.raises(UsageError, match=f"no step {number}: it holds {count}"):
            read(tmp_path / f"CHG{ending}", step=number)


@pytest.mark.parametrize("name", ["CHGCAR", "x.cube"])
def test_other_files_have_one_step(tmp_path, name):
    write(tmp_path / name, steps(1)[0])
    assert "steps" not in read(tmp_path / name).meta
    for number in (0, -1):
        same(read(tmp_path / name, step=number), read(tmp_path / name))
    for number in (1, -2):
        with pytest.raises(UsageError, match=f"no step {number}"):
            read(tmp_path / name, step=number)


@pytest.mark.parametrize("species", ["Mg O\n4 3 5", "4 3 5"])
def test_counts_that_look_like_a_grid_are_none(tmp_path, species):
    atoms = Crystal(np.eye(3) * 4.0, [12] * 4 + [8] * 3 + [1] * 5, np.random.default_rng(0).random((12, 3)).round(3))
    made = steps(3, True, atoms)
    text = text_of(made)
    if species == "4 3 5":
        text = text.replace(b"   Mg   O    H \n", b"")
    (tmp_path / "CHG").write_bytes(text)
    for number in range(3):
        np.testing.assert_allclose(read(tmp_path / "CHG", step=number).values, made[number].values, rtol=1e-9)


def test_windows_line_ends_and_occupancies(tmp_path):
    tail = "augmentation occupancies   1   1\n  0.1000000E+01\n"
    made = [Density(r.crystal, r.values, None, (tail,), r.meta) for r in steps(3)]
    (tmp_path / "CHG").write_bytes(text_of(made).replace(b"\n", b"\r\n"))
    for number in range(3):
        rho = read(tmp_path / "CHG", step=number)
        same(rho, made[number])
        assert rho.augmentation == (tail.replace("\n", "\r\n"),)


def test_a_step_that_is_cut_is_refused_and_the_ones_before_are_read(tmp_path):
    made = steps(3, True)
    text = text_of(made)
    length = len(text) // 3
    rng = np.random.default_rng(0)
    for cut in rng.integers(2 * length + 1, 3 * length - 20, size=30):
        (tmp_path / "CHG").write_bytes(text[:cut])
        if text[cut - 1 : cut + 1] == b"\n " and text[cut:].lstrip().startswith(b"4    3"):
            continue  # between its grids, it is a step without spin
        with pytest.raises(FormatError, match="CHG"):
            read(tmp_path / "CHG")
        same(read(tmp_path / "CHG", step=0), made[0])


def test_a_step_that_is_cut_in_the_middle_is_refused(tmp_path):
    one, two, three = map(find_renderer("CHGCAR"), steps(3))
    (tmp_path / "CHG").write_bytes(one + two[:-100] + b"\n" + three)
    same(read(tmp_path / "CHG"), steps(3)[2])
    with pytest.raises(FormatError, match="step 1 of 0 to 2"):
        read(tmp_path / "CHG", step=1)
    (tmp_path / "CHG").write_bytes(one[:-100] + b"\n" + two)
    with pytest.raises(FormatError, match="grid 1"):
        read(tmp_path / "CHG")


@pytest.mark.parametrize(("file", "count"), [("md2_CHG", 2), ("md_CHG", 3)])
def test_cases_are_read(shared, file, count):
    path = shared / "cases" / "files" / "chg_of_several_steps" / file
    if not path.exists():
        pytest.skip(f"{path} is not here")
    rho = read(path)
    assert rho.meta["steps"] == count
    assert rho.magnetization is None
    assert rho.nelect == pytest.approx(8, abs=1e-3)


def test_a_step_that_lost_its_second_grid_is_refused(tmp_path):
    (spin, _), (plain, _) = steps(2, True), steps(2, False)
    (tmp_path / "CHG").write_bytes(text_of([spin, plain]))
    with pytest.raises(FormatError, match="other grids than the first step"):
        read(tmp_path / "CHG")


@pytest.mark.parametrize("grids", [1, 2])
def test_moments_behind_the_last_grid_mean_that_a_grid_is_missing(tmp_path, grids):
    rho = smooth_density(SHAPE, spin=grids == 2)
    moments = "  0.500000000000E+00" * len(rho.crystal) + "\n"
    (tmp_path / "CHGCAR").write_text(text_of([rho]).decode() + moments)
    with pytest.raises(FormatError, match="where another grid is due"):
        read(tmp_path / "CHGCAR")
