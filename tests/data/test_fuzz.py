"""Damaged files of every format: never a hang, a traceback or a flood of memory, and broken syntax is always named.

ECD_FUZZ sets how many mutations are tried (300; by hand 10,000). The table says for each mutation how many were
reported (as unreadable, or by `check`), how many changed nothing (bytes that no reader looks at), and how many were
undetectable: a valid file with other values. ECD_FUZZ_SEED sets another seed.
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
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from scipy.io import FortranFile

from ecd_data import Density, check, read, write
from ecd_data.errors import EcdError
from ecd_data.formats.vasp.outcar import read_outcar
from ecd_data.formats.vasp.potcar import read_potcar
from ecd_data.formats.vasp.vasprun import read_vasprun
from ecd_data.io.compression import ENDINGS
from tests.conftest import smooth_density
from tests.data.test_formats import archive, xsf_text
from tests.data.test_run_files import potcar, vasprun

COUNT = int(os.environ.get("ECD_FUZZ", "300"))
SECONDS = 5
MEMORY = 64 << 20  # the files are about 10 kB
FULL = smooth_density((5, 6, 7), spin=True)
RHO = Density(FULL.crystal, FULL.values / 4, FULL.magnetization / 4)  # 8 electrons
NUMBERS = "  0.1000000E+01 -0.2000000E+01\n" * 3
OCCUPANCIES = "".join(f"augmentation occupancies {atom:3d}   6\n{NUMBERS}" for atom in (1, 2, 3))
BLOCK = re.compile(rb"(?:[ \t]*-?\d*\.\d+(?:E[+-]\d+)?){3,}\s*\n")
OUTCAR = """ vasp.6.4.2 20Jul23 (build) complex
 POTCAR:    PAW_PBE O 08Apr2002
   POMASS =   16.000; ZVAL   =    6.000    mass and valenz
   TITEL  = PAW_PBE O 08Apr2002
 Dimension of arrays:
   k-points           NKPTS =      2   k-points in BZ     NKDIM =      2   number of bands    NBANDS=      2
   dimension x,y,z NGXF=    48 NGYF=   48 NGZF=   48
   ions per type =               2
   PREC   = accura    normal or accurate (medium, high low for compatibility)
   ICHARG =     11    charge: 1-file 2-atom 10-const
   ISPIN  =      1    spin polarized calculation?
   ENCUT  =  520.0 eV  38.22 Ry    6.18 a.u.   5.89  5.89  5.89*2*pi/ulx,y,z
   NELM   =    140;   NELMIN=  6; NELMDL=  0     # of ELM steps
   NELECT =      12.0000    total number of electrons
 LDA+U is selected, type is set to LDAUTYPE =  2
   angular momentum for each species LDAUL =    -1
   U (eV)           for each species LDAUU =   0.0
   GGA     =    --    GGA type
   LEXCH   =     8    internal setting for exchange type
   LHFCALC =     T    Hartree Fock is set to
   AEXX    =    0.2500 exact exchange contribution
   HFSCREEN=    0.2000 screening length (either q_TF or 0.3 A-1)
      direct lattice vectors                 reciprocal lattice vectors
     4.000000000  0.000000000  0.000000000     0.250000000  0.000000000  0.000000000
     0.000000000  4.000000000  0.000000000     0.000000000  0.250000000  0.000000000
     0.000000000  0.000000000  4.000000000     0.000000000  0.000000000  0.250000000

  length of vectors
--------------------------------------- Iteration      1(   1)  ---------------------------------------
 number of electron      12.0000000 magnetization
------------------------ aborting loop because EDIFF is reached ----------------------------------------
 E-fermi :   4.5855     XC(G=0):  -9.4909     alpha+bet :-14.8500

 k-point     1 :       0.0000    0.0000    0.0000
  band No.  band energies     occupation
      1     -30.9899      2.00000
      2       5.4980      0.00000

 k-point     2 :       0.0455    0.0000    0.0000
  band No.  band energies     occupation
      1     -30.5899      2.00000
      2       6.4980      0.00000

