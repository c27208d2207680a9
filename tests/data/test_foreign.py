"""Files of other programs: each is called by its name, with what to do, and never a damaged CHGCAR."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile

import numpy as np
import pytest

from ecd_data import read, write
from ecd_data.errors import FormatError
from tests.conftest import smooth_density


def archive(name: str, content: bytes = b"x") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        zipped.writestr(name, content)
    return file.getvalue()


def array(save, values) -> bytes:
    file = io.BytesIO()
    save(file, values)
    return file.getvalue()


def record(content: bytes) -> bytes:
    """A record of a Fortran program."""
    size = struct.pack("<i", len(content))
    return size + content + size


SIESTA = record(struct.pack("<9d", *np.eye(3).ravel())) + record(struct.pack("<4i", 8, 8, 8, 1)) + bytes(64)
ABINIT = record(b"9.4.1 " + struct.pack("<2i", 80, 52)) + bytes(64)
FILPLOT = " title\n 24 24 24 24 24 24 2 1\n 0 10.2 0.0 0.0 0.0 0.0 0.0\n  1.0 0.0 0.0\n 6.2E-04 4.2E-03\n"
CASTEP = " BEGIN header\n  \n           Real Lattice(A)               Lattice parameters(A)    Cell Angles\n"
GRD = "rho\n(1p,e12.5)\n 3.9 4.1 5.0 90. 90. 90.\n 4 3 5\n 1 0 4 0 3 0 5\n 1.1E-01\n"
BXSF = "# c\nBEGIN_INFO\n Fermi Energy: 5.0\nEND_INFO\nBEGIN_BLOCK_BANDGRID_3D\n"
EIGENVAL = "  2  2  1  1\n  0.1E+02  0.4E-09\n  1.0E-4\n  CAR \n MgO\n 8 10 4\n"
BY_CONTENT = {
    "BXSF": BXSF.encode(),
    "den_fmt.*c2x": CASTEP.encode(),
    "filplot.*output_format": FILPLOT.encode(),
    "SIESTA.*sisl": SIESTA,
    "Abinit.*cut3d": ABINIT,
    "DMol3": GRD.encode(),
    "NumPy": array(np.save, np.ones((2, 2, 2))),
    "NumPy.*write": array(lambda file, values: np.savez(file, rho=values), np.ones(3)),
    "pickle": pickle.dumps({"rho": np.ones(3)}),
    "PyTorch": archive("archive/data.pkl"),
    "zip archive: unpack it": archive("run/CHGCAR"),
    "zip archive": archive("CHGCAR", b"c\n 1.0\n" + b" 1.0 2.0 3.0\n" * 4),
    "7z": b"7z\xbc\xaf\x27\x1c" + bytes(40),
    "netCDF": b"CDF\x02" + bytes(60),
    "JSON list": json.dumps([{"poscar": {}, "data": {}}]).encode(),
    "band energies": EIGENVAL.encode(),
    "band energies,": b" &plot nbnd=   8, nks=    20 /\n   0.0 0.0 0.0\n",
    "web page": b"<!DOCTYPE html>\n<html><head><title>404</title>\n",
    "XML": b'<?xml version="1.0"?>\n<modeling>\n',
}


@pytest.mark.parametrize("name", ["file", "CHGCAR", "x.cube", "y.json"])
@pytest.mark.parametrize("word", BY_CONTENT)
def test_what_a_file_is_shows_in_its_content(tmp_path, word, name):
    (tmp_path / name).write_bytes(BY_CONTENT[word])
    with pytest.raises(FormatError, match=rf"{name} is .*{word}") as error:
        read(tmp_path / name)
    assert "\n" not in str(error.value)
    assert "damaged" not in str(error.value)
    assert "is not a CHGCAR" not in str(error.value)


BY_NAME = {
    "a.bxsf": "BXSF",
    "a.den_fmt": "c2x",
    "a.check": "CASTEP",
    "tmp.filplot": "pp.x",
    "siesta.RHO": "SIESTA",
    "siesta.RHO.gz": "SIESTA",
    "a.grid.nc": "SIESTA",
    "run_DEN": "cut3d",
    "a.nc": "netCDF",
    "a.grd": "DMol3",
    "a.pkl": "pickle",
    "a.bands": "band energies",
    "a.cif": "structure without a density",
    "OUTCAR.1": "without a density",
}


@pytest.mark.parametrize("content", [b"no\nnumbers\nhere\nat\nall\n", bytes(range(256)) * 4])
@pytest.mark.parametrize("name", BY_NAME)
def test_what_a_file_is_shows_in_its_name(tmp_path, name, content):
    import gzip

    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    with pytest.raises(FormatError, match=rf"{name} is .*{BY_NAME[name]}"):
        read(tmp_path / name)


@pytest.mark.parametrize("name", ["a.txt", "density", "x.dat", "rho.out"])
@pytest.mark.parametrize("content", [b"no\nnumbers\nhere\nat\nall\n", bytes(range(256)) * 4])
def test_unknown_files_get_the_list_of_formats(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FormatError, match=r"none of the formats that are read .*CHGCAR.*cube, XSF"):
        read(tmp_path / name)


def test_hdf5_of_another_program_is_called_so(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "run_DEN.nc", "w") as file:
        file["density"] = np.ones(3)
    with pytest.raises(FormatError, match="Abinit"):
        read(tmp_path / "run_DEN.nc")


@pytest.mark.parametrize("name", ["a.RHO", "run_DEN", "a.zip", "filplot", "a.nc", "a.npy", "POSCAR", "a.bands"])
@pytest.mark.parametrize("format", ["chgcar", "cube"])
def test_a_density_is_read_under_any_name(tmp_path, name, format):
    rho = smooth_density(meta={"comment": "[{]"})
    write(tmp_path / "x", rho, format=format)
    (tmp_path / "x").rename(tmp_path / name)
    np.testing.assert_allclose(read(tmp_path / name).values, rho.values, atol=1e-9)


def test_a_damaged_chgcar_is_still_called_damaged(tmp_path):
    write(tmp_path / "CHGCAR", smooth_density())
    text = (tmp_path / "CHGCAR").read_bytes()
    for name in ("CHGCAR", "density.txt"):
        (tmp_path / name).write_bytes(text[: len(text) // 2])
        with pytest.raises(FormatError, match=r"cut|numbers"):
            read(tmp_path / name)


def test_the_cases_of_others(shared):
    folder = shared / "cases" / "files" / "unclear_refusals"
    if not folder.is_dir():
        pytest.skip("../shared has no cases")
    words = {
        "CHGCAR.zip": "zip archive: unpack",
        "bands.bxsf": "BXSF",
        "dmol.grd": "DMol3",
        "filplot": r"pp\.x",
        "list.json": "JSON list",
    }
    for name, word in words.items():
        with pytest.raises(FormatError, match=word):
            read(folder / name)
