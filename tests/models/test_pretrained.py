from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from ecd_data import open_store
from ecd_data.crystal import ATOMIC_NUMBERS
from ecd_data.errors import UsageError
from ecd_models import evaluate, load_model, predict
from ecd_models.checkpoint import load_checkpoint
from ecd_models.weights.catalogue import PRETRAINED, shipped_checkpoints
from tests.models.test_atoms import cell

SHIPPED = list(shipped_checkpoints().values())


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_each_shipped_checkpoint_has_a_card_with_its_hash(path):
    card = path.with_suffix(".md").read_text()
    assert hashlib.sha256(path.read_bytes()).hexdigest() in card
    assert str(path) not in json.dumps(load_checkpoint(path).metadata)


def test_shipped_checkpoints_are_small():
    assert max(path.stat().st_size for path in SHIPPED) < 5_000_000
    assert sum(path.stat().st_size for path in SHIPPED) < 7_000_000


def test_the_default_has_the_error_that_its_card_states():
    card = (PRETRAINED / "fourier_density.md").read_text()
    result = evaluate(load_model(), "pbe", part="test_geometries", limit=3)
    again = evaluate(load_model("fourier_density"), "pbe", part="test_geometries", limit=3)
    assert result.errors == again.errors
    stated = re.search(r"unseen geometries: 15 crystals \| ([\d.]+) %", card)
    assert stated is not None
    assert result.summary.mean_percent < 2 * float(stated[1])
    assert result.atom_summary is not None
    assert result.summary.mean_percent < result.atom_summary.mean_percent


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_no_header_names_a_folder_of_the_machine_that_trained_the_model(path):
    out = load_checkpoint(path).metadata["config"]["out"]
    assert not Path(out).is_absolute()


def test_an_element_that_it_never_saw_is_named():
    model = load_model("charge3net-sample")
    assert "Xe" in predict(model, cell(0, (54, 9)), shape=(8, 8, 8)).meta["never_seen"]
    with pytest.raises(UsageError, match="Ce"):  # there is no pseudopotential of it, so no free atom
        predict(model, cell(0, (58, 9)), shape=(8, 8, 8))


def test_the_pair_model_has_exact_electrons_and_knows_compounds_that_it_never_saw():
    model = load_model("pair_density")
    result = evaluate(model, "pbe", part="test_compositions", limit=3)
    assert result.atom_summary is not None
    assert result.summary.mean_percent < 0.5 * result.atom_summary.mean_percent
    assert set((result.seen or {}).values()) == {"unseen"}
    store = open_store("pbe")
    for id in list(result.errors)[:2]:
        rho = predict(model, store[id].crystal, like=store[id])
        assert rho.nelect == pytest.approx(round(store[id].nelect), abs=1e-8)
        assert rho.values.min() > -0.1
    rare = next(symbol for symbol in model.atoms.elements if not model.training_valences.saw(symbol))
    flagged = predict(model, cell(0, (ATOMIC_NUMBERS[rare], 9)), shape=(8, 8, 8)).meta["never_seen"]
    assert rare in flagged


def test_the_model_in_fourier_space_has_the_error_that_its_card_states():
    model = load_model("fourier_density")
    card = (PRETRAINED / "fourier_density.md").read_text()
    stated = re.search(r"unseen geometries: 15 crystals \| ([\d.]+) %", card)
    assert stated is not None
    result = evaluate(model, "pbe", part="test_geometries")
    assert result.summary.mean_percent == pytest.approx(float(stated[1]), abs=0.002)
    assert set((result.seen or {}).values()) == {"composition"}
    store = open_store("pbe")
    id = next(iter(result.errors))
    assert predict(model, store[id].crystal, like=store[id]).nelect == pytest.approx(round(store[id].nelect), abs=1e-4)
