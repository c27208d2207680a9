"""Every format read from a real file or one that another program makes here, and numbers equal to the last bit."""

from __future__ import annotations

import gzip
import io
import math
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from random import Random

import numpy as np
import pytest

from ecd_data import Crystal, Density, check, read, write
from ecd_data.dft.pseudopotentials import pseudo_folder
from ecd_data.errors import FormatError, UsageError
from ecd_data.formats import fortran, numbers
from ecd_data.formats.fortran import parse_block, parse_grid
from ecd_data.formats.vasp.number_text import format_block
from ecd_data.io.compression import ENDINGS
from ecd_data.io.file_bytes import MappedFile
from tests.conftest import smooth_density


def bits(array: np.ndarray) -> np.ndarray:
    return array.view(np.uint64)


def floats_of(text: bytes) -> np.ndarray:
    return np.array([float(w) for w in text.split()])


def numbers_text(count: int, powers: tuple[int, int], seed: int = 0) -> bytes:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=count) * 10.0 ** rng.integers(*powers, size=count)
    values[rng.random(count) < 0.05] = 0.0
    return format_block(values)


@pytest.fixture(params=["compiled", "numpy"])
def way(request, monkeypatch) -> str:
    """Each of the two ways that numbers are read."""
    if request.param == "numpy":
        monkeypatch.setattr(numbers, "load_library", lambda: None)
    elif numbers.load_library() is None:
        pytest.skip("numbers.c was not compiled here: python3 make.py setup, with a C compiler")
    return request.param


@pytest.mark.parametrize("powers", [(-3, 6), (-14, 36), (-60, 60)])
@pytest.mark.parametrize("count", [5, 41, 23_043])
def test_numbers_are_those_of_float_to_the_last_bit(way, powers, count):
    text = numbers_text(count, powers)
    text = text.replace(b" 0.00000000000E+00", b" -.00000000000E+00", 1)
    values, end = parse_block(text + b"tail", 0, count, "x")
    assert end == len(text)
    np.testing.assert_array_equal(bits(values), bits(floats_of(text)))


def random_words(count: int, seed: int) -> list[str]:
    """Numbers of all lengths, signs and exponents, as programs of all languages print them."""
    rng = Random(seed)
    words = []
    for _ in range(count):
        length = rng.randint(1, 21)
        digits = str(rng.randrange(10**length)).zfill(length)
        point = rng.randint(0, length)
        body = digits[:point] + rng.choice([".", ""] if point else ["."]) + digits[point:]
        exponent = rng.choice("Ee") + rng.choice(["-", "+", ""]) + str(rng.randrange(rng.choice([10, 100, 270])))
        words.append(rng.choice(["", "-", "+"]) + body + rng.choice(["", exponent]))
    return words


def ties(count: int, seed: int) -> list[str]:
    """Numbers half way between two doubles, and next to it."""
    rng = Random(seed)
    return [
        str(((2 * rng.randrange(1 << 52, 1 << 53) + 1) << rng.randrange(9)) + rng.randint(-1, 1)) for _ in range(count)
    ]


def test_numbers_of_every_shape_are_those_of_float(way):
    words = random_words(6000, 1) + ties(2000, 2) + ["0", "-0.0", "9007199254740993", "1e22", "1e23", ".5", "5."]
    separators = Random(3).choices([" ", "\n", "  ", "\t", "\r\n"], k=len(words))
    text = "\n" + "".join(w + s for w, s in zip(words, separators, strict=True)) + "\n"
    values, end = parse_block(text.encode(), 1, len(words), "x")
    assert not text[end:].strip()
    np.testing.assert_array_equal(bits(values), bits(np.array(words, dtype=np.float64)))


@pytest.mark.parametrize(
    "word", ["********", "1.2.3", "1E+", "--1.0", ".", "1.0E+02.5", "0.1E+020.2E+01", "nan", "1e999"]
)
def test_what_is_no_finite_number_is_an_error(way, word):
    text = numbers_text(500, (-3, 3))
    bad = text[: 91 * 7 + 36] + f" {word} ".encode() + text[91 * 7 + 54 :]
    with pytest.raises(FormatError, match=r"^x"):
        parse_block(bad, 0, 500, "x")


