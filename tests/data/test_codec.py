"""The codec ecd.fourier: its bound, its bytes, partial use, and what it does with bytes that are not its own."""

from __future__ import annotations

import hashlib
import re
import struct
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecd_data import Crystal, Density, eps_mae, open_store, read
from ecd_data.codec import BoundError, FourierPayload, encode, kernels
from ecd_data.codec.waves import integer_metric
from ecd_data.errors import FormatError, StoreError
from ecd_data.store import StoreWriter
from ecd_data.store.codec import FourierCodec
from ecd_data.store.crystal_group import grid_payload
from tests.conftest import smooth_density
from tests.data.test_stars import CONVENTIONAL, DIAMOND, HEXAGONAL

ROOT = Path(__file__).resolve().parents[2]
TRICLINIC = smooth_density().lattice
LATTICES = {"cubic": np.eye(3), "triclinic": TRICLINIC, "hexagonal": HEXAGONAL.lattice}
SHAPES = [(1, 1, 1), (1, 1, 2)]
SHAPES += [(2, 1, 1), (1, 5, 1), (2, 2, 2), (3, 3, 3), (4, 6, 9), (7, 8, 6), (12, 10, 15), (3, 40, 2)]
REAL = ["Al_atomate", "Si_static", "aiida_converge", "mv_NiO_SOC", "pmg_nospin", "pmg_spin", "pyiron_spin"]


def mean_error(values: np.ndarray, stream: bytes, lattice: np.ndarray) -> float:
    return float(np.abs(FourierPayload(stream, lattice).decode().astype(np.float64) - values).mean())


def atoms_of(crystal: Crystal, shape: tuple[int, int, int], width: float = 0.35) -> np.ndarray:
    """Gaussians on the atoms and their periodic images."""
    k = np.stack(np.meshgrid(*(np.fft.fftfreq(n, 1 / n) for n in shape), indexing="ij"), axis=-1)
    g = 2 * np.pi * k @ np.linalg.inv(crystal.lattice).T
    wave = np.exp(-0.5 * width**2 * (g**2).sum(axis=-1))
    wave = wave * sum(np.exp(-2j * np.pi * k @ x) for x in crystal.frac_coords)
    return np.fft.ifftn(wave, norm="forward").real / crystal.volume


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", LATTICES)
def test_the_bound_holds_on_noise_of_any_grid(shape, name):
    values = np.random.default_rng(sum(shape)).normal(size=shape)
    for bound in (1e-1, 1e-4, 1e-6):
        tolerance = bound * np.abs(values).mean()
        assert mean_error(values, encode(values, LATTICES[name], tolerance), LATTICES[name]) <= tolerance


@pytest.mark.parametrize("magnitude", [1e-30, 1e-12, 1.0, 1e12, 1e30])
def test_the_bound_holds_at_any_magnitude(magnitude):
    rho = smooth_density()
    values = rho.values * magnitude
    tolerance = 1e-5 * np.abs(values).mean()
    assert mean_error(values, encode(values, TRICLINIC, tolerance, rho.crystal), TRICLINIC) <= tolerance


@settings(max_examples=20, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    seed=st.integers(0, 1000),
    spread=st.integers(0, 8),
    bound=st.sampled_from([1e-3, 1e-4, 1e-5]),
)
def test_the_bound_holds_over_orders_of_magnitude(shape, seed, spread, bound):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=shape) * 10.0 ** rng.integers(-spread, spread + 1, size=shape)
    tolerance = bound * np.abs(values).mean()
    lattice = HEXAGONAL.lattice
    assert mean_error(values, encode(values, lattice, tolerance, HEXAGONAL), lattice) <= tolerance


@pytest.mark.parametrize("shape", [(9, 9, 9), (8, 8, 12)])
@pytest.mark.parametrize("crystal", [HEXAGONAL, DIAMOND, CONVENTIONAL], ids=["hexagonal", "diamond", "conventional"])
@pytest.mark.parametrize("bound", [1e-4])
def test_crystals_keep_the_bound_whether_their_values_are_symmetric_or_not(crystal, shape, bound):
    rng = np.random.default_rng(0)
    smooth = atoms_of(crystal, shape)
    for strength in (0.0, 1e-5, 1e-2):
        values = smooth + strength * smooth.mean() * rng.normal(size=shape)
        tolerance = bound * np.abs(values).mean()
        stream = encode(values, crystal.lattice, tolerance, crystal)
        assert mean_error(values, stream, crystal.lattice) <= tolerance
        assert len(stream) <= len(encode(values, crystal.lattice, tolerance)) + 8


