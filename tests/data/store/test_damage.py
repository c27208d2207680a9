"""Damaged parts and indices: each error names the material and the remedy."""

from __future__ import annotations

import io

import numpy as np
import pytest

from ecd_data import Store
from ecd_data.errors import StoreError
from ecd_data.store import StoreWriter
from tests.data.store.conftest import one_sentence, part_of

DAMAGE = {
    "missing": (lambda part: part.unlink(), "missing"),
    "cut": (lambda part: part.write_bytes(part.read_bytes()[:900]), "cut or altered"),
    "empty": (lambda part: part.write_bytes(b""), "cut or altered"),
    "other": (lambda part: part.write_bytes(bytes(part.stat().st_size)), "cut or altered"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_parts_are_named_with_the_material_and_the_remedy(path, kind):
    damage, word = DAMAGE[kind]
    part = part_of(path)
    damage(part)
    with pytest.raises(StoreError) as error:
        Store(path)["Si_diamond"]
    one_sentence(error, "Si_diamond", part, word, "restore it or convert")


def test_any_altered_byte_of_a_crystal_is_noticed(path):
    part, row = part_of(path), Store(path).row("NaCl_rs")
    good = part.read_bytes()
    for place in np.linspace(row["offset"], row["offset"] + row["length"] - 1, 60).astype(int):
        part.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        with pytest.raises(StoreError, match="cut or altered"):
            Store(path)["NaCl_rs"]
        Store(path)["MgO_rs"]


def test_a_damaged_index_is_named_with_the_remedy(path):
    index = path / "index.parquet"
    good = index.read_bytes()
    frame = io.BytesIO()
    Store(path).index.drop(columns="sha256").to_parquet(frame)
    for bad in (b"", b"junk", good[: len(good) // 2], good[:-9] + b"\0" * 9, frame.getvalue()):
        index.write_bytes(bad)
        for action in (lambda: Store(path).ids, lambda: StoreWriter(path)):
            with pytest.raises(StoreError) as error:
                action()
            one_sentence(error, index, "restore it, or remove it")
    assert index.read_bytes() == bad


def test_a_lost_index_is_made_again_from_the_parts(path, caplog):
    before = Store(path).index
    (path / "index.parquet").unlink()
    with StoreWriter(path) as writer:
        assert len(writer) == 3
    after = Store(path).index
    assert "made again" in caplog.text
    assert after["nelect"].tolist() == pytest.approx(before["nelect"].tolist(), rel=1e-13)
    for column in set(before.columns) - {"lattice", "frac_coords", "numbers", "nelect"}:
        assert before[column].astype(str).tolist() == after[column].astype(str).tolist()
