"""Bytes, error and speed of the codec against common ways to store a grid: `python benchmarks/codec.py [FILE...]`.

Files are any that `ecd_data.read` takes; without any, some densities of the embedded sample. Speeds are of one thread,
the best of some runs that take turns, in million values a second; they are good as ratios within one run. Packages that
are not installed are left out with a note: `pip install "ecd-data[bench]"`.
"""

from __future__ import annotations

import argparse
import gzip
import io
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from ecd_data import Density, open_store, read
from ecd_data.codec import FourierPayload, encode
from ecd_data.codec.payload import find_stars

SAMPLE = ("Si_diamond", "MgO_rs", "Fe_bcc", "GaAs_zb-d1")
BOUNDS = (1e-3, 1e-4, 1e-5, 1e-6)
PACKAGES = {"pcodec": "pcodec", "zfpy": "zfp"}
TEXT_COLUMNS = 5


@dataclass(frozen=True)
class Way:
    """A way to store one grid: `pack(values)` gives bytes, `unpack(bytes)` the grid; bound: of eps_mae, 0: lossless."""

    name: str
    bound: float
    pack: Callable[[np.ndarray], bytes]
    unpack: Callable[[bytes], np.ndarray]


def text(values: np.ndarray) -> bytes:
    """A block of a CHGCAR, as VASP prints it, compressed by gzip."""
    flat = values.ravel(order="F")
    lines = (flat[i : i + TEXT_COLUMNS] for i in range(0, flat.size, TEXT_COLUMNS))
    printed = "\n".join("".join(f" {x:.11E}" for x in line) for line in lines)
    return gzip.compress(printed.encode(), 6)


def untext(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """The grid of such a block."""
    return np.array(gzip.decompress(data).split(), dtype=np.float64).reshape(shape, order="F")


def npy(values: np.ndarray) -> bytes:
    """float32 .npy."""
    file = io.BytesIO()
    np.save(file, values.astype(np.float32))
    return file.getvalue()


def ways(rho: Density, scale: float) -> Iterator[Way]:
    """All ways for the grids of one density."""
    from numcodecs import Blosc

    shape = rho.shape
    blosc = Blosc("zstd", clevel=7, shuffle=Blosc.SHUFFLE)
    yield Way("npy float32", 0, npy, lambda data: np.load(io.BytesIO(data)))
    yield Way("gzip text", 0, text, lambda data: untext(data, shape))
    yield Way("blosc-zstd", 0, lambda v: blosc.encode(v.astype(np.float32)), lambda d: single(blosc.decode(d), shape))
    if find_spec("pcodec"):
        from numcodecs import PCodec

        pco = PCodec()
        yield Way("pcodec", 0, lambda v: pco.encode(v.astype(np.float32)), lambda d: single(pco.decode(d), shape))
    for bound in BOUNDS:
        if find_spec("zfpy"):
            import zfpy

            yield Way("zfp", bound, lambda v, b=bound: zfp(v, b * scale), zfpy.decompress_numpy)  # type: ignore[misc]
        yield Way(
            "ecd.fourier",
            bound,
            lambda v, b=bound: encode(v, rho.lattice, b * scale, rho.crystal),  # type: ignore[misc]
            lambda data: FourierPayload(data, rho.lattice).decode(),
        )


def single(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """Bytes of float32 as a grid."""
    return np.frombuffer(data, np.float32).reshape(shape)


def zfp(values: np.ndarray, tolerance: float) -> bytes:
    """The coarsest of zfp's tolerances, powers of two, whose mean error is within `tolerance`."""
    import zfpy

    exponent = int(np.ceil(np.log2(tolerance))) + 6
    while True:
        data = zfpy.compress_numpy(values.astype(np.float32), tolerance=2.0**exponent)
        if np.abs(zfpy.decompress_numpy(data) - values).mean() <= tolerance:
            return bytes(data)
        exponent -= 1


def seconds(action: Callable[[], object], runs: int) -> float:
    """The shortest of some runs."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return min(times)


def row(way: Way, grids: list[np.ndarray], scale: float, runs: int) -> list[str]:
    """Name, bound, error, bytes a value of each block, speeds."""
    streams = [way.pack(grid) for grid in grids]
    errors = [np.abs(way.unpack(s).astype(np.float64) - g).mean() / scale for s, g in zip(streams, grids, strict=True)]
    count = sum(grid.size for grid in grids)
    packing = seconds(lambda: [way.pack(grid) for grid in grids], max(1, runs // 3))
    unpacking = seconds(lambda: [way.unpack(stream) for stream in streams], runs)
    cells = [way.name, f"{way.bound:.0e}" if way.bound else "lossless", f"{max(errors):.1e}"]
    cells += [" + ".join(str(len(s)) for s in streams), f"{sum(map(len, streams)) / count:.5f}"]
    cells += [f"{count / packing / 1e6:.2f}", f"{count / unpacking / 1e6:.1f}"]
    if way.name == "ecd.fourier":
        cold = seconds(lambda: (find_stars.cache_clear(), [way.unpack(s) for s in streams]), max(2, runs // 3))
        return [*cells, f"{count / cold / 1e6:.1f}"]
    return [*cells, ""]


def table(name: str, rho: Density, runs: int) -> Table:
    """All ways on one density."""
    grids = [rho.values]
    if rho.magnetization is not None:
        grids += list(rho.magnetization.reshape(-1, *rho.shape))
    scale = float(np.abs(rho.values).mean())
    result = Table(title=f"{name}: {rho.crystal.formula}, grid {'x'.join(map(str, rho.shape))}, blocks {len(grids)}")
    for column in ("", "bound", "eps_mae", "bytes of each block", "B/value", "encode", "decode", "decode, new stars"):
        result.add_column(column, justify="right" if column else "left")
    for way in track(list(ways(rho, scale)), name, transient=True):
        result.add_row(*row(way, grids, scale, runs))
    return result


def densities(files: list[str]) -> Iterator[tuple[str, Density]]:
    """Name and density of the files, or of the sample."""
    for file in files:
        yield file, read(file)
    if not files:
        store = open_store("pbe")
        for id in SAMPLE:
            if id in store:
                yield id, store[id]


def main() -> None:
    """Print a table for each density."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", metavar="FILE")
    parser.add_argument("--runs", type=int, default=9, help="runs of each decoder")
    given = parser.parse_args()
    console = Console(width=None if Console().is_terminal else 130)
    for package, name in PACKAGES.items():
        if not find_spec(package):
            missing = f'{name} is left out: {package} is not installed (pip install "ecd-data[bench]")'
            console.print(missing, markup=False)
    console.print("speeds in million values a second; payload bytes with their headers, without zarr's metadata")
    for name, rho in densities(given.files):
        console.print(table(name, rho, given.runs))


if __name__ == "__main__":
    main()
