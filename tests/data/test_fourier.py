"""The codec ecd.fourier: its bound, its electron count, and what it does with bytes that are not its own."""

from __future__ import annotations

import re
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecd_data import Crystal, Density, eps_mae, read
from ecd_data.errors import FormatError, StoreError
from ecd_data.fourier import resample
from ecd_data.store import StoreWriter, open_store
from ecd_data.store.codec import FourierCodec
from ecd_data.store.fourier import HEADER, BoundError, Sphere, _grid, _open, decode, encode, integer_metric, outer_share
from tests.conftest import smooth_density

TRICLINIC = smooth_density().lattice
HEXAGONAL = np.array([[3.0, 0, 0], [-1.5, 2.598, 0], [0, 0, 12.0]])
SHAPES = [
    (1, 1, 1),
    (1, 1, 2),
    (2, 1, 1),
    (1, 5, 1),
    (2, 2, 2),
    (3, 3, 3),
    (4, 6, 9),
    (7, 8, 6),
    (12, 10, 15),
    (3, 40, 2),
]
REAL = ["Al_atomate", "LiH_scan", "Si_static", "aiida_converge", "mv_NiO_SOC", "pmg_nospin", "pmg_spin", "pyiron_spin"]


def mean_error(values: np.ndarray, stream: bytes) -> float:
    return float(np.abs(decode(stream).astype(np.float64) - values).mean())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("lattice", [np.eye(3), TRICLINIC, HEXAGONAL], ids=["cubic", "triclinic", "hexagonal"])
def test_the_bound_holds_on_noise_of_any_grid(shape, lattice):
    values = np.random.default_rng(sum(shape)).normal(size=shape)
    for bound in (1e-1, 1e-3, 1e-4, 1e-5, 1e-6):
        tolerance = bound * np.abs(values).mean()
        assert mean_error(values, encode(values, lattice, tolerance)) <= tolerance


@pytest.mark.parametrize("magnitude", [1e-30, 1e-12, 1.0, 1e12, 1e30])
def test_the_bound_holds_at_any_magnitude(magnitude):
    values = smooth_density().values * magnitude
    tolerance = 1e-5 * np.abs(values).mean()
    assert mean_error(values, encode(values, TRICLINIC, tolerance)) <= tolerance


@settings(max_examples=60, deadline=None)
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
    assert mean_error(values, encode(values, HEXAGONAL, tolerance)) <= tolerance


@pytest.mark.parametrize("value", [0.0, 1.0, -3.5, 1e-20])
def test_constant_grids_are_exact_and_tiny(value):
    values = np.full((16, 15, 14), value)
    stream = encode(values, TRICLINIC, max(abs(value), 1e-30) * 1e-5)
    np.testing.assert_array_equal(decode(stream), values.astype(np.float32))
    assert len(stream) < 160


def test_every_coefficient_of_a_grid_is_in_the_sphere_once():
    for shape in SHAPES:
        sphere = Sphere.of(shape, integer_metric(TRICLINIC))
        assert len(np.unique(sphere.index)) == len(sphere.index)
        assert sphere.weight.sum() == np.prod(shape) - 1  # Parseval: all but the mean


