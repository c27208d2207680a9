"""How fast CHGCAR files are read, next to pymatgen's Chgcar.from_file on the same files in the same run.

    python benchmarks/read_chgcar.py [FILE ...] [--megabytes 100] [--repeats 5]

Without files: those of ../shared/real, as they are and unpacked, and a large spin-polarised one made here. Both readers
take turns, so that a busy machine slows both; the best time of each counts, wall and processor time apart.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ecd_data import Crystal, Density, read, write

REAL = Path(__file__).resolve().parents[2] / "shared" / "real"
BYTES_PER_POINT = 18.2


def make_large(folder: Path, megabytes: float) -> Path:
    """A spin-polarised CHGCAR with augmentation of about this size."""
    n = round((megabytes * 1e6 / 2 / BYTES_PER_POINT) ** (1 / 3))
    x = np.cos(2 * np.pi * np.arange(n) / n)
    rng = np.random.default_rng(0)
    values = np.exp(3 * x)[:, None, None] * np.exp(2 * x)[None, :, None] * (x + 1.1)
    crystal = Crystal(np.eye(3) * 9.0, np.array([26]), np.zeros((1, 3)))
    occupancies = "augmentation occupancies   1   5\n" + "  0.1234567E+00" * 5 + "\n"
    spin = 1e-2 * values * rng.normal(size=values.shape)
    write(folder / "made_CHGCAR", Density(crystal, values, spin, (occupancies, occupancies)))
    return folder / "made_CHGCAR"


def best(readers: list[Callable[[], object]], repeats: int) -> list[tuple[float, float]]:
    """The shortest wall and processor seconds of each reader; they take turns."""
    times = [(np.inf, np.inf)] * len(readers)
    for _ in range(repeats):
        for number, reader in enumerate(readers):
            wall, cpu = time.perf_counter(), time.process_time()
            reader()
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            times[number] = (min(wall, times[number][0]), min(cpu, times[number][1]))
    return times


def sources(folder: Path, megabytes: float) -> list[Path]:
    """The files of ../shared/real, their unpacked copies, and the large one."""
    packed = sorted(REAL.glob("*.CHGCAR.gz"))
    plain = []
    for path in packed:
        plain.append(folder / path.name.removesuffix(".gz"))
        plain[-1].write_bytes(gzip.decompress(path.read_bytes()))
    return [*plain, *packed, make_large(folder, megabytes)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--megabytes", type=float, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    from pymatgen.io.vasp import Chgcar

    warnings.simplefilter("ignore")
    from ecd_data.formats.numbers import load_library

    extras = ["isal"] * (importlib.util.find_spec("isal") is not None) + ["numbers.c"] * (load_library() is not None)
    print(f"optional accelerators here: {', '.join(extras) or 'none'}; MB/s of text, wall (processor)")
    print(f"{'file':28}{'MB':>7}{'pymatgen':>16}{'ecd':>16}{'ratio':>16}")
    with tempfile.TemporaryDirectory() as folder:
        for path in options.files or sources(Path(folder), options.megabytes):
            raw = path.read_bytes()
            size = len(gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw) / 1e6
            del raw
            repeats = max(1, options.repeats if size > 20 else 3 * options.repeats)
            readers = [lambda p=path: Chgcar.from_file(str(p)), lambda p=path: read(p)]  # type: ignore[misc]
            (wall0, cpu0), (wall1, cpu1) = best(readers, repeats)
            speeds = [f"{size / w:.0f} ({size / c:.0f})" for w, c in ((wall0, cpu0), (wall1, cpu1))]
            ratio = f"{wall0 / wall1:.2f} ({cpu0 / cpu1:.2f})"
            print(f"{path.name:28}{size:7.1f}{speeds[0]:>16}{speeds[1]:>16}{ratio:>16}", flush=True)


if __name__ == "__main__":
    main()