--------------------------------------------------------------------------------------------------------
  free  energy   TOTEN  =       -16.67824504 eV
  energy  without entropy=      -16.67783009  energy(sigma->0) =      -16.67803756
 General timing and accounting informations for this job:
                  Total CPU time used (sec):     7634.313
                         Elapsed time (sec):     7639.545
"""
XML = """<q><output><atomic_structure><cell><a1>8 0 0</a1><a2>0 8 0</a2><a3>0 0 8</a3></cell><atomic_positions>
<atom name="Si1">0 0 0</atom></atomic_positions></atomic_structure><basis_set><fft_grid nr1="5" nr2="6" nr3="7"/>
</basis_set><band_structure><nelec>5.12</nelec></band_structure></output></q>"""


def make(folder: Path) -> dict[str, Path]:
    """One valid file of every format."""
    files = {"chgcar": folder / "CHGCAR", "cube": folder / "rho.cube", "xsf": folder / "rho.xsf"}
    tails = (OCCUPANCIES + "  1.0 2.0 3.0\n", OCCUPANCIES)
    write(files["chgcar"], Density(RHO.crystal, RHO.values, RHO.magnetization, tails))
    write(files["cube"], RHO)
    files["xsf"].write_text(xsf_text(RHO, np.zeros(3), np.pad(RHO.values, (0, 1), mode="wrap")))
    files["chg"] = folder / "CHG"
    header = files["chgcar"].read_bytes().split(b"    5    6    7\n")[0]
    numbers = RHO.values.ravel(order="F") * RHO.crystal.volume
    rows = np.array2string(numbers, threshold=10**6, max_line_width=100, precision=5).strip("[]")
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
    files["espresso xml"] = files["espresso"].with_name("data-file-schema.xml")
    files |= binary(folder, files["espresso"])
    return files


def binary(folder: Path, dat: Path) -> dict[str, Path]:
    """HDF5 of VASP and QE and GPAW's .gpw, where h5py and ase are installed."""
    files = {}
    if find_spec("h5py"):
        from tests.data.test_hdf5 import write_qe_hdf5, write_vaspwave

        files["vaspwave"] = folder / "vaspwave.h5"
        write_vaspwave(files["vaspwave"], Density(RHO.crystal, RHO.values, RHO.magnetization, (OCCUPANCIES,) * 2))
        files["espresso hdf5"] = folder / "save-hdf5" / "charge-density.hdf5"
        files["espresso hdf5"].parent.mkdir()
        files["espresso hdf5"].with_name("data-file-schema.xml").write_text(XML)
        write_qe_hdf5(dat, files["espresso hdf5"])
    if find_spec("ase"):
        from tests.data.test_gpw import write_gpw

        files["gpw"] = folder / "rho.gpw"
        write_gpw(files["gpw"], RHO)
    return files


def make_run_files(folder: Path) -> dict[str, Path]:
    """One valid file of each kind that lies beside a density."""
    files = {name: folder / name for name in ("OUTCAR", "vasprun.xml", "POTCAR")}
    files["OUTCAR"].write_text(OUTCAR)
    files["vasprun.xml"].write_text(vasprun(ispin=2, hf="T", ldau="T"))
    files["POTCAR"].write_text(potcar(("O", 6), ("Zn", 12)))
    return files


def json_text() -> str:
    sites = [
        {"species": [{"element": symbol, "occu": 1}], "abc": abc}
        for symbol, abc in zip(RHO.crystal.symbols, RHO.frac_coords.tolist(), strict=True)
    ]
    structure = {"lattice": {"matrix": RHO.lattice.tolist()}, "sites": sites}
    total = (RHO.values * RHO.crystal.volume).tolist()
    return json.dumps({"poscar": {"structure": structure}, "data": {"total": total}})