@pytest.mark.parametrize("shape", SHAPES)
def test_the_first_coefficients_are_those_of_the_whole_order(shape):
    metric = integer_metric(np.eye(3))  # many of one length
    whole = Sphere.of(shape, metric)
    for first in range(0, len(whole.index) + 1, max(1, len(whole.index) // 20)):
        part = Sphere.of(shape, metric, first)
        np.testing.assert_array_equal(part.index[:first], whole.index[:first])


@pytest.mark.parametrize("bound", [1e-3, 1e-5])
def test_the_decoder_gives_the_encoders_reconstruction_bit_for_bit(bound):
    rho = smooth_density((20, 18, 15))
    stream = encode(rho.values, rho.lattice, bound * rho.values.mean())
    seen_by_encoder = _grid(_open(stream), Sphere.of(rho.shape, integer_metric(rho.lattice)))
    np.testing.assert_array_equal(decode(stream), seen_by_encoder)


def test_bytes_do_not_depend_on_the_run_or_the_memory_order():
    rho = smooth_density((20, 18, 15))
    stream = encode(rho.values, rho.lattice, 1e-6)
    assert encode(np.asfortranarray(rho.values), rho.lattice, 1e-6) == stream
    code = (
        "from tests.conftest import smooth_density; from ecd_data.store.fourier import encode; import hashlib;"
        "r = smooth_density((20, 18, 15)); print(hashlib.sha256(encode(r.values, r.lattice, 1e-6)).hexdigest())"
    )
    import hashlib

    root = Path(__file__).resolve().parents[2]
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert out.stdout.strip() == hashlib.sha256(stream).hexdigest()


def test_finer_than_float32_and_not_finite_are_refused():
    rho = smooth_density()
    with pytest.raises(BoundError, match=r"out of reach|too many orders"):
        encode(rho.values, rho.lattice, 1e-10 * rho.values.mean())
    for tolerance in (0.0, -1.0, np.nan):
        with pytest.raises(BoundError):
            encode(rho.values, rho.lattice, tolerance)
    for bad in (np.nan, np.inf):
        values = rho.values.copy()
        values[0, 0, 0] = bad
        with pytest.raises(BoundError, match="not finite"):
            encode(values, rho.lattice, 1e-5)


@pytest.mark.parametrize("bound", [1e-4, 1e-5])
@pytest.mark.parametrize("name", REAL)
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


def test_what_is_not_band_limited_is_told_from_what_is(shared):
    assert outer_share(read(shared / "real" / "Si_AECCAR2.AECCAR2.gz").values) > 0.02
    assert outer_share(np.random.default_rng(0).normal(size=(32, 32, 32))) > 0.3
    for name in REAL:
        assert outer_share(read(shared / "real" / f"{name}.CHGCAR.gz").values) < 0.005
    assert outer_share(np.zeros((4, 4, 4))) == 0


STREAM = encode(smooth_density().values, TRICLINIC, 1e-6)


def test_every_truncation_is_noticed():
    for length in range(len(STREAM)):
        with pytest.raises(FormatError):
            decode(STREAM[:length])
    with pytest.raises(FormatError):
        decode(STREAM + b"\0")


def test_every_altered_byte_is_noticed_without_much_memory():
    rng = np.random.default_rng(0)
    places = [*range(HEADER.size), *rng.integers(HEADER.size, len(STREAM), size=300)]
    tracemalloc.start()
    for place in places:
        altered = bytearray(STREAM)
        altered[place] ^= 1 << int(rng.integers(8))
        with pytest.raises(FormatError):
            decode(bytes(altered))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_random_bytes_are_refused(data, with_magic):
    with pytest.raises(FormatError):
        decode((b"ECDF\1" if with_magic else b"") + data)


def test_streams_of_before_the_header_had_a_check_are_read():
    np.testing.assert_array_equal(decode(STREAM[:6] + b"\0\0" + STREAM[8:]), decode(STREAM))


def test_a_newer_version_says_so():
    with pytest.raises(FormatError, match=r"version 2.*update"):
        decode(STREAM[:4] + b"\2" + STREAM[5:])


def test_a_stream_of_another_grid_is_refused_before_it_is_decoded():
    with pytest.raises(FormatError, match="is due"):
        decode(STREAM, (12, 10, 16))


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
    text = (Path(__file__).resolve().parents[2] / "docs" / "format.md").read_text()
    code = next(block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "def read_stream" in block)
    names: dict = {}
    exec(code, names)
    rho = read(shared / "real" / "Al_atomate.CHGCAR.gz")
    grids = [(rho.values, rho.lattice), (smooth_density((7, 8, 6)).values, TRICLINIC)]
    grids += [(np.random.default_rng(0).normal(size=shape), HEXAGONAL) for shape in SHAPES]
    for values, lattice in grids:
        stream = encode(values, lattice, 1e-5 * np.abs(values).mean())
        scale = np.abs(values).max()
        np.testing.assert_allclose(names["read_stream"](stream), decode(stream), rtol=1e-6, atol=1e-6 * scale)


@pytest.mark.parametrize("shape", [(24, 20, 30), (25, 21, 31), (13, 10, 16)])
def test_regridding_is_exact_for_what_is_band_limited(shape):
    rho = smooth_density()
    fine = rho.resample(shape)
    assert fine.nelect == pytest.approx(rho.nelect, rel=1e-13)
    np.testing.assert_allclose(resample(fine.values, rho.shape), rho.values, atol=1e-12)


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