def test_symmetry_and_atoms_make_streams_short():
    values = atoms_of(DIAMOND, (24, 24, 24), 0.3)
    tolerance = 1e-5 * values.mean()
    alone = len(encode(values, DIAMOND.lattice, tolerance))
    assert len(encode(values, DIAMOND.lattice, tolerance, DIAMOND)) < alone / 4
    assert alone > 400
    wrong = Crystal(DIAMOND.lattice, DIAMOND.numbers, DIAMOND.frac_coords + [0.1, 0.2, 0.3])
    assert len(encode(values, DIAMOND.lattice, tolerance, wrong)) <= alone + 8


def test_repeated_patterns_that_no_operation_tells_are_still_short():
    """Without a crystal, equal coefficients are found as xz finds them."""
    values = atoms_of(DIAMOND, (24, 24, 24), 0.3)
    stream = encode(values, DIAMOND.lattice, 1e-4 * values.mean())
    assert len(stream) < 0.04 * values.size


@pytest.mark.parametrize("value", [0.0, 1.0, -3.5, 1e-20])
def test_constant_grids_are_exact_and_tiny(value):
    values = np.full((16, 15, 14), value)
    stream = encode(values, TRICLINIC, max(abs(value), 1e-30) * 1e-5)
    np.testing.assert_array_equal(FourierPayload(stream, TRICLINIC).decode(), values.astype(np.float32))
    assert len(stream) < 24


@pytest.mark.parametrize("bound", [1e-3, 1e-5, 1e-6])
def test_decoding_gives_the_same_bits_with_and_without_the_compiler_and_the_cache(monkeypatch, bound):
    values = atoms_of(DIAMOND, (16, 16, 16)) + atoms_of(HEXAGONAL, (16, 16, 16), 0.9)
    for crystal in (DIAMOND, None):
        stream = encode(values, DIAMOND.lattice, bound * values.mean(), crystal)
        first = FourierPayload(stream, DIAMOND.lattice).decode()
        np.testing.assert_array_equal(FourierPayload(stream, DIAMOND.lattice).decode(), first)
        with monkeypatch.context() as patch:
            from ecd_data.codec.payload import find_stars

            patch.setattr(kernels, "compiler", lambda _: None)
            find_stars.cache_clear()
            np.testing.assert_array_equal(FourierPayload(stream, DIAMOND.lattice).decode(), first)


