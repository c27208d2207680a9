"""Augmentation occupancies between VASP's text, a Density and pymatgen, by pymatgen's own reader and writer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from monty.json import MontyEncoder
from pymatgen.io.common import VolumetricData
from pymatgen.io.vasp import Chgcar, Elfcar, Locpot

from ecd_data import Crystal, Density, read, write
from ecd_data.errors import FormatError, UsageError
from tests.conftest import smooth_density

SPINS = {"none": 0, "collinear": 1, "non-collinear": 3}
COUNTS = (8, 7, 10)  # occupancies of the three atoms
LINE = "  0.1000000E+01 -0.2000000E+00  0.3000000E+00  0.0000000E+00  0.4000000E-02\n"


def block(seed: int, imaginary: bool = False) -> str:
    """Occupancies of three atoms as VASP prints them."""
    rng = np.random.default_rng(seed)
    text = ""
    for atom, count in enumerate(COUNTS, 1):
        for part in ("", " (imaginary part)")[: 1 + imaginary]:
            words = [f" {x:14.6E}" for x in rng.normal(size=count) * 10.0 ** rng.integers(-18, 2, size=count)]
            rows = ["".join(words[k : k + 5]) for k in range(0, count, 5)]
            text += "\n".join([f"augmentation occupancies{part} {atom:>3} {count:>3}", *rows]) + "\n"
    return text


def density(spins: int, imaginary: bool = False) -> Density:
    rho = smooth_density((4, 3, 5), spin=True)
    spin = [None, rho.magnetization, None, np.stack([rho.values * f for f in (0.1, -0.2, 0.3)])][spins]
    tails = tuple(block(seed, imaginary) for seed in range(1 + spins))
    return Density(rho.crystal, rho.values, spin, tails, {"comment": "three atoms"})


def same_occupancies(one: Chgcar, two: Chgcar) -> None:
    assert {key: sorted(atoms) for key, atoms in one.data_aug.items()} == {
        key: sorted(atoms) for key, atoms in two.data_aug.items()
    }
    for key, atoms in one.data_aug.items():
        for atom, values in atoms.items():
            np.testing.assert_array_equal(two.data_aug[key][atom], values)


@pytest.mark.parametrize("imaginary", [False, True], ids=["real", "complex"])
@pytest.mark.parametrize("spin", SPINS)
def test_pymatgens_chgcar_comes_back_from_a_density_and_from_the_file_it_writes(tmp_path, spin, imaginary):
    write(tmp_path / "CHGCAR", density(SPINS[spin], imaginary))
    theirs = Chgcar.from_file(str(tmp_path / "CHGCAR"))
    rho = Density.from_pymatgen(theirs)
    again = rho.to_pymatgen()
    write(tmp_path / "ours_CHGCAR", rho)
    again.write_file(str(tmp_path / "theirs_CHGCAR"))
    for chgcar in (again, *(Chgcar.from_file(str(tmp_path / f"{who}_CHGCAR")) for who in ("ours", "theirs"))):
        assert set(chgcar.data) == set(theirs.data)
        for key, grid in theirs.data.items():
            np.testing.assert_allclose(chgcar.data[key], grid, rtol=2e-10, atol=1e-12)
        same_occupancies(theirs, chgcar)
    assert again.poscar.comment == rho.meta["comment"] == "three atoms"
    assert len(rho.augmentation) == 1 + SPINS[spin]
    assert read(tmp_path / "theirs_CHGCAR").magnetization is None or SPINS[spin]


@pytest.mark.parametrize("spin", SPINS)
def test_json_of_pymatgen_keeps_the_occupancies_of_every_grid(tmp_path, spin):
    rho = density(SPINS[spin], imaginary=spin == "collinear")
    write(tmp_path / "CHGCAR", rho)
    theirs = Chgcar.from_file(str(tmp_path / "CHGCAR"))
    (tmp_path / "x.json").write_text(json.dumps(theirs, cls=MontyEncoder))
    write(tmp_path / "again_CHGCAR", read(tmp_path / "x.json"))
    same_occupancies(theirs, Chgcar.from_file(str(tmp_path / "again_CHGCAR")))
    np.testing.assert_allclose(read(tmp_path / "x.json").values, rho.values, rtol=1e-9)


@pytest.mark.parametrize("name", ["LiH_scan", "Si_static", "pmg_nospin", "pyiron_spin"])
def test_occupancies_of_vasp_keep_their_text(shared, name):
    source = shared / "real" / f"{name}.CHGCAR.gz"
    whole = read(source)
    again = Density.from_pymatgen(Chgcar.from_file(str(source)))
    for before, after in zip(whole.augmentation, again.augmentation, strict=True):
        assert before.startswith(after)  # behind them, VASP prints moments, which pymatgen does not keep


@pytest.mark.parametrize("ends", ["\n", "", "\r\n"])
def test_lines_of_an_older_pymatgen_are_ended_once(tmp_path, ends):
    chgcar = density(1).to_pymatgen()
    lines = {"total": f"augmentation occupancies   1   5\n{LINE}".splitlines(), "diff": block(3).splitlines()}
    chgcar.data_aug = {key: [line + ends for line in block] for key, block in lines.items()}
    rho = Density.from_pymatgen(chgcar)
    assert rho.augmentation == tuple("\n".join(block) + "\n" for block in lines.values())
    (tmp_path / "x.json").write_text(json.dumps(chgcar, cls=MontyEncoder))
    write(tmp_path / "CHGCAR", read(tmp_path / "x.json"))
    assert read(tmp_path / "CHGCAR").augmentation == rho.augmentation


@pytest.mark.parametrize("values", [[1 / 3, -2e-17, 0.0], [0.123456789012, 1e5, -7.0], [1e-120, 5.0, 1e200]])
def test_digits_that_vasp_would_not_print_are_kept(tmp_path, values):
    chgcar = density(0).to_pymatgen()
    chgcar.data_aug = {"total": {atom: np.array(values) * atom for atom in (1, 2, 3)}}
    rho = Density.from_pymatgen(chgcar)
    write(tmp_path / "CHGCAR", rho)
    assert read(tmp_path / "CHGCAR").augmentation == rho.augmentation
    for atom in (1, 2, 3):
        np.testing.assert_array_equal(rho.to_pymatgen().data_aug["total"][atom], np.array(values) * atom)


@pytest.mark.parametrize(
    "block",
    [
        {"4": [1.0]},  # of an atom that is not there
        {"1": [float("nan")]},
        {"1": [["a"]]},
        {"one": [1.0]},
        ["augmentation occupancies   1   5", "  0.1000000E+01"],  # cut
        ["augmentation occupancies   1   1", "  0.1000000E+01", "  0.2000000E+01  0.2000000E+01"],
        7,
    ],
)
def test_occupancies_that_are_none_are_refused(tmp_path, block):
    chgcar = density(0).to_pymatgen()
    chgcar.data_aug = {"total": block}
    with pytest.raises(FormatError, match=r"Chgcar.*occupancies"):
        Density.from_pymatgen(chgcar)
    (tmp_path / "x.json").write_text(json.dumps(chgcar, cls=MontyEncoder))
    with pytest.raises(FormatError, match=r"x\.json.*occupancies"):
        read(tmp_path / "x.json")


def test_occupancies_of_another_number_of_grids_are_not_written(tmp_path):
    rho = density(3)
    one = Density(rho.crystal, rho.values, rho.magnetization, rho.augmentation[:1])
    with pytest.raises(FormatError, match="1 blocks of augmentation occupancies for 4 grids"):
        write(tmp_path / "CHGCAR", one)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", [Elfcar, Locpot])
@pytest.mark.parametrize("spins", [0, 1])
def test_other_quantities_of_pymatgen_are_refused_by_name(kind, spins):
    chgcar = density(spins).to_pymatgen()
    with pytest.raises(UsageError, match=kind.__name__):
        Density.from_pymatgen(kind(chgcar.poscar, chgcar.data))


def test_a_cube_that_pymatgen_read_has_no_known_unit(tmp_path):
    write(tmp_path / "x.cube", density(0))
    with pytest.raises(UsageError, match="unknown unit"):
        Density.from_pymatgen(VolumetricData.from_cube(str(tmp_path / "x.cube")))
    assert read(tmp_path / "x.cube").nelect == pytest.approx(density(0).nelect)


def test_unknown_elements_stay_so():
    rho = smooth_density((4, 3, 5))
    rho = Density(Crystal(rho.lattice, [0, 8, 0], rho.frac_coords), rho.values)
    np.testing.assert_array_equal(Density.from_pymatgen(rho.to_pymatgen()).numbers, [0, 8, 0])


def case(shared: Path, name: str) -> Path:
    path = shared / "cases" / "files" / name
    if not path.exists():
        pytest.skip(f"{path} is not here")
    return path


@pytest.mark.parametrize(
    ("file", "blocks"),
    [("from_pymatgen_drops_augmentation/base_CHGCAR", 1), ("ncl_json_export_crashes/ncl.json", 4)]
    + [("json_lines_without_newline/legacy.json", 1)],
)
def test_cases_keep_their_occupancies(shared, tmp_path, file, blocks):
    rho = read(case(shared, file))
    assert len(Density.from_pymatgen(rho.to_pymatgen()).augmentation) == len(rho.augmentation) == blocks
    write(tmp_path / "CHGCAR", rho)
    assert read(tmp_path / "CHGCAR").augmentation == rho.augmentation
    same_occupancies(rho.to_pymatgen(), Chgcar.from_file(str(tmp_path / "CHGCAR")))
