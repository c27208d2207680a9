"""Damaged files of every format: never a hang, a traceback or a flood of memory, and broken syntax is always named.

ECD_FUZZ sets how many mutations are tried; those that leave a valid file with other values are counted and printed.
"""

from __future__ import annotations

import json
import os
import re
import signal
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import numpy as np
import pytest
from scipy.io import FortranFile

from ecd_data import Density, read, write
from ecd_data.errors import EcdError
from ecd_data.formats.compressed import ENDINGS
from tests.conftest import smooth_density
from tests.data.test_formats import archive, xsf_text

COUNT = int(os.environ.get("ECD_FUZZ", "300"))
SECONDS = 5
MEMORY = 64 << 20  # the files are about 10 kB
RHO = smooth_density((5, 6, 7), spin=True)
OCCUPANCIES = "augmentation occupancies   1   6\n  0.1000000E+01 -0.2000000E+01\n  0.1000000E+01  0.2000000E+01\n"
OCCUPANCIES += "  0.1000000E+01  0.2000000E+01\n"
BLOCK = re.compile(rb"(?:[ \t]*-?\d*\.\d+(?:E[+-]\d+)?){3,}\s*\n")
XML = """<q><output><atomic_structure><cell><a1>8 0 0</a1><a2>0 8 0</a2><a3>0 0 8</a3></cell><atomic_positions>
<atom name="Si1">0 0 0</atom></atomic_positions></atomic_structure><basis_set><fft_grid nr1="5" nr2="6" nr3="7"/>
</basis_set><band_structure><nelec>4</nelec></band_structure></output></q>"""


def make(folder: Path) -> dict[str, Path]:
    """One valid file of every format."""
    files = {"chgcar": folder / "CHGCAR", "cube": folder / "rho.cube", "xsf": folder / "rho.xsf"}
    tails = (OCCUPANCIES + "  1.0 2.0 3.0\n", OCCUPANCIES)
    write(files["chgcar"], Density(RHO.crystal, RHO.values, RHO.magnetization, tails))
    write(files["cube"], RHO)
    files["xsf"].write_text(xsf_text(RHO, np.zeros(3), np.pad(RHO.values, (0, 1), mode="wrap")))
    files["chg"] = folder / "CHG"
    header = files["chgcar"].read_bytes().split(b"    5    6    7\n")[0]
    rows = np.array2string(RHO.values.ravel(), threshold=10**6, max_line_width=100, precision=5).strip("[]")
    files["chg"].write_bytes(header + b"   5   6   7\n " + rows.encode() + b"\n")
    files["json"] = folder / "rho.json"
    files["json"].write_text(json_text())
    for ending in ENDINGS:
        files[ending] = folder / f"CHGCAR{ending}"
        write(files[ending], RHO)
    files["tar"] = archive(folder / "x.tar.gz", {"CHGCAR": files["chgcar"].read_bytes()})
    files["plain tar"] = folder / "x.tar"
    import gzip

    files["plain tar"].write_bytes(gzip.decompress(files["tar"].read_bytes()))
    files["espresso"] = folder / "save" / "charge-density.dat"
    files["espresso"].parent.mkdir()
    espresso(files["espresso"])
    return files


def json_text() -> str:
    site = {"species": [{"element": "O", "occu": 1}], "abc": [0, 0, 0]}
    structure = {"lattice": {"matrix": RHO.lattice.tolist()}, "sites": [site]}
    return json.dumps({"poscar": {"structure": structure}, "data": {"total": RHO.values.tolist()}})


def espresso(path: Path) -> None:
    miller = np.array([[i, j, k] for i in range(-2, 3) for j in range(-2, 3) for k in range(-3, 4)], dtype="i4")
    with FortranFile(path, "w") as file:
        file.write_record(np.array([0, len(miller), 1], dtype="i4"))
        file.write_record(np.eye(3))
        file.write_record(miller)
        file.write_record(np.where((miller == 0).all(axis=1), 0.01, 0).astype("c16"))
    path.with_name("data-file-schema.xml").write_text(XML)


def flip(data: bytes, rng: np.random.Generator) -> bytes:
    raw = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        raw[int(rng.integers(len(raw)))] ^= 1 << int(rng.integers(8))
    return bytes(raw)


def cut(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: int(rng.integers(len(data)))]


def duplicate(data: bytes, rng: np.random.Generator) -> bytes:
    lines = data.splitlines(keepends=True)
    place = int(rng.integers(len(lines)))
    return b"".join([*lines[: place + 1], *lines[place:]])


def swap(data: bytes, rng: np.random.Generator) -> bytes:
    lines = data.splitlines(keepends=True)
    one, two = rng.integers(len(lines), size=2)
    lines[one], lines[two] = lines[two], lines[one]
    return b"".join(lines)


def huge(data: bytes, rng: np.random.Generator) -> bytes:
    """A whole number becomes a huge one; any four bytes of binary data do."""
    found = list(re.finditer(rb"(?<![\d.+-])\d+(?![\d.])", data[:4000] + data[-200:] if b"\0" not in data else b""))
    if not found:
        place = int(rng.integers(max(1, len(data) - 4)))
        return data[:place] + b"\xff\xff\xff\x7f" + data[place + 4 :]
    chosen = found[int(rng.integers(len(found)))]
    return data[: chosen.start()] + b"9" * int(rng.integers(5, 20)) + data[chosen.end() :]