def test_bytes_do_not_depend_on_the_run_or_the_memory_order():
    rho = smooth_density((20, 18, 15))
    stream = encode(rho.values, rho.lattice, 1e-6, rho.crystal)
    assert encode(np.asfortranarray(rho.values), rho.lattice, 1e-6, rho.crystal) == stream
    code = (
        "from tests.conftest import smooth_density; from ecd_data.codec import encode; import hashlib;"
        "r = smooth_density((20, 18, 15));"
        "print(hashlib.sha256(encode(r.values, r.lattice, 1e-6, r.crystal)).hexdigest())"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert out.stdout.strip() == hashlib.sha256(stream).hexdigest()


def test_finer_than_float32_and_not_finite_are_refused():
    rho = smooth_density()
    with pytest.raises(BoundError, match=r"cannot keep a mean error"):
        encode(rho.values, rho.lattice, 1e-10 * rho.values.mean())
    for tolerance in (0.0, -1.0, np.nan):
        with pytest.raises(BoundError):
            encode(rho.values, rho.lattice, tolerance)
    for bad in (np.nan, np.inf):
        values = rho.values.copy()
        values[0, 0, 0] = bad
        with pytest.raises(BoundError, match="not finite"):
            encode(values, rho.lattice, 1e-5)


@pytest.mark.parametrize(
    ("name", "bound"), [(name, 1e-5) for name in REAL] + [("pyiron_spin", 1e-4), ("LiH_scan", 1e-6)]
)
def test_real_files_keep_the_bound_and_their_electrons(shared, tmp_path, name, bound):
    rho = read(shared / "real" / f"{name}.CHGCAR.gz")
    with StoreWriter(tmp_path / "s.ecd", bound=bound) as writer:
        row = writer.add(name, rho)
    again = open_store(tmp_path / "s.ecd")[name]
    assert row["pipeline"] == "fourier"
    assert eps_mae(again, rho) <= bound
    assert again.nelect == pytest.approx(rho.nelect, rel=1e-12)
    assert again.augmentation == rho.augmentation
    if rho.magnetization is not None:
        off = np.abs(again.magnetization - rho.magnetization)
        assert off.reshape(-1, rho.values.size).mean(axis=1).max() <= bound * np.abs(rho.values).mean()


@pytest.mark.parametrize(("bound", "most"), [(1e-4, 0.0014), (1e-5, 0.0042)])
def test_real_files_take_few_bytes(shared, bound, most):
    """Payload bytes per value over both blocks, headers included: the mean of five files of good quality."""
    taken = []
    for name in ("Al_atomate", "Si_static", "LiH_scan", "pmg_nospin", "pmg_spin"):
        rho = read(shared / "real" / f"{name}.CHGCAR.gz")
        grids = [rho.values, *([] if rho.magnetization is None else [rho.magnetization])]
        tolerance = bound * np.abs(rho.values).mean()
        size = sum(len(encode(grid, rho.lattice, tolerance, rho.crystal)) for grid in grids)
        taken.append(size / len(grids) / rho.values.size)
    assert np.mean(taken) <= most


@pytest.fixture(scope="module")
def diamond() -> tuple[np.ndarray, FourierPayload]:
    values = atoms_of(DIAMOND, (24, 24, 24), 0.3)
    return values, FourierPayload(encode(values, DIAMOND.lattice, 1e-5 * values.mean(), DIAMOND), DIAMOND.lattice)


def test_points_and_grids_come_without_the_whole_grid(diamond):
    values, opened = diamond
    assert opened.shape == values.shape
    assert opened.mean == pytest.approx(values.mean(), rel=1e-15)
    grid = opened.decode().astype(np.float64)
    rng = np.random.default_rng(0)
    index = rng.integers(24, size=(50, 3))
    scale = values.max()
    np.testing.assert_allclose(opened.at(index / 24), grid[tuple(index.T)], atol=2e-6 * scale)
    np.testing.assert_allclose(opened.decode((48, 24, 72))[::2, :, ::3], grid, atol=2e-6 * scale)


def test_a_stored_crystal_opens_its_payloads(tmp_path):
    rho = smooth_density(spin=True)
    crystal = Density(rho.crystal, rho.values, np.stack([rho.magnetization] * 3))
    from ecd_data.store.crystal_group import pack_density

    entries, _ = pack_density(crystal, 1e-5, "fourier", {"id": "x"})
    points = np.random.default_rng(0).random((20, 3))
    tolerance = 1e-3 * rho.values.mean()
    np.testing.assert_allclose(grid_payload(entries).at(points), rho.at(points), atol=tolerance)
    spin = grid_payload(entries, "magnetization", component=2)
    np.testing.assert_allclose(spin.decode(), rho.magnetization, atol=tolerance)
    real, _ = pack_density(crystal, 1e-5, "real", {"id": "x"})
    for missing in (lambda: grid_payload(real), lambda: grid_payload(entries, "spin")):
        with pytest.raises(StoreError):
            missing()


STREAM = encode(atoms_of(DIAMOND, (12, 12, 12)), DIAMOND.lattice, 1e-5, DIAMOND)


def opened(stream: bytes) -> FourierPayload:
    return FourierPayload(stream, DIAMOND.lattice)


def test_every_truncation_is_noticed():
    opened(STREAM).decode()
    for length in range(len(STREAM)):
        with pytest.raises(FormatError):
            opened(STREAM[:length])
    with pytest.raises(FormatError):
        opened(STREAM + b"\0")


def test_every_altered_byte_is_noticed():
    rng = np.random.default_rng(0)
    for place in range(len(STREAM)):
        altered = bytearray(STREAM)
        altered[place] ^= int(rng.integers(1, 256))
        with pytest.raises(FormatError):
            opened(bytes(altered))


def test_a_stream_of_another_lattice_is_noticed():
    with pytest.raises(FormatError, match="another lattice"):
        FourierPayload(STREAM, TRICLINIC)


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_forged_streams_with_a_right_checksum_end_quickly_in_values_or_an_error():
    """What chance cannot do: wrong fields under a valid checksum cost no time or memory either."""
    rng = np.random.default_rng(1)
    metric = struct.pack("<6q", *integer_metric(DIAMOND.lattice))
    errors = 0
    tracemalloc.start()
    for _ in range(400):
        body = bytearray(STREAM[:-4])
        for place in rng.integers(5, len(body), size=int(rng.integers(1, 4))):
            if not 6 <= place <= 8:  # another grid is a larger result, not an error
                body[place] = int(rng.integers(256))
        if rng.random() < 0.3:
            body = body[: int(rng.integers(9, len(body)))]
        forged = bytes(body) + struct.pack("<I", zlib.crc32(metric, zlib.crc32(body)))
        try:
            assert opened(forged).decode().shape == (12, 12, 12)
        except FormatError:
            errors += 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert errors > 20
    assert peak < 50e6


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_random_bytes_are_refused(data, with_magic):
    with pytest.raises(FormatError):
        opened((b"ECDF\2" if with_magic else b"") + data)


@pytest.mark.parametrize(("version", "remedy"), [(1, "convert the source again"), (3, "update ecd-data")])
def test_other_versions_say_what_to_do(version, remedy):
    with pytest.raises(FormatError, match=f"version {version}.*{remedy}"):
        opened(STREAM[:4] + bytes([version]) + STREAM[5:])


def test_the_codec_describes_itself():
    codec = FourierCodec(bound=1e-4, scale=0.5, lattice=tuple(range(9)))
    assert FourierCodec.from_dict(codec.to_dict()) == codec
    assert FourierCodec.from_dict({"name": "ecd.fourier"}) == FourierCodec()


def test_zarr_alone_writes_and_reads_a_grid_with_the_codec():
    import zarr
    from zarr.storage import MemoryStore

    values = smooth_density().values.astype("f4")
    array = zarr.create_array(
        MemoryStore(), shape=values.shape, chunks=values.shape, dtype="f4", serializer=FourierCodec(), compressors=None
    )
    array[...] = values
    assert eps_mae(array[...], values) <= 1e-5


def test_the_description_of_the_format_holds_a_reader_that_works(shared):
    """docs/format.md is enough to read a stream: its own reader gives our numbers."""
    text = (ROOT / "docs" / "format.md").read_text()
    code = next(block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "def read_stream" in block)
    names: dict = {}
    exec(code, names)
    rho = read(shared / "real" / "pmg_spin.CHGCAR.gz")
    grids = [(rho.values, rho.lattice, rho.crystal), (smooth_density((7, 8, 6)).values, TRICLINIC, None)]
    grids += [(np.random.default_rng(0).normal(size=shape), HEXAGONAL.lattice, None) for shape in SHAPES]
    grids += [(atoms_of(c, (8, 8, 12)), c.lattice, c) for c in (HEXAGONAL, DIAMOND, CONVENTIONAL)]
    grids += [(np.random.default_rng(0).integers(0, 2, (8, 8, 8)) + 0.0, np.eye(3), None)]
    grids += [(np.ones((3, 4, 5)), np.eye(3), None)]
    for values, lattice, crystal in grids:
        stream = encode(values, lattice, 1e-4 * np.abs(values).mean(), crystal)
        decoded = FourierPayload(stream, lattice).decode()
        np.testing.assert_allclose(names["read_stream"](stream, lattice), decoded, atol=3e-6 * np.abs(values).max())


def test_noise_and_non_finite_densities_in_a_store(tmp_path, caplog):
    crystal = Crystal(np.eye(3) * 5, np.array([1]), np.zeros((1, 3)))
    noise = Density(crystal, np.random.default_rng(0).random((32, 32, 32)) ** 8)
    with StoreWriter(tmp_path / "s.ecd") as writer:
        assert writer.add("noise", noise)["pipeline"] == "real"
        assert "noise: stored in real space" in caplog.text
        for bad in (np.nan, np.inf, 1e39):
            with pytest.raises(StoreError, match=r"bad: .*compute it again"):
                writer.add("bad", Density(crystal, np.where(noise.values > 0.5, bad, noise.values)))
    store = open_store(tmp_path / "s.ecd")
    assert store.ids == ["noise"]
    np.testing.assert_array_equal(store["noise"].values, noise.values.astype("f4"))
