"""Folders of CHGCARs to convert, and what a store holds of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecd_data import Store, write
from tests.conftest import smooth_density

IDS = ["MgO", "NaCl", "mp-1", "mp-2"]


@pytest.fixture
def files(tmp_path) -> Path:
    """A folder of CHGCARs as people have them."""
    root = tmp_path / "runs"
    for i, name in enumerate(["MgO/CHGCAR", "deep/er/NaCl/CHGCAR.gz", "CHGCAR_mp-1.vasp", "mp-2.CHGCAR.xz"]):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        write(
            root / name, smooth_density((6, 5, 4), seed=i, augmentation=("\naugmentation occupancies 1 2\n 0.1 0.2\n",))
        )
    (root / "MgO" / "OUTCAR").write_text("not a density")
    return root


def contents(path: Path) -> dict[str, tuple]:
    store = Store(path)
    return {id: (store.row(id)["sha256"], store.row(id)["source_sha256"]) for id in sorted(store)}


@pytest.fixture
def many(tmp_path) -> Path:
    """A folder of 24 small CHGCARs."""
    (tmp_path / "many").mkdir()
    for i in range(24):
        write(tmp_path / "many" / f"{i:02d}_CHGCAR", smooth_density((8, 9, 7), seed=i))
    return tmp_path / "many"


def bytes_of(path: Path) -> dict[str, bytes]:
    """Every file that readers of a store see."""
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file() and p.suffix != ".jsonl"}
