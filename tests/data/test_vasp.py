from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import subprocess
import tarfile

import numpy as np
import pytest

from ecd_data import Crystal, Density, check, read, write
from ecd_data.errors import EcdError, FormatError
from ecd_data.io.compression import COMPRESSORS
from tests.conftest import smooth_density

REAL = ["Al_atomate", "LiH_scan", "Si_static", "aiida_converge", "mv_NiO_SOC", "pmg_nospin", "pmg_spin", "pyiron_spin"]
VERBATIM = ["LiH_scan", "Si_static", "pmg_nospin", "pmg_spin", "pyiron_spin"]


def numbers_of(text: bytes) -> list[bytes]:
    return text.split()


@pytest.mark.parametrize("name", REAL)
def test_real_files_survive_a_round_trip(shared, tmp_path, name):
    source = shared / "real" / f"{name}.CHGCAR.gz"
    rho = read(source)
    write(tmp_path / "CHGCAR", rho)
    again = read(tmp_path / "CHGCAR")
    np.testing.assert_array_equal(again.values, rho.values)
    np.testing.assert_allclose(again.lattice, rho.lattice, atol=1e-15)
    np.testing.assert_array_equal(again.numbers, rho.numbers)
    np.testing.assert_array_equal(again.frac_coords, rho.frac_coords)
    assert again.augmentation == rho.augmentation
    if rho.magnetization is not None:
        np.testing.assert_array_equal(again.magnetization, rho.magnetization)
    assert check(rho).ok


@pytest.mark.parametrize("name", VERBATIM)
def test_files_that_vasp_wrote_come_back_byte_for_byte(shared, tmp_path, name):
    source = shared / "real" / f"{name}.CHGCAR.gz"
    write(tmp_path / "CHGCAR", read(source))
    assert (tmp_path / "CHGCAR").read_bytes() == gzip.decompress(source.read_bytes())


@pytest.mark.parametrize("name", ["Al_atomate", "pmg_spin", "pmg_nospin", "Si_static"])
def test_values_are_those_of_pymatgen(shared, tmp_path, name):
    from pymatgen.io.vasp import Chgcar

    source = shared / "real" / f"{name}.CHGCAR.gz"
    ours, theirs = read(source), Chgcar.from_file(str(source))
    np.testing.assert_allclose(ours.values * ours.crystal.volume, theirs.data["total"], rtol=1e-14)
    assert ours.nelect == pytest.approx(theirs.data["total"].mean(), rel=1e-12)
    if theirs.is_spin_polarized:
        np.testing.assert_allclose(ours.magnetization * ours.crystal.volume, theirs.data["diff"], rtol=1e-14)


@pytest.mark.parametrize(("file", "electrons"), [("NaMgF3_CHG.CHG.gz", 96), ("Si_AECCAR2.AECCAR2.gz", 8.013)])
def test_chg_and_aeccar_are_read(shared, file, electrons):
    assert read(shared / "real" / file).nelect == pytest.approx(electrons, abs=2e-3)


def test_non_collinear_files_have_a_vector_magnetization(shared):
    rho = read(shared / "real" / "mv_NiO_SOC.CHGCAR.gz")
    assert rho.magnetization.shape == (3, 28, 28, 28)
    assert rho.crystal.volume == pytest.approx(4.17**3 / 2, rel=1e-6)


@pytest.mark.parametrize("ending", ["", ".gz", ".xz", ".bz2"])
def test_compression_follows_the_name_and_reading_follows_the_content(tmp_path, ending):
    rho = smooth_density(spin=True)
    write(tmp_path / f"CHGCAR{ending}", rho)
    raw = (tmp_path / f"CHGCAR{ending}").read_bytes()
    plain = {"": bytes, ".gz": gzip.decompress, ".xz": lzma.decompress, ".bz2": bz2.decompress}[ending](raw)
    assert plain.startswith(b"unknown system")
    (tmp_path / "whatever").write_bytes(raw)
    np.testing.assert_allclose(read(tmp_path / "whatever").values, rho.values, rtol=1e-10, atol=1e-12)


def test_numbers_are_kept_to_the_last_printed_digit(tmp_path):
    shape = (6, 5, 7)
    rng = np.random.default_rng(0)
    values = rng.normal(size=shape) * 10.0 ** rng.integers(-30, 30, size=shape)
    values[0, 0, :5] = [0.0, 1.0, -1.0, 9.9999999999999e4, 1e-99]
    crystal = Crystal(np.eye(3), np.array([1]), np.zeros((1, 3)))
    write(tmp_path / "CHGCAR", Density(crystal, values))
    again = read(tmp_path / "CHGCAR").values
    np.testing.assert_allclose(again, np.where(np.abs(values) < 1e-99, 0, values), rtol=5.1e-11)
    write(tmp_path / "CHGCAR2", Density(crystal, again))
    assert (tmp_path / "CHGCAR").read_bytes() == (tmp_path / "CHGCAR2").read_bytes()