def glue(data: bytes, rng: np.random.Generator) -> bytes:
    found = list(re.finditer(rb"(?<=\d)[ \n]+(?=[-\d.])", data))
    if not found:
        return flip(data, rng)
    chosen = found[int(rng.integers(len(found)))]
    return data[: chosen.start()] + data[chosen.end() :]


MUTATIONS: dict[str, Callable[[bytes, np.random.Generator], bytes]] = {
    f.__name__: f for f in (flip, cut, duplicate, swap, huge, glue)
}


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    def late(signum: int, frame: FrameType | None) -> None:
        raise AssertionError(f"reading took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def outcome(path: Path, what: str) -> tuple[str, Density | None]:
    """ "reported" or "survived"; an assertion where reading does anything else."""
    tracemalloc.start()
    try:
        with time_limit(SECONDS):
            rho = read(path)
    except EcdError as error:
        message = str(error)
        assert path.name in message or path.with_name("data-file-schema.xml").name in message, (what, message)
        assert "\n" not in message, (what, message)
        return "reported", None
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < MEMORY, f"{what}: {peak >> 20} MB"
    assert np.isfinite(rho.values).all(), what
    return "survived", rho


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="needs alarm signals")
def test_mutated_files_are_reported_or_valid(tmp_path, capsys):
    rng = np.random.default_rng(20261122)
    (tmp_path / "good").mkdir()
    files = make(tmp_path / "good")
    for name, path in files.items():
        assert outcome(path, name)[0] == "survived"
    tally: Counter[tuple[str, str]] = Counter()
    for number in range(COUNT):
        format = list(files)[number % len(files)]
        mutation = list(MUTATIONS)[number // len(files) % len(MUTATIONS)]
        path = files[format]
        good = path.read_bytes()
        bad = MUTATIONS[mutation](good, rng)
        try:
            path.write_bytes(bad)
            result, _ = outcome(path, f"number {number}: {mutation} in {format}")
        finally:
            path.write_bytes(good)
        tally[mutation, result] += bad != good
    with capsys.disabled():
        lines = [f"{m} {tally[m, 'reported']}/{tally[m, 'reported'] + tally[m, 'survived']}" for m in MUTATIONS]
        print("\nfuzz, reported/tried:", ", ".join(lines), "(the rest are valid files with other values)")


@pytest.mark.parametrize("format", ["chgcar", "chg", "cube", "xsf"])
@pytest.mark.parametrize("mutation", ["cut", "duplicate", "glue"])
def test_broken_grids_are_always_reported(tmp_path, format, mutation):
    (tmp_path / "good").mkdir()
    path = make(tmp_path / "good")[format]
    rng = np.random.default_rng(1)
    text = path.read_bytes()
    marks = {"chg": b"   5   6   7\n", "chgcar": b"    5    6    7\n", "xsf": b"DATAGRID_3D_this\n"}
    start = (
        text.index(marks[format]) + len(marks[format]) if format in marks else len(b"\n".join(text.split(b"\n")[:9]))
    )
    start += sum(map(len, text[start:].splitlines(keepends=True)[:5])) if format == "xsf" else 1
    stop = max(m.end() for m in BLOCK.finditer(text[:-30])) if format != "xsf" else text.index(b"END_DATAGRID")
    for number in range(max(10, COUNT // 30)):
        body = text[start:stop]
        if mutation == "cut":
            bad = text[: start + int(rng.integers(len(body) - 20))]  # a last number that is only shorter is a number
        else:
            bad = text[:start] + MUTATIONS[mutation](body, rng) + text[stop:]
        path.write_bytes(bad)
        result = outcome(path, f"{mutation} {number} in {format}")[0]
        assert result == "reported" or bad.rstrip().endswith(b"3.0")  # cut between its grids, it is a file without spin


def test_huge_counts_are_refused_before_memory_is_asked_for(tmp_path):
    (tmp_path / "good").mkdir()
    files = make(tmp_path / "good")
    edits = {
        "chgcar": [
            (b"    5    6    7\n", b" 1200 1200 1200\n"),
            (b"     2\n", b" 99999999\n"),
            (b"   1   6\n", b"   1   999999999\n"),
        ],
        "chg": [(b"   5   6   7\n", b"   500   600   700\n")],
        "cube": [(b"\n    3 ", b"\n 999999999 "), (b"\n    5 ", b"\n 50000000 ")],
        "xsf": [(b" 6 7 8\n", b" 600 700 800\n"), (b"\n 3 1\n", b"\n 99999999 1\n")],
    }
    for format, pairs in edits.items():
        good = files[format].read_bytes()
        for old, new in pairs:
            assert old in good, (format, old)
            files[format].write_bytes(good.replace(old, new, 1))
            assert outcome(files[format], f"{format} {new!r}")[0] == "reported"
    xml = files["espresso"].with_name("data-file-schema.xml")
    xml.write_text(XML.replace('nr1="5"', 'nr1="500000"'))
    assert outcome(files["espresso"], "espresso")[0] == "reported"