@pytest.mark.parametrize("places", range(1, 10))
def test_numbers_of_few_digits_are_those_of_float(way, places):
    values = np.random.default_rng(places).normal(size=3000) * 10.0 ** np.arange(-60, 60).repeat(25)
    words = [f"{x:.{places}E}" for x in values] + ["-1.5E+00", "12.5E+00", "1.25E-101", f"{7:.{places}E}"]
    text = "\n" + "".join(" ".join(words[i : i + 7]) + "\n" for i in range(0, len(words), 7))
    np.testing.assert_array_equal(
        bits(parse_block(text.encode(), 1, len(words), "x")[0]), bits(floats_of(text.encode()))
    )
    for bad in (b"1.5:E+00", b"1,50E+00", b":.50E+00", b"1.50E:00", b"1.50E+0:", b"1.50E+001.5"):
        wrong = text.encode().replace(b"-1.5E+00", bad)
        with pytest.raises(FormatError, match=r"^x"):
            parse_block(wrong, 1, len(words), "x")


@pytest.mark.parametrize("shape", [(6, 5, 19), (1, 1, 1), (33, 3, 9), (2, 7, 8), (65, 2, 17), (200, 200, 3)])
def test_grids_are_turned_divided_and_end_with_their_line(way, shape):
    text = numbers_text(math.prod(shape), (-3, 3)) + b"augmentation\n"
    grid, end = parse_grid(text, 0, shape, 3.0, "x")
    assert text[end:] == b"augmentation\n"
    expected = floats_of(text[:end]).reshape(shape[::-1]).transpose(2, 1, 0) / 3.0
    np.testing.assert_array_equal(bits(grid), bits(np.ascontiguousarray(expected)))
    with pytest.raises(FormatError, match="x"):
        parse_grid(text[: end - 1] + b" 1.0\n", 0, shape, 3.0, "x")


def test_fast_and_general_path_agree_on_every_exponent(way):
    words = [f" {s}.12345678901E{e:+03d}" for e in range(-99, 100) for s in "0-"]
    text = "".join("".join(words[i : i + 5]) + "\n" for i in range(0, len(words), 5)).encode()
    np.testing.assert_array_equal(bits(parse_block(text, 0, len(words), "x")[0]), bits(floats_of(text)))


@pytest.mark.parametrize(
    "word", [" 1.2345678901E+02", " .1234567890E-02", " 0.12345678901-101", " 0.12345678901D+02", "   3.5   "]
)
def test_unusual_numbers_among_usual_lines(way, word):
    text = numbers_text(500, (-3, 3))
    text = text[: 91 * 7 + 36] + f"{word:>18}".encode() + text[91 * 7 + 54 :]
    values = parse_block(text, 0, 500, "x")[0]
    plain = text.replace(b"901-101", b"901E-101").replace(b"D+02", b"E+02")
    np.testing.assert_array_equal(bits(values), bits(floats_of(plain)))


def test_windows_line_ends_and_a_file_on_the_disk(way, tmp_path):
    text = numbers_text(50_003, (-3, 3))
    expected = bits(floats_of(text))
    for variant in (text, text.replace(b"\n", b"\r\n")):
        (tmp_path / "x").write_bytes(variant)
        for data in (variant, MappedFile.open(tmp_path / "x")):
            values, end = parse_block(data, 0, 50_003, "x")
            assert end == len(variant)
            np.testing.assert_array_equal(bits(values), expected)


def test_columns_become_c_order():
    values = np.arange(24, dtype=float)
    np.testing.assert_array_equal(
        fortran.to_c_order(values, (2, 3, 4), 2.0), values.reshape(4, 3, 2).transpose(2, 1, 0) / 2
    )