HEADER = """{comment}
{scale}
 4.0 0.0 0.0
 0.0 4.0 0.0
 0.0 0.0 4.0
{species}
{mode}
{coords}

2 2 2
"""
BODY = " 0.10000000000E+01 0.20000000000E+01 0.30000000000E+01 0.40000000000E+01 0.50000000000E+01\n" + (
    " 0.60000000000E+01 0.70000000000E+01 0.80000000000E+01\n"
)


def chgcar(scale="1.0", species="Mg O\n1 1", mode="Direct", coords="0 0 0\n.5 .5 .5", body=BODY) -> str:
    return HEADER.format(comment="test", scale=scale, species=species, mode=mode, coords=coords) + body


def read_text(tmp_path, text: str) -> Density:
    path = tmp_path / "CHGCAR"
    path.write_text(text)
    return read(path)


def test_the_first_axis_runs_fastest_and_values_are_per_volume(tmp_path):
    rho = read_text(tmp_path, chgcar())
    assert rho.values[1, 0, 0] * 64 == pytest.approx(2)
    assert rho.values[0, 1, 0] * 64 == pytest.approx(3)
    assert rho.values[0, 0, 1] * 64 == pytest.approx(5)
    assert rho.nelect == pytest.approx(4.5)


def test_vasp4_headers_give_unknown_elements_that_stay_so(tmp_path):
    rho = read_text(tmp_path, chgcar(species="1 1"))
    assert rho.numbers.tolist() == [0, 0]
    assert "no-elements" in check(rho).flags
    write(tmp_path / "again_CHGCAR", rho)
    assert read(tmp_path / "again_CHGCAR").numbers.tolist() == [0, 0]


@pytest.mark.parametrize(("scale", "volume"), [("2.0", 512), ("-100.0", 100), ("1.0 2.0 0.5", 64)])
def test_scale_factors(tmp_path, scale, volume):
    rho = read_text(tmp_path, chgcar(scale=scale))
    assert rho.crystal.volume == pytest.approx(volume)
    assert rho.nelect == pytest.approx(4.5)
    write(tmp_path / "again_CHGCAR", rho)
    again = read(tmp_path / "again_CHGCAR")
    np.testing.assert_allclose(again.lattice, rho.lattice, rtol=1e-14)
    np.testing.assert_allclose(again.values, rho.values, rtol=1e-10)


@pytest.mark.parametrize(
    ("mode", "coords"),
    [
        ("Cartesian", "0 0 0\n2 2 2"),
        ("Selective dynamics\nDirect", "0 0 0 T T F\n.5 .5 .5 F F F"),
        ("Selective\nCartesian", "0 0 0 T T F\n2 2 2 F F F"),
    ],
)
def test_cartesian_coordinates_and_selective_dynamics(tmp_path, mode, coords):
    rho = read_text(tmp_path, chgcar(mode=mode, coords=coords))
    np.testing.assert_allclose(rho.frac_coords, [[0, 0, 0], [0.5, 0.5, 0.5]], atol=1e-12)


def test_fortran_exponents_of_three_digits(tmp_path):
    rho = read_text(tmp_path, chgcar(body=BODY.replace("0.20000000000E+01", "0.20000000000-101")))
    assert rho.values[1, 0, 0] == pytest.approx(0.2e-101 / 64)


def test_crlf_line_ends(tmp_path):
    path = tmp_path / "CHGCAR"
    path.write_bytes(chgcar().replace("\n", "\r\n").encode())
    assert read(path).nelect == pytest.approx(4.5)


