"""Formats read from real files or files that other programs make here; compressed files and archives."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest

from ecd_data import Crystal, Density, read, write
from ecd_data.dft.pseudopotentials import pseudo_folder
from ecd_data.errors import FormatError, UsageError
from ecd_data.io.compression import ENDINGS
from tests.conftest import smooth_density


def close(one: Density, two: Density, tolerance: float = 1e-9) -> None:
    np.testing.assert_allclose(one.values, two.values, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(one.lattice, two.lattice, atol=1e-8)
    np.testing.assert_allclose((one.frac_coords - two.frac_coords + 0.5) % 1, 0.5, atol=1e-8)
    np.testing.assert_array_equal(one.numbers, two.numbers)


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


def test_formats_without_a_writer_are_refused(tmp_path):
    for options in ({"format": "xsf"}, {}):
        with pytest.raises(UsageError, match=r"\.cube"):
            write(tmp_path / "a.xsf", smooth_density(), **options)


def test_unknown_cells_are_refused(tmp_path):
    rho = Density(Crystal(np.eye(3) * 900, [1], [[0, 0, 0]]), np.ones((2, 2, 2)))
    write(tmp_path / "CHGCAR", rho)
    with pytest.raises(FormatError, match="lattice is damaged"):
        read(tmp_path / "CHGCAR")