def close(one: Density, two: Density, tolerance: float = 1e-9) -> None:
    np.testing.assert_allclose(one.values, two.values, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(one.lattice, two.lattice, atol=1e-8)
    np.testing.assert_allclose((one.frac_coords - two.frac_coords + 0.5) % 1, 0.5, atol=1e-8)
    np.testing.assert_array_equal(one.numbers, two.numbers)


def test_a_real_cube(shared):
    rho = read(shared / "real" / "baderkit_cube.cube.gz")
    assert (rho.crystal.formula, rho.shape) == ("Ca2N", (60, 60, 60))
    assert rho.nelect == pytest.approx(25, abs=1e-3)
    assert check(rho).ok


def test_cubes_survive_a_round_trip_and_ase_reads_them(tmp_path):
    from ase.io.cube import read_cube
    from ase.units import Bohr

    rho = smooth_density(spin=True)
    write(tmp_path / "rho.cube.gz", rho)
    close(read(tmp_path / "rho.cube.gz"), rho)
    with gzip.open(tmp_path / "rho.cube.gz", "rt") as file:
        theirs = read_cube(file)
    np.testing.assert_allclose(theirs["data"] / Bohr**3, rho.values, rtol=1e-7)
    np.testing.assert_allclose(theirs["atoms"].positions, rho.crystal.cart_coords, atol=1e-6)


def test_cubes_in_angstrom_and_with_a_shifted_origin(tmp_path):
    rho = smooth_density()
    shift = np.array([0.3, -0.2, 0.5])
    lines = ["c", "c", " {} {} {} {}".format(len(rho.crystal), *shift)]
    lines += [" {} {} {} {}".format(-n, *row / n) for n, row in zip(rho.shape, rho.lattice, strict=True)]
    lines += [
        " {} 0.0 {} {} {}".format(z, *x) for z, x in zip(rho.numbers, rho.crystal.cart_coords + shift, strict=True)
    ]
    lines += [" ".join(map(repr, row.tolist())) for row in rho.values.reshape(-1, rho.shape[2])]
    (tmp_path / "a.cube").write_text("\n".join(lines) + "\n")
    again = read(tmp_path / "a.cube")
    np.testing.assert_allclose(again.frac_coords, rho.frac_coords, atol=1e-12)
    np.testing.assert_allclose(again.lattice, rho.lattice, atol=1e-12)
    ratio = again.values / rho.values
    assert ratio.max() - ratio.min() < 1e-9 * ratio.max()


def test_xsf_of_ase(shared, tmp_path):
    from ase.io import write as ase_write

    rho = read(shared / "real" / "aiida_converge.CHGCAR.gz")
    ase_write(tmp_path / "x.xsf", rho.to_ase(), data=rho.values)
    again = read(tmp_path / "x.xsf")
    np.testing.assert_allclose(again.values, rho.values, atol=1e-6)
    assert again.nelect == pytest.approx(8, abs=1e-3)


def xsf_text(rho: Density, origin: np.ndarray, values: np.ndarray) -> str:
    rows = ["# made here", "CRYSTAL", "PRIMVEC", *(" {} {} {}".format(*row) for row in rho.lattice), "PRIMCOORD"]
    rows += [f" {len(rho.crystal)} 1"]
    positions = rho.crystal.cart_coords + origin
    rows += [" {} {} {} {}".format(s, *x) for s, x in zip(rho.crystal.symbols, positions, strict=True)]
    rows += ["BEGIN_BLOCK_DATAGRID_3D", "3D", "BEGIN_DATAGRID_3D_this", " {} {} {}".format(*values.shape)]
    rows += [" {} {} {}".format(*origin), *(" {} {} {}".format(*row) for row in rho.lattice)]
    rows += [" ".join(map(repr, line)) for line in values.transpose(2, 1, 0).reshape(-1, values.shape[0]).tolist()]
    return "\n".join([*rows, "END_DATAGRID_3D", "END_BLOCK_DATAGRID_3D", ""])


def test_general_grids_repeat_their_first_points(tmp_path):
    rho = smooth_density()
    wrapped = np.pad(rho.values, (0, 1), mode="wrap")
    (tmp_path / "x.xsf").write_text(xsf_text(rho, np.array([0.1, 0.2, 0.3]), wrapped))
    again = read(tmp_path / "x.xsf")
    close(again, rho if again.meta["unit"] == "e/Å^3" else Density(rho.crystal, rho.values / 0.529177210903**3))


@pytest.mark.parametrize("name", ["pyiron_spin", "pmg_nospin", "mv_NiO_SOC"])
def test_json_of_pymatgen(shared, tmp_path, name):
    import json

    from monty.json import MontyEncoder
    from pymatgen.io.vasp import Chgcar

    source = shared / "real" / f"{name}.CHGCAR.gz"
    rho, text = read(source), json.dumps(Chgcar.from_file(str(source)), cls=MontyEncoder)
    with gzip.open(tmp_path / "mp-1.json.gz", "wt") as file:
        file.write(text if name != "pmg_nospin" else f'{{"task_id": "mp-1", "data": {text}}}')
    again = read(tmp_path / "mp-1.json.gz")
    close(again, rho, 1e-14)
    if rho.magnetization is not None:
        np.testing.assert_allclose(again.magnetization, rho.magnetization, atol=1e-14)
    if name == "pmg_nospin":
        assert again.augmentation == rho.augmentation


PW = """&CONTROL
 calculation='scf', prefix='x', outdir='.', pseudo_dir='{pseudo}', disk_io='low' /
&SYSTEM
 ibrav=0, nat=1, ntyp=1, ecutwfc=12, occupations='smearing', degauss=0.05 /
&ELECTRONS
 conv_thr=1e-4 /
ATOMIC_SPECIES
 Al 1.0 Al.upf
CELL_PARAMETERS angstrom
 0.0 2.02 2.02
 2.02 0.0 2.02
 2.02 2.02 0.0
ATOMIC_POSITIONS crystal
 Al 0.0 0.0 0.0
K_POINTS automatic
 2 2 2 0 0 0
"""
PP = """&INPUTPP
 prefix='x', outdir='.', plot_num=0, filplot='tmp' /
&PLOT
 iflag=3, output_format={format}, fileout='{name}' /
"""


@pytest.mark.skipif(shutil.which("pw.x") is None, reason="Quantum ESPRESSO (pw.x) is not installed")
@pytest.mark.skipif(not pseudo_folder().is_dir(), reason="no pseudopotentials in the cache: run `ecd dft setup`")
def test_an_engine_and_its_xsf_and_cube(tmp_path: Path) -> None:
    def engine(program: str, text: str) -> None:
        (tmp_path / "in").write_text(text)
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run([program, "-i", "in"], cwd=tmp_path, check=True, capture_output=True, env=environment)

    engine("pw.x", PW.format(pseudo=pseudo_folder()))
    rho = read(tmp_path / "x.save" / "charge-density.dat")
    assert rho.nelect == pytest.approx(3, abs=1e-6)
    assert rho.crystal.formula == "Al"
    from tests.data.test_hdf5 import write_qe_hdf5

    write_qe_hdf5(tmp_path / "x.save" / "charge-density.dat", tmp_path / "x.save" / "charge-density.hdf5")
    close(read(tmp_path / "x.save" / "charge-density.hdf5"), rho, 1e-12)
    (tmp_path / "alone").mkdir()
    shutil.copy(tmp_path / "x.save" / "charge-density.dat", tmp_path / "alone")
    with pytest.raises(FormatError, match="data-file-schema"):
        read(tmp_path / "alone" / "charge-density.dat")
    if shutil.which("pp.x"):
        for number, name in ((5, "x.xsf"), (6, "x.cube")):
            engine("pp.x", PP.format(format=number, name=name))
            again = read(tmp_path / name)
            assert again.meta["unit"] == "e/bohr^3"
            assert "guesses" not in again.meta
            assert again.shape == rho.shape
            np.testing.assert_allclose(again.values, rho.values, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("name", ["CHGCAR", "a.cube"])
def test_compressed_files_of_every_kind(tmp_path, name, ending):
    rho = smooth_density()
    write(tmp_path / f"{name}{ending}", rho)
    close(read(tmp_path / f"{name}{ending}"), rho)
    raw = (tmp_path / f"{name}{ending}").read_bytes()
    (tmp_path / "cut").write_bytes(raw[: len(raw) // 2])
    with pytest.raises(FormatError, match="damaged or cut"):
        read(tmp_path / "cut")


def test_several_gzip_members_and_padding_are_one_file(tmp_path):
    rho = smooth_density()
    write(tmp_path / "CHGCAR", rho)
    text = (tmp_path / "CHGCAR").read_bytes()
    (tmp_path / "b").write_bytes(gzip.compress(text[:999]) + gzip.compress(text[999:]) + bytes(64))
    close(read(tmp_path / "b"), rho)


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        link = tarfile.TarInfo("CHGCAR_link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def test_members_of_archives(tmp_path):
    rho, other = smooth_density(), smooth_density(seed=1)
    write(tmp_path / "CHGCAR", rho)
    write(tmp_path / "other_CHGCAR.gz", other)
    one, two = (tmp_path / "CHGCAR").read_bytes(), (tmp_path / "other_CHGCAR.gz").read_bytes()
    close(read(archive(tmp_path / "one.tar.gz", {"run/POSCAR": b"x", "run/CHGCAR": one})), rho)
    both = archive(tmp_path / "both.tar.gz", {"../../a_CHGCAR": one, "b_CHGCAR.gz": two})
    close(read(f"{both}::b_CHGCAR.gz"), other)
    close(read(f"{both}::../../a_CHGCAR"), rho)
    with pytest.raises(FormatError, match="::name"):
        read(both)
    for wrong in ("CHGCAR_link", "nothing"):
        with pytest.raises(FormatError, match="has no file"):
            read(f"{both}::{wrong}")
    with pytest.raises(FormatError, match="not a tar archive"):
        read(f"{tmp_path / 'CHGCAR'}::x")
    assert not (tmp_path.parent / "a_CHGCAR").exists()


BAD = {
    "orbitals.cube": (" 1 0 0 0", " -1 0 0 0", "orbitals"),
    "signs.cube": (" 2 2 0 0", " -2 2 0 0", "both signs"),
    "huge.cube": (" 2 2 0 0", " 999999 2 0 0", "too short"),
    "atoms.cube": (" 1 0 0 0", " 99999999 0 0 0", "atoms"),
    "more.cube": ("8\n", "8 9\n", "more numbers"),
    "fewer.cube": (" 7 8", " 7", "cut|numbers"),
}
CUBE = "c\nc\n 1 0 0 0\n 2 2 0 0\n 2 0 2 0\n 2 0 0 2\n 1 1 0 0 0\n 1 2 3 4\n 5 6 7 8\n"


@pytest.mark.parametrize("name", BAD)
def test_bad_cubes_are_named(tmp_path, name):
    old, new, word = BAD[name]
    (tmp_path / name).write_text(CUBE.replace(old, new, 1))
    with pytest.raises(FormatError, match=word) as error:
        read(tmp_path / name)
    assert name in str(error.value)


def test_a_cube_that_is_cut_inside_its_last_number_is_named(tmp_path):
    write(tmp_path / "a.cube", smooth_density())
    text = (tmp_path / "a.cube").read_bytes().rstrip()
    (tmp_path / "a.cube").write_bytes(text)
    read(tmp_path / "a.cube")  # whole, if without a line end
    (tmp_path / "a.cube").write_bytes(text[:-1])
    with pytest.raises(FormatError, match="cut inside its last number"):
        read(tmp_path / "a.cube")


def test_formats_without_a_writer_are_refused(tmp_path):
    for options in ({"format": "xsf"}, {}):
        with pytest.raises(UsageError, match=r"\.cube"):
            write(tmp_path / "a.xsf", smooth_density(), **options)


def test_unknown_cells_are_refused(tmp_path):
    rho = Density(Crystal(np.eye(3) * 900, [1], [[0, 0, 0]]), np.ones((2, 2, 2)))
    write(tmp_path / "CHGCAR", rho)
    with pytest.raises(FormatError, match="lattice is damaged"):
        read(tmp_path / "CHGCAR")
