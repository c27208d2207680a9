"""HDF5 of VASP 6 and Quantum ESPRESSO, laid out as pymatgen and QE's io_base.f90 have it, from real numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.io import FortranFile

from ecd_data import Density, read
from ecd_data.errors import FormatError
from ecd_data.formats.vasp.occupancies import AUGMENTATION
from tests.conftest import smooth_density

h5py = pytest.importorskip("h5py")


def write_vaspwave(path: Path, rho: Density, structure: bool = True) -> None:
    """A vaspwave.h5 with the charge, the augmentation and, where wanted, the structure of a density."""
    blocks = [rho.values]
    if rho.magnetization is not None:
        blocks += list(rho.magnetization.reshape(-1, *rho.shape))
    with h5py.File(path, "w") as file:
        for number, name in enumerate(("major", "minor", "patch")):
            file[f"version/{name}"] = (6, 5, 1)[number]
        file["charge/grid"] = np.array(rho.shape, dtype="i4")
        file["charge/charge"] = np.stack([block.T for block in blocks]) * rho.crystal.volume
        for number, tail in enumerate(rho.augmentation or (), 1):
            atoms = [
                np.array(text.split()[: int(count)], dtype=float)
                for count, text in zip(*[iter(AUGMENTATION.split(tail)[1:])] * 2, strict=True)
            ]
            width = max(map(len, atoms))
            file[f"charge/aug_occupancies_ions_s{number:02d}"] = np.array([len(a) for a in atoms], dtype="i4")
            file[f"charge/aug_occupancies_s{number:02d}"] = np.array([np.pad(a, (0, width - len(a))) for a in atoms])
        if structure:
            write_structure(file.create_group("structure/positions"), rho)


def write_structure(group, rho: Density) -> None:
    symbols = list(dict.fromkeys(rho.crystal.symbols))
    group["system"] = "a test"
    group["scale"] = 1.0
    group["lattice_vectors"] = rho.lattice
    group["ion_types"] = np.array([s.encode().ljust(2) for s in symbols])
    group["number_ion_types"] = np.array([rho.crystal.symbols.count(s) for s in symbols], dtype="i4")
    group["position_ions"] = rho.frac_coords
    group["direct_coordinates"] = 1
    group["selective_dynamics"] = 0


def write_qe_hdf5(dat: Path, hdf5: Path) -> None:
    """A charge-density.hdf5 with the content of a charge-density.dat."""
    with FortranFile(dat, "r") as file:
        gamma_only, count, spins = (int(n) for n in file.read_ints("i4"))
        axes = file.read_reals("f8").reshape(3, 3)
        miller = file.read_ints("i4").reshape(count, 3)
        waves = [file.read_record("c16") for _ in range(spins)]
    with h5py.File(hdf5, "w") as file:
        file.attrs["gamma_only"] = np.bytes_(b".TRUE." if gamma_only else b".FALSE.")
        file.attrs["ngm_g"], file.attrs["nspin"] = count, spins
        file["MillerIndices"] = miller
        for number, axis in enumerate(axes, 1):
            file["MillerIndices"].attrs[f"bg{number}"] = axis
        for name, wave in zip(("rhotot_g", "rhodiff_g") if spins == 2 else ("rhotot_g", "m_x"), waves, strict=False):
            file[name] = wave.view("f8")


@pytest.mark.parametrize("name", ["Si_static", "pyiron_spin", "pmg_nospin"])
def test_vaspwave_is_the_chgcar(shared, tmp_path, name):
    rho = read(shared / "real" / f"{name}.CHGCAR.gz")
    write_vaspwave(tmp_path / "vaspwave.h5", rho)
    again = read(tmp_path / "vaspwave.h5")
    np.testing.assert_allclose(again.values, rho.values, rtol=1e-14)
    np.testing.assert_array_equal(again.numbers, rho.numbers)
    np.testing.assert_allclose(again.frac_coords, rho.frac_coords)
    if rho.magnetization is None:
        assert again.magnetization is None
    else:
        np.testing.assert_allclose(again.magnetization, rho.magnetization, rtol=1e-13)
    assert (again.augmentation is None) == (rho.augmentation is None)


def test_the_layout_is_the_one_that_pymatgen_reads(shared, tmp_path):
    from pymatgen.io.vasp.outputs import Vaspwave

    rho = read(shared / "real" / "Si_static.CHGCAR.gz")
    write_vaspwave(tmp_path / "vaspwave.h5", rho)
    theirs, ours = Vaspwave(tmp_path / "vaspwave.h5").get_chgcar(), read(tmp_path / "vaspwave.h5")
    np.testing.assert_allclose(ours.values * ours.crystal.volume, theirs.data["total"], rtol=1e-14)
    np.testing.assert_allclose(ours.magnetization * ours.crystal.volume, theirs.data["diff"], rtol=1e-14)
    for block, key in zip(ours.augmentation, ("total", "diff"), strict=True):
        texts = AUGMENTATION.split(block)[2::2]
        for atom, text in enumerate(texts, 1):
            np.testing.assert_allclose(np.array(text.split(), float), theirs.data_aug[key][atom], rtol=1e-6, atol=1e-7)


def test_non_collinear_and_the_structure_of_vaspout(tmp_path):
    rho = smooth_density()
    rho = Density(rho.crystal, rho.values, np.stack([rho.values * f for f in (0.1, -0.2, 0.3)]))
    write_vaspwave(tmp_path / "vaspwave.h5", rho, structure=False)
    with pytest.raises(FormatError, match=r"vaspout\.h5"):
        read(tmp_path / "vaspwave.h5")
    with h5py.File(tmp_path / "vaspout.h5", "w") as file:
        write_structure(file.create_group("results/positions"), rho)
    again = read(tmp_path / "vaspwave.h5")
    np.testing.assert_allclose(again.magnetization, rho.magnetization, rtol=1e-13)
    np.testing.assert_allclose(again.lattice, rho.lattice)


def test_damaged_hdf5_is_named(tmp_path):
    path = tmp_path / "vaspwave.h5"
    write_vaspwave(path, smooth_density())
    good = path.read_bytes()
    for bad in (good[: len(good) // 2], good[:600], good[:8] + bytes(600), b"\x89HDF\r\n\x1a\n"):
        path.write_bytes(bad)
        with pytest.raises(FormatError, match=r"vaspwave\.h5"):
            read(path)
    edits = {"charge/grid": np.array([5, 5, 5]), "charge/charge": np.ones(3), "structure/positions/ion_types": [b"Zq"]}
    for name, value in edits.items():
        path.write_bytes(good)
        with h5py.File(path, "a") as file:
            del file[name]
            file[name] = value
        with pytest.raises(FormatError, match=r"vaspwave\.h5"):
            read(path)
    path.write_bytes(good)
    with h5py.File(path, "a") as file:
        del file["charge/charge"]
        file.create_dataset("charge/charge", shape=(1, 15, 10, 12000), chunks=(1, 1, 1, 100), dtype="f8")
    with pytest.raises(FormatError, match=r"impossible|shape"):
        read(path)


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
@pytest.mark.parametrize("scale", [1.0, 2.0, -100.0])
def test_scales_and_switches_of_any_shape(tmp_path, scale, shape):
    path, rho = tmp_path / "vaspwave.h5", smooth_density()
    write_vaspwave(path, rho)
    with h5py.File(path, "a") as file:
        for name, value in (("scale", scale), ("direct_coordinates", 1)):
            del file[f"structure/positions/{name}"]
            file[f"structure/positions/{name}"] = np.full(shape, value)
    factor = scale**3 if scale > 0 else 100 / rho.crystal.volume
    assert read(path).crystal.volume == pytest.approx(rho.crystal.volume * factor)


def test_three_scales_and_labels(tmp_path):
    path, rho = tmp_path / "vaspwave.h5", smooth_density()
    write_vaspwave(path, rho)
    with h5py.File(path, "a") as file:
        group = file["structure/positions"]
        del group["scale"], group["ion_types"]
        group["scale"], group["ion_types"] = np.array([1.0, 2.0, 3.0]), np.array([b"Mg_pv ", b"D"])
    again = read(path)
    np.testing.assert_allclose(again.lattice, rho.lattice * [1, 2, 3])
    assert again.numbers.tolist() == [12, 1, 1]


@pytest.mark.parametrize("scale", [[1.0, 2.0], [0.0], [], [[1.0] * 4]])
def test_other_scales_are_refused(tmp_path, scale):
    path = tmp_path / "vaspwave.h5"
    write_vaspwave(path, smooth_density())
    with h5py.File(path, "a") as file:
        del file["structure/positions/scale"]
        file["structure/positions/scale"] = np.array(scale, dtype=float)
    with pytest.raises(FormatError, match=r"vaspwave\.h5"):
        read(path)


def test_the_case_of_a_scale_in_an_array_is_read(shared):
    path = shared / "cases" / "files" / "vaspwave_scale_of_shape_1" / "vaspwave-si-charge.h5"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    assert read(path).crystal.formula == "Si2"


def test_a_file_of_waves_alone_is_named(tmp_path):
    with h5py.File(tmp_path / "vaspwave.h5", "w") as file:
        file["wave/rispin"] = 1
    with pytest.raises(FormatError, match="no charge"):
        read(tmp_path / "vaspwave.h5")
