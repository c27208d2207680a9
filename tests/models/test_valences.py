"""What a checkpoint knows of the electrons of its training data, and what a prediction is compared with."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import shutil

import numpy as np
import pytest
import torch

from ecd_data import Crystal, Density, check, open_store, write
from ecd_data.errors import EcdError, FormatError, UsageError
from ecd_data.formats import read_run
from ecd_data.store import StoreWriter
from ecd_models import load_model, predict, train
from ecd_models.atoms.valences import (
    TrainingValences,
    find_exact_valences,
    merge_valences,
    parse_zval,
    read_training_valences,
)
from ecd_models.checkpoint import load_checkpoint, save_checkpoint
from ecd_models.checkpoint_header import read_header, write_header
from ecd_models.evaluation.crystal_result import evaluate_crystal
from ecd_models.model import DensityModel
from ecd_models.networks import build_model
from ecd_models.prediction.density_files import GridRule, predict_files
from ecd_models.task_data import task_data
from ecd_models.training.trained_on import TrainedOn
from ecd_models.weights.catalogue import PRETRAINED, shipped_checkpoints
from tests.models.conftest import SMALL

POTENTIAL = (
    "  PAW_PBE {0} 06Sep2000\n   TITEL  = PAW_PBE {0} 06Sep2000\n   POMASS = 1; ZVAL   = {1:8.3f} mass and valenz\n"
)


def cubic(*symbols: str) -> Crystal:
    from ecd_data.crystal import ATOMIC_NUMBERS

    places = np.array([[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])[: len(symbols)]
    return Crystal(np.eye(3) * 4.2, np.array([ATOMIC_NUMBERS[s] for s in symbols]), places)


def uniform(crystal: Crystal, nelect: float, **meta: object) -> Density:
    return Density(crystal, np.full((6, 6, 6), nelect / crystal.volume), meta=meta)


@pytest.fixture(scope="module")
def model() -> DensityModel:
    return load_model("charge3net-sample")


@pytest.mark.parametrize("path", shipped_checkpoints().values(), ids=lambda path: path.stem)
def test_each_shipped_checkpoint_says_what_it_learned(path):
    learned = load_checkpoint(path).model.training_valences
    assert {"Fe": 16, "Na": 9, "Al": 3, "Cu": 19}.items() <= dict(learned.valences).items()
    assert learned.undetermined == ()
    assert (learned.engine, learned.method, learned.functional) == (
        "Quantum ESPRESSO",
        "pseudopotentials",
        "PBE",
    )


def test_only_what_the_crystals_tell_exactly_is_known():
    li, o, na, cl = 3, 8, 11, 17
    assert find_exact_valences([([li, li, o], 8.0), ([li, o, o], 13.0), ([na, cl], 8.0)]) == (
        {"Li": 1.0, "O": 6.0},
        ("Na", "Cl"),  # 1 + 7 and 9 - 1 are as good
    )
    assert find_exact_valences([([li], 1.0), ([li, o], 7.0), ([li, o], 13.0)])[1] == ("Li", "O")
    assert find_exact_valences([([li], 1.0), ([li, o], float("nan"))]) == ({"Li": 1.0}, ("O",))
    assert find_exact_valences([([li], 1.4)]) == ({}, ("Li",))
    assert find_exact_valences([]) == ({}, ())


def test_what_some_densities_do_not_say_is_not_known(tmp_path):
    silent, said = uniform(cubic("Li"), 1.0), {"settings": {"potcar": ["PAW_PBE Li"]}, "functional": "PBE"}
    with StoreWriter(tmp_path / "some.ecd") as writer:
        writer.add("silent", silent)
        writer.add("said", uniform(cubic("Li"), 1.0, **said))
    store = open_store(tmp_path / "some.ecd")
    for ids, due in ((["silent"], ("", "")), (["silent", "said"], ("", "PBE")), (["said"], ("PAW", "PBE"))):
        found = read_training_valences(store, ids)
        assert (found.method, found.functional) == due


def test_training_records_them_and_going_on_with_other_data_voids_them(config):
    model = train(dataclasses.replace(config, steps=1, validate_every=1)).model
    assert model.training_valences is not None
    assert model.training_valences.engine == "Quantum ESPRESSO"
    assert model.training_valences.valences or model.training_valences.undetermined
    old, new = TrainingValences({"Fe": 16.0, "O": 6.0}, engine="QE"), TrainingValences({"Fe": 8.0}, engine="QE")
    training_valences, warning = merge_valences(old, new)
    assert dict(training_valences.valences) == {"Fe": 8.0}
    assert "Fe 16 instead of 8" in warning
    merged, _ = merge_valences(old, TrainingValences({"Na": 9.0}, engine="QE"))
    assert merged.valences == {
        "Fe": 16.0,
        "O": 6.0,
        "Na": 9.0,
    }
    assert merge_valences(old, TrainingValences({"O": 6.0}, engine="VASP"))[1] is not None


def test_a_part_of_the_training_crystals_teaches_their_elements_only(config):
    result = train(dataclasses.replace(config, steps=1, validate_every=1, fraction=0.01))
    learned, record = result.model.training_valences, TrainedOn.from_metadata(load_checkpoint(result.best).metadata)
    assert record is not None
    assert len(record.ids) == 1
    elements = set(re.findall("[A-Z][a-z]?", "".join(record.formulas)))
    assert {*learned.valences, *learned.undetermined} == elements
    assert len(elements) < len(set(task_data("pbe", config.data_dir).store.index["elements"].explode()))


def test_a_header_is_replaced_and_the_weights_stay(tmp_path):
    path = tmp_path / "m.safetensors"
    shutil.copy(PRETRAINED / "charge3net-sample.safetensors", path)

    def weights() -> str:
        data = path.read_bytes()
        return hashlib.sha256(data[8 + int.from_bytes(data[:8], "little") :]).hexdigest()

    before = weights()
    write_header(path, {"note": "x" * 37})
    assert weights() == before
    assert read_header(path)["note"] == "x" * 37
    bare = DensityModel(build_model("charge3net", **SMALL))
    save_checkpoint(path, bare)
    assert load_model(path).training_valences is None
    write_header(path, {"learned": '{"valences": {"Fe": "many"}, "undetermined": []}'})
    with pytest.raises(FormatError, match="another version"):
        load_model(path)


@pytest.mark.parametrize(
    ("symbols", "nelect"), [(["Fe"], 8.0), (["Na", "Cl"], 8.0), (["Cu", "O"], 17.0), (["Al"], 4.0), (["Mg", "O"], 15.0)]
)
def test_a_reference_of_other_valences_is_refused_unless_allowed(model, caplog, symbols, nelect):
    like = uniform(cubic(*symbols), nelect)
    with pytest.raises(UsageError, match=f"{nelect:.2f} electrons .*--allow-valence-mismatch"):
        predict(model, like.crystal, like=like)
    rho = predict(model, like.crystal, like=like, allow_valence_mismatch=True)
    assert rho.shape == like.shape
    assert "is no density of these potentials" in caplog.text


def test_a_reference_of_the_same_valences_is_taken(model):
    crystal = cubic("Na", "Cl")
    assert predict(model, crystal, like=uniform(crystal, 16.0)).shape == (6, 6, 6)
    assert predict(model, crystal, shape=(4, 4, 4), valences={"Na": 9, "Cl": 7, "Xe": 8}).shape == (4, 4, 4)
    with pytest.raises(UsageError, match="Na 1 instead of 9"):
        predict(model, crystal, shape=(4, 4, 4), valences={"Na": 1, "Cl": 7})
    with pytest.raises(UsageError, match="no valence of Cl"):
        predict(model, crystal, shape=(4, 4, 4), valences={"Na": 9})
    with pytest.raises(UsageError, match="Na 1 and 9 instead of 9"):  # two potentials that make up for one another
        predict_files(model, [], "x", GridRule(like=_with_potcar(crystal, 16.0)))


def _with_potcar(crystal: Crystal, nelect: float) -> Density:
    titles = ["PAW_PBE Na 08Apr2002", "PAW_PBE Na_sv 28Sep2000", "PAW_PBE Cl 06Sep2000"]
    return uniform(crystal, nelect, settings={"potcar": titles, "zval": [1.0, 9.0, 7.0]})


def test_references_of_other_codes_are_refused(model, shared, tmp_path):
    for name in ("pyiron_spin.CHGCAR.gz", "NaMgF3_CHG.CHG.gz", "mv_NiO_SOC.CHGCAR.gz"):
        file = shared / "real" / name
        with pytest.raises(UsageError, match="electrons for"):
            predict_files(model, [file], tmp_path / "CHGCAR", GridRule(like=read_run(file)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("beside", ["structure", "output", "given"])
def test_a_potcar_is_compared_element_by_element(model, tmp_path, beside):
    crystal = cubic("Mg", "O")
    for folder in ("in", "out"):
        (tmp_path / folder).mkdir()
    source, target = tmp_path / "in/POSCAR", tmp_path / "out/CHGCAR"
    crystal.to_pymatgen().to(str(source), fmt="poscar")
    potcar = {"structure": source, "output": target, "given": tmp_path / "x"}[beside].with_name("POTCAR")
    potcar.write_text(POTENTIAL.format("Mg", 2.0) + POTENTIAL.format("O", 6.0))
    from ecd_models.prediction.reference_electrons import read_potcar_valences

    given = {"valences": read_potcar_valences(potcar)} if beside == "given" else {}
    with pytest.raises(UsageError, match="Mg 2 instead of 10"):
        predict_files(model, [source], target, GridRule(shape=(8, 8, 8)), **given)
    predict_files(model, [source], target, GridRule(shape=(8, 8, 8)), allow_valence_mismatch=True, **given)
    if beside == "output":
        report = check(read_run(target))
        assert "electron-count" in [problem.name for problem in report.problems]
    potcar.write_text(POTENTIAL.format("Mg_sv", 10.0) + POTENTIAL.format("O_h", 6.0))
    given = {"valences": read_potcar_valences(potcar)} if beside == "given" else {}
    predict_files(model, [source], target, GridRule(shape=(8, 8, 8)), **given)


def test_valences_in_words():
    assert parse_zval(["Fe=8", "H=1.33"]) == {"Fe": {8.0}, "H": {1.33}}
    for wrong in ("Fe", "Fe=", "Qq=3", "Fe=-1", "Fe=nan", "8=Fe"):
        with pytest.raises(UsageError, match="is no valence"):
            parse_zval([wrong])


def test_a_checkpoint_without_valences_says_so_once(caplog):
    torch.manual_seed(0)
    bare = DensityModel(build_model("charge3net", **SMALL), name="bare")
    for _ in range(3):
        predict(bare, cubic("Fe"), like=uniform(cubic("Fe"), 8.0))
    assert caplog.text.count("bare has no record of how many electrons") == 1


def test_an_element_never_seen_is_told(caplog):
    bare = DensityModel(
        build_model("charge3net", **SMALL), name="bare", training_valences=TrainingValences({"Fe": 8.0})
    )
    predict(bare, cubic("Fe", "Xe"), points=np.zeros((1, 3)))
    assert "bare never saw Xe" in caplog.text


class Constant(torch.nn.Module):
    """A network that gives one value everywhere."""

    def __init__(self, value: float):
        super().__init__()
        self.value, self.cutoff = torch.nn.Parameter(torch.tensor(value)), 3.0

    def encode(self, batch):
        return None

    def decode(self, atoms, batch):
        return self.value.expand(batch.n_probes)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e3])
@pytest.mark.parametrize("training_valences", [None, TrainingValences({"Si": 4.0})])
def test_impossible_electron_counts_are_refused(tmp_path, value, training_valences, caplog):
    network = Constant(value)
    network.config = SMALL
    model = DensityModel(network, training_valences=training_valences)
    write(tmp_path / "Si_CHGCAR", uniform(cubic("Si"), 4.0))
    with pytest.raises(EcdError, match="no density is given"):
        predict_files(model, [tmp_path / "Si_CHGCAR"], tmp_path / "out_CHGCAR", GridRule(shape=(6, 6, 6)))
    assert not (tmp_path / "out_CHGCAR").exists()
    assert not predict(model, cubic("Si"), shape=(6, 6, 6), refuse=False).nelect > 0 or np.isinf(value)
    if training_valences is None and np.isfinite(value):  # random weights are no fault if no count is due
        predict(model, cubic("Si"), shape=(6, 6, 6))
        assert "do not use this density" in caplog.text
        return
    with pytest.raises(EcdError, match="no density is given"):
        predict(model, cubic("Si"), shape=(6, 6, 6))
    if not np.isfinite(value):
        with pytest.raises(EcdError, match="not numbers"):
            predict(model, cubic("Si"), points=np.full((1, 3), 0.3))


def test_references_of_other_electrons_have_no_error(model, tmp_path):
    """An error against densities of other potentials would say nothing of the model."""
    writer = StoreWriter(tmp_path / "mixed.ecd")
    crystal = cubic("Mg", "O")
    with writer:
        writer.add("own", uniform(crystal, 16))
        writer.add("VASP", uniform(crystal, 8))
    store = open_store(tmp_path / "mixed.ecd")
    assert evaluate_crystal(model, store, "own").electrons == pytest.approx(16)
    with pytest.raises(EcdError, match=r"8\.00 electrons where the valences that .* learned make 16"):
        evaluate_crystal(model, store, "VASP")


def test_a_chgcar_that_gives_the_structure_is_compared(model, tmp_path):
    write(tmp_path / "MgO_CHGCAR", uniform(cubic("Mg", "O"), 8))
    with pytest.raises(UsageError, match=r"8\.00 electrons for MgO"):
        predict_files(model, [tmp_path / "MgO_CHGCAR"], tmp_path / "out_CHGCAR", GridRule(shape=(6, 6, 6)))
    assert not (tmp_path / "out_CHGCAR").exists()
