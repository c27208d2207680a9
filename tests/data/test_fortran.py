"""The last line of a grid: filled with zeros, without its end, or cut."""

from __future__ import annotations

import numpy as np
import pytest

from ecd_data import Density, read, write
from ecd_data.errors import FormatError
from ecd_data.formats import numbers
from tests.conftest import smooth_density

HEADER = "test\n 1.0\n 4 0 0\n 0 4 0\n 0 0 4\n Mg O\n 1 1\nDirect\n 0 0 0\n .5 .5 .5\n\n"
SHAPE = (4, 3, 3)
VALUES = np.random.default_rng(0).uniform(1, 12, size=36)
AUGMENTATION = "augmentation occupancies   1   6\n" + "  0.1000000E+01" * 5 + "\n" + " -0.2000000E-01\n"
ZERO = {"{:.11E}": "0.00000000000E+00", "{:.5E}": "0.00000E+00", "{:.3f}": "0.000", "{:9.4f}": "-0.0000"}


@pytest.fixture(params=["compiled", "numpy"], autouse=True)
def way(request, monkeypatch) -> str:
    """Each of the two ways that numbers are read."""
    if request.param == "numpy":
        monkeypatch.setattr(numbers, "load_library", lambda: None)
    elif numbers.load_library() is None:
        pytest.skip("numbers.c was not compiled here: python3 make.py setup, with a C compiler")
    return request.param


def grid(layout: str = "{:.11E}", width: int = 5, filling: str = "", values: np.ndarray = VALUES) -> str:
    """A grid in lines of so many numbers; `filling` stands behind the last of them."""
    words = [layout.format(x) for x in values]
    lines = [" ".join(words[k : k + width]) for k in range(0, len(words), width)]
    return " 4 3 3\n " + "\n ".join(lines) + filling + "\n"


def read_text(tmp_path, text: str) -> Density:
    (tmp_path / "CHGCAR").write_bytes(text.encode())
    return read(tmp_path / "CHGCAR")


def expected(layout: str = "{:.11E}") -> np.ndarray:
    return np.array([float(layout.format(x)) for x in VALUES]).reshape(SHAPE[::-1]).transpose(2, 1, 0) / 64


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("tail", ["", AUGMENTATION])
@pytest.mark.parametrize("width", [5, 10, 8])
@pytest.mark.parametrize("layout", ZERO)
def test_a_last_line_that_zeros_fill_is_read(tmp_path, layout, width, tail, ending):
    zeros = ("  " + ZERO[layout]) * (width - 36 % width)
    text = HEADER + (grid(layout, width, zeros) + tail) * 2
    rho = read_text(tmp_path, text.replace("\n", ending))
    np.testing.assert_allclose(rho.values, expected(layout), rtol=1e-15)
    np.testing.assert_allclose(rho.magnetization, expected(layout), rtol=1e-15)
    assert (rho.augmentation is None) == (not tail)


def test_a_grid_of_one_line_is_filled_to_the_widths_of_vasp(tmp_path):
    header = HEADER + " 1 1 3\n 1.000 2.000 3.000"
    for zeros, good in ((2, True), (7, True), (1, False), (3, False)):
        if good:
            assert read_text(tmp_path, header + " 0.000" * zeros + "\n").shape == (1, 1, 3)
        else:
            with pytest.raises(FormatError, match="more numbers"):
                read_text(tmp_path, header + " 0.000" * zeros + "\n")


@pytest.mark.parametrize(
    "filling",
    [
        " 0.0 0.0 0.0 0.1",  # no zeros
        " 0.0 0.0 0.0",  # not to the end of the line
        " 0.0 0.0 0.0 0.0 0.0",  # beyond it
        " 0.0 0.0 0.0 0.0\n 0.0 0.0 0.0 0.0 0.0",  # a line more
        "\n 0.0 0.0 0.0 0.0",
        " 0.0 0.0 0.0 x",
    ],
)
def test_other_numbers_behind_a_grid_are_refused(tmp_path, filling):
    with pytest.raises(FormatError, match="CHGCAR"):
        read_text(tmp_path, HEADER + grid(filling=filling))


def test_zeros_do_not_hide_a_line_that_is_too_long_or_too_short(tmp_path):
    lines = grid(filling=" 0.0 0.0 0.0 0.0").split("\n")
    for number in (2, 5):
        doubled = [*lines[:number], lines[number] + " 1.0", *lines[number + 1 :]]
        halved = [*lines[:number], " ".join(lines[number].split()[:4]), *lines[number + 1 :]]
        for bad in (doubled, halved):
            with pytest.raises(FormatError, match="CHGCAR"):
                read_text(tmp_path, HEADER + "\n".join(bad))


LAST = {
    "grid": (grid(), 1),
    "digits of CHG": (grid("{:.5E}", 10), 1),
    "one number a line": (grid(width=1), 1),
    "fixed point": (grid("{:12.6f}"), 1),
    "negative": (grid(values=-VALUES), 1),
    "occupancies": (grid() + AUGMENTATION, 1),
    "filled": (grid(filling="  0.00000000000E+00" * 4), 1),
    "spin": (grid() + AUGMENTATION + grid() + AUGMENTATION, 2),
}


@pytest.mark.parametrize("case", LAST)
def test_the_last_line_end_may_be_missing(tmp_path, case):
    text, grids = LAST[case]
    rho, whole = read_text(tmp_path, HEADER + text.rstrip("\n")), read_text(tmp_path, HEADER + text)
    np.testing.assert_array_equal(rho.values, whole.values)
    assert (rho.magnetization is None) == (grids == 1)
    write(tmp_path / "again_CHGCAR", rho)
    np.testing.assert_allclose(read(tmp_path / "again_CHGCAR").values, whole.values, rtol=1e-10)


@pytest.mark.parametrize("case", LAST)
def test_a_last_number_that_is_cut_is_refused(tmp_path, case):
    text = LAST[case][0].rstrip("\n")
    for cut in range(1, len(text.split()[-1])):
        with pytest.raises(FormatError, match="CHGCAR"):
            read_text(tmp_path, HEADER + text[:-cut])


def test_numbers_of_free_length_tell_nothing_and_want_a_line_end(tmp_path):
    words = " 4 3 3\n" + " ".join(map(repr, VALUES.tolist()))
    for text in (words, words[:-1], " 4 3 3\n" + " ".join(["1.0"] * 36), " 4 3 3\n" + "\n".join(["2"] * 36)):
        with pytest.raises(FormatError, match="end it with a line end if it is whole"):
            read_text(tmp_path, HEADER + text)
        if text is not words[:-1]:
            read_text(tmp_path, HEADER + text + "\n")


def test_what_is_written_ends_its_lines(tmp_path):
    rho = smooth_density((4, 3, 5))
    write(tmp_path / "CHGCAR", Density(rho.crystal, rho.values, rho.values, (AUGMENTATION[:-1], AUGMENTATION)))
    assert read(tmp_path / "CHGCAR").augmentation == (AUGMENTATION, AUGMENTATION)


@pytest.mark.parametrize("file", ["padded_last_line/padded_CHGCAR", "no_final_newline/nonl_CHGCAR"])
def test_cases_are_read(shared, file):
    path = shared / "cases" / "files" / file
    if not path.exists():
        pytest.skip(f"{path} is not here")
    from pymatgen.io.vasp import Chgcar

    rho, theirs = read(path), Chgcar.from_file(str(path))
    np.testing.assert_allclose(rho.values * rho.crystal.volume, theirs.data["total"], rtol=1e-14)