BAD = {
    "empty": ("", "empty"),
    "one line": ("test\n", "header"),
    "no grid": (chgcar()[:120], "not a CHGCAR|cut|dimensions"),
    "cut numbers": (chgcar(body=BODY[:60]), "cut|numbers"),
    "no numbers": (chgcar(body=""), "cut"),
    "a word": (chgcar(body=BODY.replace("0.30000000000E+01", "0.3000000zz00E+01")), "number 3"),
    "stars": (chgcar(body=BODY.replace("0.30000000000E+01", "*****************")), "number 3"),
    "NaN": (chgcar(body=BODY.replace("0.30000000000E+01", "              NaN")), "NaN"),
    "infinity": (chgcar(body=BODY.replace("0.30000000000E+01", "         Infinity")), "NaN or infinite"),
    "too many": (chgcar(body=BODY + BODY), "more numbers"),
    "unknown element": (chgcar(species="Mg Zq\n1 1"), "Zq"),
    "counts": (chgcar(species="Mg O\n1"), "names 2 elements but 1"),
    "scale 0": (chgcar(scale="0.0"), "scale"),
    "flat lattice": (chgcar().replace("0.0 4.0 0.0", "4.0 0.0 0.0"), "volume"),
    "mode": (chgcar(mode="Diagonal?".replace("D", "X")), "Direct or Cartesian"),
    "huge grid": (chgcar().replace("2 2 2", "99999 99999 99999"), "impossible"),
    "three grids": (chgcar(body=(BODY + "2 2 2\n") * 2 + BODY), "3 grids"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_named_with_what_is_wrong(tmp_path, case):
    text, word = BAD[case]
    with pytest.raises(FormatError, match=word) as error:
        read_text(tmp_path, text)
    assert str(tmp_path / "CHGCAR") in str(error.value)
    assert "\n" not in str(error.value)


def test_binary_damaged_and_missing_files(tmp_path):
    path = tmp_path / "CHGCAR.gz"
    path.write_bytes(bytes(range(256)) * 40)
    with pytest.raises(FormatError, match="binary"):
        read(path)
    path.write_bytes(gzip.compress(chgcar().encode())[:-20])
    with pytest.raises(FormatError, match="damaged or cut gzip"):
        read(path)
    with pytest.raises(FormatError, match="does not exist"):
        read(tmp_path / "nothing")
    with pytest.raises(FormatError, match="folder"):
        read(tmp_path)


def test_writing_needs_a_known_format_and_leaves_what_was_there(tmp_path):
    with pytest.raises(EcdError, match="tells no format"):
        write(tmp_path / "density.txt", smooth_density())
    assert list(tmp_path.iterdir()) == []
    write(tmp_path / "density.txt", smooth_density(), format="chgcar")
    before = (tmp_path / "density.txt").read_bytes()
    broken = Density(smooth_density().crystal, np.full((2, 2, 2), 1e300))
    with pytest.raises(EcdError):
        write(tmp_path / "density.txt", broken, format="chgcar")
    assert (tmp_path / "density.txt").read_bytes() == before


@pytest.mark.parametrize("ending", [".xz", ".bz2", ".zst", ".lz4", ".tar.gz"])
def test_a_real_file_in_other_wrappings_gives_the_same_numbers(shared, tmp_path, ending):
    source = shared / "real" / "pyiron_spin.CHGCAR.gz"
    text = gzip.decompress(source.read_bytes())
    path = tmp_path / f"CHGCAR{ending}"
    if ending == ".tar.gz":
        (tmp_path / "CHGCAR").write_bytes(text)
        with tarfile.open(path, "w:gz") as tar:
            tar.add(tmp_path / "CHGCAR", "run/CHGCAR")
    elif shutil.which(tool := {".zst": "zstd", ".lz4": "lz4"}.get(ending, "")):
        path.write_bytes(subprocess.run([tool, "-c"], input=text, capture_output=True, check=True).stdout)
    else:
        path.write_bytes(COMPRESSORS[ending](text))
    rho, again = read(source), read(path)
    np.testing.assert_array_equal(again.values, rho.values)
    np.testing.assert_array_equal(again.magnetization, rho.magnetization)
    assert again.augmentation == rho.augmentation


@pytest.mark.parametrize("ending", COMPRESSORS)
def test_damaged_compressed_files_are_refused(tmp_path, ending):
    """Each format has a checksum of the data: a flipped bit would else change numbers without a trace."""
    path, rng = tmp_path / f"CHGCAR{ending}", np.random.default_rng(0)
    write(path, smooth_density())
    whole = path.read_bytes()
    read(path)
    for place in rng.integers(len(whole) // 4, len(whole), 40):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << int(rng.integers(8))]) + whole[place + 1 :])
        with pytest.raises(EcdError, match="is damaged or cut"):
            read(path)
    for cut in (1, 4, 9, len(whole) // 2):
        path.write_bytes(whole[:-cut])
        with pytest.raises(EcdError, match="is damaged or cut"):
            read(path)


def test_a_real_file_with_a_negative_scale_factor_gives_the_same_density(shared, tmp_path):
    source = shared / "real" / "Al_atomate.CHGCAR.gz"
    rho = read(source)
    lines = gzip.decompress(source.read_bytes()).split(b"\n", 2)
    (tmp_path / "CHGCAR").write_bytes(b"\n".join([lines[0], f"  {-rho.crystal.volume:.12f}".encode(), lines[2]]))
    again = read(tmp_path / "CHGCAR")
    np.testing.assert_allclose(again.values, rho.values, rtol=1e-11)
    np.testing.assert_allclose(again.lattice, rho.lattice, rtol=1e-11)