def espresso(path: Path) -> None:
    miller = np.array([[i, j, k] for i in range(-2, 3) for j in range(-2, 3) for k in range(-3, 4)], dtype="i4")
    with FortranFile(path, "w") as file:
        file.write_record(np.array([0, len(miller), 1], dtype="i4"))
        file.write_record(np.eye(3))
        file.write_record(miller)
        file.write_record(np.where((miller == 0).all(axis=1), 0.01, 0).astype("c16"))
    path.with_name("data-file-schema.xml").write_text(XML)


RUN_READERS: dict[str, Callable[[Path], Any]] = {
    "OUTCAR": read_outcar,
    "vasprun.xml": read_vasprun,
    "POTCAR": read_potcar,
}


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


def outcome(path: Path, what: str, reader: Callable[[Path], Any] = read) -> tuple[str, Any]:
    """ "reported" or "survived", and what was read; an assertion where reading does anything else."""
    tracemalloc.start()
    try:
        with time_limit(SECONDS):
            result = reader(path)
    except EcdError as error:
        message = str(error)
        names = (path.name, path.with_name("data-file-schema.xml").name)
        assert any(name in message for name in names), (what, message)
        assert "\n" not in message, (what, message)
        return "reported", None
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < MEMORY, f"{what}: {peak >> 20} MB"
    assert not isinstance(result, Density) or np.isfinite(result.values).all(), what
    return "survived", result


def same(one: Any, two: Any) -> bool:
    """Whether two results of a reader are equal to the last bit; comments are no data."""
    if not isinstance(one, Density):
        return bool(one == two)
    arrays = ("lattice", "numbers", "frac_coords", "values", "magnetization")
    pairs = [(getattr(one, name), getattr(two, name)) for name in arrays]
    return one.augmentation == two.augmentation and all(
        a is b or (a is not None and b is not None and np.array_equal(a, b)) for a, b in pairs
    )


def judged(path: Path, what: str, reader: Callable[[Path], Any], good: Any) -> str:
    """What became of a mutation: "reported" (unreadable, unfit, without its end), "same" or "undetectable"."""
    result, found = outcome(path, what, reader)
    if result == "reported":
        return result
    if same(good, found):
        return "same"
    unfit = not check(found).ok if isinstance(found, Density) else found.get("provenance", {}).get("finished") is False
    return "reported" if unfit else "undetectable"


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="needs alarm signals")
def test_mutated_files_are_reported_or_valid(tmp_path, capsys):
    rng = np.random.default_rng(int(os.environ.get("ECD_FUZZ_SEED", "20261122")))
    (tmp_path / "good").mkdir()
    files = make(tmp_path / "good") | make_run_files(tmp_path / "good")
    target = {name: (files["espresso"] if name == "espresso xml" else path) for name, path in files.items()}
    readers = {name: RUN_READERS.get(name, read) for name in files}
    whole = {name: outcome(target[name], name, readers[name])[1] for name in files}
    for name, result in whole.items():
        assert result is not None, name
        assert not isinstance(result, Density) or check(result).ok, (name, check(result).problems)
    tally: dict[str, Counter[str]] = {name: Counter() for name in [*MUTATIONS, *files]}
    for number in range(COUNT):
        format = list(files)[number % len(files)]
        mutation = list(MUTATIONS)[number // len(files) % len(MUTATIONS)]
        path = files[format]
        good = path.read_bytes()
        bad = MUTATIONS[mutation](good, rng)
        try:
            path.write_bytes(bad)
            result = judged(target[format], f"number {number}: {mutation} in {format}", readers[format], whole[format])
        finally:
            path.write_bytes(good)
        if bad != good:
            tally[mutation][result] += 1
            tally[format][result] += 1
    with capsys.disabled():
        print(f"\n{'fuzz':16}{'reported':>12}{'same':>8}{'undetectable':>14}")
        for name, counts in tally.items():
            print(f"{name:16}{counts['reported']:12}{counts['same']:8}{counts['undetectable']:14}")


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
