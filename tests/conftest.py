"""What many tests start from: where the shared reference files are, and small densities with known properties."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from ecd_data import Crystal, Density, convert, open_store, write
from tests.servers import s3, served  # noqa: F401

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a job in the background: what is tested gets its Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)

if not Path("/dev/nvidiactl").exists():  # before anything imports Triton: its interpreter stands in for a GPU
    os.environ.setdefault("TRITON_INTERPRET", "1")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared reference files; the test is skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the shared reference files (../shared) are not here")
    return SHARED


SMALL_STORE_IDS = "LiF_rs LiCl_rs NaF_rs NaCl_rs MgO_rs MgO_rs-d1".split()


@pytest.fixture(scope="session")
def small_store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of a store made of CHGCARs, as a user has them: six crystals of the sample on small grids."""
    folder = tmp_path_factory.mktemp("mine")
    for id in SMALL_STORE_IDS:
        write(folder / f"{id}_CHGCAR", open_store("pbe")[id].resample((16, 16, 16)))
    convert(folder, folder / "mine.ecd")
    return str(folder / "mine.ecd")


def smooth_density(
    shape: tuple[int, int, int] = (12, 10, 15), seed: int = 0, spin: bool = False, **options: object
) -> Density:
    """A positive random trigonometric polynomial of low order in a triclinic cell with three atoms."""
    rng = np.random.default_rng(seed)
    lattice = np.array([[4.1, 0.2, -0.1], [0.3, 3.7, 0.4], [-0.2, 0.5, 5.2]])
    crystal = Crystal(lattice, np.array([12, 8, 8]), rng.random((3, 3)))
    x = np.stack(np.meshgrid(*(np.arange(n) / n for n in shape), indexing="ij"), axis=-1)

    def field(scale: float) -> np.ndarray:
        waves = [(rng.integers(-3, 4, size=3), rng.random(), rng.normal()) for _ in range(12)]
        return scale * sum(a * np.cos(2 * np.pi * (x @ k + p)) for k, p, a in waves)

    values = field(0.1)
    values += 0.2 - values.min()
    return Density(crystal, values, field(0.02) if spin else None, **options)  # type: ignore[arg-type]
