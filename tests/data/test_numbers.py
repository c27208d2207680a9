"""Blocks of numbers in text: every way to read them gives the values of float(), to the last bit."""

from __future__ import annotations

import math
from random import Random

import numpy as np
import pytest

from ecd_data.errors import FormatError
from ecd_data.formats import fortran, numbers
from ecd_data.formats.fortran import parse_block, parse_grid
from ecd_data.formats.vasp.number_text import format_block
from ecd_data.io.file_bytes import MappedFile


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


@pytest.mark.parametrize("places", [30, 57, 58, 59, 60, 61, 300])
def test_a_number_of_many_digits_keeps_its_exponent(way, places):
    word = f"1.{'123456789' * 40}"[: 2 + places] + "E-11"
    for text in (f"\n{word}\n2.5\n", f"\n2.5\n{word}\n"):
        values = parse_block(text.encode(), 1, 2, "x")[0]
        np.testing.assert_array_equal(bits(values), bits(floats_of(text.encode())))


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
