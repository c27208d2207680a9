"""What the settings of a training promise: bounded passes, averages, rates, early ends, logs, spin, atoms."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ecd_data import Density, eps_mae, open_store
from ecd_data.errors import FormatError, MissingDependencyError, UsageError
from ecd_data.store.probes.draw import ProbeReader
from ecd_data.work.recent_cache import RecentCache
from ecd_models import load_model, predict, train
from ecd_models.atoms.electron_count import count_electrons, fit_valences
from ecd_models.atoms.from_pseudopotentials import (
    EXPONENTS,
    fit_gaussians,
    read_atomic_charge,
    read_pseudopotential_atoms,
)
from ecd_models.batch import split_into_passes
from ecd_models.checkpoint import export_published, load_checkpoint
from ecd_models.model import DensityModel
from ecd_models.networks import MODELS, build_model
from ecd_models.networks.published import PUBLISHED
from ecd_models.task_data import task_data
from ecd_models.training import choose_atoms, loop
from ecd_models.training.choose_atoms import MAX_FULL_FIT, choose_fit_crystals
from ecd_models.training.config import TrainConfig, load_config
from ecd_models.training.distributed import Processes
from ecd_models.training.learning_rate import learning_rate
from ecd_models.training.probe_batches import ProbeDataset, subset
from ecd_models.training.train_step import Trainer
from tests.conftest import smooth_density
from tests.models.conftest import SMALL


def last(config: TrainConfig) -> dict[str, torch.Tensor]:
    return load_model(Path(config.out) / "last.safetensors").state_dict()


def assert_close(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], tolerance: float) -> None:
    for name, value in one.items():
        assert (other[name] - value).abs().max() <= tolerance * max(1e-3, float(value.abs().max())), name


def rows(config: TrainConfig) -> list[list[str]]:
    return [line.split(",") for line in (Path(config.out) / "log.csv").read_text().splitlines()]


@pytest.fixture
def brief(config: TrainConfig) -> TrainConfig:
    return replace(config, steps=4, validate_every=2, validation_crystals=2)


def test_bounded_and_accumulated_passes_change_nothing(brief):
    whole = replace(brief, batch_size=4, out=brief.out + "-whole")
    cut = replace(whole, max_edges=300, out=brief.out + "-cut")
    summed = replace(brief, accumulate=2, out=brief.out + "-summed")
    for config in (whole, cut, summed):
        train(config)
    assert_close(last(whole), last(cut), 1e-4)
    assert_close(last(whole), last(summed), 1e-4)


def test_passes_keep_the_bounds_and_the_order():
    data = ProbeDataset(ProbeReader("nowhere", lambda id: smooth_density(seed=int(id))), cutoff=3.0, probes=20, seed=0)
    items = [data[0, str(k)] for k in range(7)]
    bound = 2 * max(item.n_edges for item in items)
    batches = split_into_passes(items, crystals=3, max_edges=bound)
    assert all(batch.n_edges <= bound and batch.n_crystals <= 3 for batch in batches)
    assert torch.equal(torch.cat([b.target for b in batches]), torch.cat([item.target for item in items]))
    assert [batch.n_crystals for batch in split_into_passes(items, crystals=3)] == [3, 3, 1]
    assert [batch.n_crystals for batch in split_into_passes(items, crystals=3, max_edges=1)] == [1] * 7


def test_rates():
    base = TrainConfig(out="x", lr=1.0, steps=110, warmup_steps=10)
    cosine, plateau = replace(base, schedule="cosine"), replace(base, schedule="plateau", lr_decay=0.5)
    for config in (base, cosine, plateau):
        warm = [learning_rate(config, step) for step in range(11)]
        assert np.allclose(np.diff(warm), 1 / 11, atol=1e-4)
    assert learning_rate(base, 10 + 3000) == pytest.approx(0.96)
    assert learning_rate(cosine, 60) == pytest.approx(0.5)
    assert learning_rate(cosine, 110) == pytest.approx(0, abs=1e-12)
    assert learning_rate(plateau, 50, reductions=2) == 0.25
    assert learning_rate(replace(base, schedule="constant"), 99) == 1.0


def test_the_average_lies_between_the_weights_and_is_what_is_kept(brief):
    averaged = replace(brief, ema=0.5)
    train(averaged)
    plain = replace(brief, out=brief.out + "-plain")
    train(plain)
    assert_close(last(averaged), last(plain), 0)
    best = load_checkpoint(Path(averaged.out) / "best.safetensors")
    state = load_checkpoint(Path(averaged.out) / "last.safetensors").state
    average = {name.removeprefix("average.module."): value for name, value in state.items() if "average.module" in name}
    assert best.metadata["step"] == 4
    assert_close(average, best.model.state_dict(), 0)
    assert any(not torch.equal(value, last(plain)[name]) for name, value in average.items())


def test_a_clipped_gradient_has_the_norm(config):
    torch.manual_seed(0)
    data = ProbeDataset(ProbeReader("nowhere", lambda id: smooth_density()), cutoff=4.0, probes=30, seed=0)
    model = DensityModel(build_model("charge3net", **SMALL))
    trainer = Trainer(model, replace(config, clip_norm=1e-6), Processes())
    trainer.step([data[0, "a"]], 1e-3)
    norm = math.sqrt(sum(float((p.grad**2).sum()) for p in model.parameters()))
    assert norm == pytest.approx(1e-6, rel=1e-2)


def test_a_run_that_gets_no_better_ends_early_and_stays_ended(config):
    config = replace(config, lr=1e-12, steps=40, validate_every=2, patience=2, schedule="plateau", lr_patience=1)
    train(replace(config, lr_decay=0.5))
    log = rows(config)
    assert len(log) < 15
    assert float(log[-1][1]) < float(log[1][1])
    train(replace(config, lr_decay=0.5))
    assert rows(config) == log


def test_a_continued_run_keeps_the_reductions_of_its_rate(config):
    config = replace(config, lr=1e-12, steps=6, validate_every=2, schedule="plateau", lr_patience=1, lr_decay=0.5)
    train(config)
    path = Path(config.out) / "last.safetensors"
    reductions = load_checkpoint(path).metadata["reductions"]
    assert reductions > 0
    longer = replace(config, start=str(path), continued=True, steps=8, out=config.out + "-longer")
    train(longer)
    assert float(rows(longer)[-1][1]) == pytest.approx(1e-12 * 0.5**reductions)


def test_tensorboard_has_the_figures_of_the_csv(brief, monkeypatch):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train(replace(brief, tensorboard=True))
    log = events.EventAccumulator(str(Path(brief.out) / "tensorboard")).Reload()
    logged = [(e.step, round(e.value, 3)) for e in log.Scalars("validation_error_percent")]
    assert logged == [(int(row[0]), pytest.approx(float(row[4]), abs=2e-3)) for row in rows(brief)[1:]]
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingDependencyError, match=r"ecd-data\[tensorboard\]"):
        train(replace(brief, out=brief.out + "-without", tensorboard=True))


@pytest.mark.parametrize("precision", ["bfloat16", pytest.param("float16", marks=pytest.mark.slow)])
def test_short_products_train_nearly_the_same_where_the_device_has_them(brief, precision, monkeypatch):
    full, short = replace(brief, out=brief.out + "-full"), replace(brief, precision=precision)
    try:
        train(short)
    except UsageError as error:
        pytest.skip(str(error))
    train(full)
    assert_close(last(full), last(short), 0.05)
    assert not torch.equal(last(full)["network.decoder.readout"], last(short)["network.decoder.readout"])
    monkeypatch.setattr(torch.ops.mkldnn, f"_is_mkldnn_{'bf' if precision == 'bfloat16' else 'fp'}16_supported", bool)
    with pytest.raises(UsageError, match=f"precision = '{precision}' is not available on this cpu: take float32"):
        train(replace(short, out=brief.out + "-refused"))


def test_memory_is_shared_by_the_processes_of_a_machine(config, monkeypatch):
    limits = []
    monkeypatch.setattr(loop, "RecentCache", lambda limit: limits.append(limit) or RecentCache(limit))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    train(replace(config, steps=1, workers=2, cache_mb=8))
    processes = Processes(0, 4, in_group=True)
    assert max(limits) == (8 << 20) // 2 // 2  # half for decoded densities, two workers
    assert processes.on_this_machine == 4
    assert Processes().on_this_machine == 1


def test_subsets_are_nested_and_drawn_by_seed():
    ids = [f"icsd-{k}" for k in range(200)]
    parts = [set(subset(ids, fraction, 1)) for fraction in (0, 0.25, 0.5, 0.75, 1)]
    assert [len(part) for part in parts] == [0, 50, 100, 150, 200]
    assert all(a < b for a, b in itertools.pairwise(parts))
    assert set(subset(ids, 0.25, 2)) != parts[1]


def test_valences_follow_from_the_crystals_where_they_can():
    nacl, na2o, o2, fixed = ([11, 17], 16.0), ([11, 11, 8], 24.0), ([8, 8], 12.0), ([20, 9, 9], 24.0)
    known = [(np.array(numbers), electrons) for numbers, electrons in (nacl, na2o, o2, fixed)]
    valences = fit_valences(known)
    assert [valences[z] for z in (8, 11, 17)] == [6, 9, 7]
    assert np.isnan(valences[[9, 20, 1]]).all()
    crystal = smooth_density().crystal
    with pytest.raises(UsageError, match="Mg"):
        count_electrons(crystal, valences)
    with pytest.raises(UsageError, match="exact_nelect = false"):
        fit_valences([*known, (np.array([8, 8]), 13.0)])


def test_a_model_that_knows_the_electrons_predicts_them(brief):
    model = train(
        replace(brief, data_dir="", exact_nelect=True, difference=True, steps=1, batch_size=1, validation_crystals=1)
    ).model
    rho: Density = open_store("pbe")["MgO_rs"]
    again = load_model(Path(brief.out) / "last.safetensors")
    assert model.nelect(rho.crystal) == again.nelect(rho.crystal) == pytest.approx(rho.nelect, abs=1e-6)
    assert predict(model, rho.crystal, shape=(8, 8, 8)).nelect == pytest.approx(rho.nelect, rel=1e-9)


def test_electrons_that_cannot_be_known_are_told_before_the_work(brief):
    with pytest.raises(UsageError, match="do not tell how many electrons"):
        train(replace(brief, task="hse", data_dir="", exact_nelect=True))


def upf(folder: Path, symbol: str, electrons: float, exponent: float) -> None:
    """A file with the tables that are read, of a Gaussian atom; lengths in bohr."""
    r = np.linspace(0, 8, 1601)
    charge = electrons * 4 * np.pi * r**2 * (exponent / np.pi) ** 1.5 * np.exp(-exponent * r**2)
    tables = {"PP_R": r, "PP_RAB": np.full_like(r, r[1]), "PP_RHOATOM": charge}
    body = "\n".join(f'<{k} size="1601">\n{" ".join(map(repr, v.tolist()))}\n</{k}>' for k, v in tables.items())
    (folder / f"{symbol}.upf").write_text(f'<UPF version="2.0.1">\n{body}\n</UPF>')


def test_atoms_of_pseudopotentials_are_theirs(tmp_path):
    for symbol, electrons, exponent in (("Mg", 2.0, 0.5), ("O", 6.0, 0.9)):
        upf(tmp_path, symbol, electrons, exponent)
    atoms = read_pseudopotential_atoms(tmp_path)
    assert atoms.elements == ["O", "Mg"]
    r, weights, charge = read_atomic_charge(tmp_path / "O.upf")
    gaussians = atoms.coefficients[8] * (atoms.exponents / np.pi) ** 1.5
    fitted = 4 * np.pi * r**2 * (np.exp(-np.outer(r**2, atoms.exponents)) @ gaussians)
    assert (weights * np.abs(fitted - charge)).sum() < 0.01 * 6
    crystal = smooth_density().crystal
    shown = replace(smooth_density(), crystal=type(crystal)(crystal.lattice, [12, 8, 8], crystal.frac_coords)).crystal
    assert atoms(shown, (20, 20, 24)).nelect == pytest.approx(14, abs=1e-4)
    with pytest.raises(UsageError, match="no pseudopotentials"):
        read_pseudopotential_atoms(tmp_path / "nothing")


def test_gaussians_follow_the_hole_of_a_pseudopotential_at_the_nucleus():
    r = np.linspace(0, 6, 2001)
    weights = np.full(len(r), r[1])
    for exponent in (2.0, 6.0, 12.0):  # 1/Å^2; arsenic's 3d shell is about the sharpest of these
        rho = r**2 * np.exp(-exponent * r**2)
        rho *= 10 / (weights @ (4 * np.pi * r**2 * rho))
        coefficients = fit_gaussians(r, weights, 4 * np.pi * r**2 * rho)
        assert coefficients.sum() == pytest.approx(10, abs=1e-6)
        found = np.exp(-np.outer(r**2, EXPONENTS)) @ (coefficients * (EXPONENTS / np.pi) ** 1.5)
        assert abs(found - rho).max() < 0.01 * rho.max()


def test_any_source_of_atoms_and_any_model_learns_the_difference(brief, small_root, tmp_path):
    store = open_store(small_root / "pbe.ecd")
    for symbol in {symbol for id in store.ids for symbol in store[id].crystal.symbols}:
        upf(tmp_path, symbol, 4.0, 0.8)
    rho = store[store.ids[0]]
    errors = []
    for k, atoms in enumerate((str(small_root / "pbe.ecd"), str(tmp_path))):
        config = replace(brief, out=f"{brief.out}-{k}", difference=True, atoms=atoms, model="deepdft")
        model = train(replace(config, options={"hidden_state_size": 8, "num_interactions": 1}, steps=2)).model
        errors.append(eps_mae(model.atoms(rho.crystal, rho.shape), rho))
    assert errors[0] < errors[1]
    with pytest.raises(UsageError, match="nor a task"):
        train(replace(brief, difference=True, atoms="nothing"))


def test_atoms_are_fitted_on_crystals_that_show_every_element():
    ids = [f"id{k}" for k in range(3 * MAX_FULL_FIT)]
    elements = {id: ["O", "Fe"] if k % 50 else ["O", "Yb"] for k, id in enumerate(ids)}
    chosen = choose_fit_crystals(elements, ids, seed=0)
    assert len(chosen) < 200
    assert sum("Yb" in elements[id] for id in chosen) == 30
    assert choose_fit_crystals(elements, ids[:50], seed=0) == ids[:50]


def test_files_and_settings_override(tmp_path):
    (tmp_path / "a.toml").write_text("out = 'runs/{model}'\nlr = 0.1\n[options]\nmul = 8\n")
    (tmp_path / "b.toml").write_text("lr = 0.2\n[options]\nlmax = 1\n")
    (tmp_path / "c.toml").write_text("model = 'deepdft'\n")
    a, b, c = (tmp_path / f"{name}.toml" for name in "abc")
    config = load_config(a, b, settings=["steps=7", "options.mul=9", "task=pbe", "tensorboard=true"])
    assert (config.out, config.lr, config.steps, config.task, config.tensorboard) == (
        "runs/charge3net",
        0.2,
        7,
        "pbe",
        True,
    )
    assert config.options == {"mul": 9, "lmax": 1}
    assert load_config(a, c).options == {}
    with pytest.raises(UsageError, match="write key=value"):
        load_config(a, settings=["steps"])


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"fraction": 1.5}, "fraction"),
        ({"fraction": 0.0}, "trains on nothing"),
        ({"continued": True}, "name it as start"),
        ({"atoms": "nonsense"}, "difference = true"),
        ({"atoms": "pair_density", "difference": False}, "difference = true"),
        ({"ema": 1.0}, "ema"),
        ({"schedule": "linear"}, "exponential, cosine"),
        ({"precision": "float8"}, "bfloat16"),
        ({"clip_norm": -1.0}, "clip_norm"),
    ],
)
def test_impossible_settings_are_refused(wrong, word):
    with pytest.raises(UsageError, match=word):
        TrainConfig(out="x", **wrong)


@pytest.mark.parametrize("model", ["charge3net", "deepdft"])
def test_a_published_run_goes_on_with_its_optimiser(brief, tmp_path, model):
    sizes = SMALL | {"cutoff": 4.0} if model == "charge3net" else {"hidden_state_size": 8, "num_interactions": 1}
    brief = replace(brief, model=model, options=sizes)
    ours = train(brief)
    _, metadata, state = load_checkpoint(Path(brief.out) / "last.safetensors")
    network = load_model(Path(brief.out) / "last.safetensors").network
    export_published(network, tmp_path / "weights.pt")
    theirs = torch.load(tmp_path / "weights.pt", weights_only=True)["model"]
    published = next(p for p in PUBLISHED if type(network) is p.cls)
    trained = [key for key in theirs if key in published.shapes(network.config) and ".basis." not in key]
    moments: dict[int, dict] = {k: {"step": torch.tensor(4.0)} for k in range(len(trained))}
    for name in ("exp_avg", "exp_avg_sq"):
        own = dict(network.state_dict())
        own |= {key: state[f"optimizer.{k}.{name}"] for k, (key, _) in enumerate(network.named_parameters())}
        written = published.write(own, network.config)
        for k, key in enumerate(trained):
            moments[k][name] = written[key]
    content = {"model": theirs, "optimizer": {"state": moments, "param_groups": []}, "step": metadata["step"]}
    torch.save(content, tmp_path / "run.pt")
    longer = replace(brief, steps=6, validate_every=6)
    files = tmp_path / "run.pt", Path(brief.out) / "last.safetensors"
    runs = [replace(longer, start=str(f), continued=True, out=f"{brief.out}-{k}") for k, f in enumerate(files)]
    for run in runs:
        assert train(run).model.network.config == ours.model.network.config
    assert_close(last(runs[0]), last(runs[1]), 0)
    with pytest.raises(FormatError, match="continued = false"):
        train(replace(runs[0], start=str(tmp_path / "weights.pt"), out=brief.out + "-weights"))
    with pytest.raises(UsageError, match="does not say how often schedule = 'plateau' has reduced"):
        train(replace(runs[0], schedule="plateau", out=brief.out + "-plateau"))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"exact_nelect": True}, "does not scale its densities .* set exact_nelect = false"),
        ({"atoms": "pair_density"}, "not those of atoms = 'pair_density': leave atoms out"),
        ({"atoms": "pseudopotentials"}, "not those of atoms = 'pseudopotentials': leave atoms out"),
    ],
)
def test_settings_that_a_start_would_not_follow_are_refused(brief, other, message):
    brief = replace(brief, difference=True, steps=1, validate_every=1, batch_size=1)
    start = str(train(brief).best)
    later = replace(brief, start=start, out=brief.out + "-later")
    with pytest.raises(UsageError, match=message):
        train(replace(later, **other))
    assert train(later).model.valences is None


def test_atoms_are_fitted_on_the_share_that_trains(brief, monkeypatch):
    """With all training crystals a learning curve would have seen more densities than it says."""
    fitted = []

    def fit(densities, before=choose_atoms.fit_superposed_atoms):
        fitted.append(list(densities))
        return before(fitted[-1])

    monkeypatch.setattr(choose_atoms, "fit_superposed_atoms", fit)
    brief = replace(brief, difference=True, steps=1, validate_every=1, batch_size=1)
    for fraction in (1.0, 0.5):
        train(replace(brief, fraction=fraction, out=f"{brief.out}-{fraction}"))
    data = task_data(brief.task, brief.data_dir)
    assert [len(each) for each in fitted] == [len(subset(data.ids("train"), f, brief.seed)) for f in (1.0, 0.5)]
    assert len(fitted[1]) < len(fitted[0])


def test_a_start_that_adds_to_the_pair_model_goes_on_with_it(brief):
    """The setting may stay in the files of both runs."""
    brief = replace(brief, difference=True, atoms="pair_density", steps=1, validate_every=1, batch_size=1)
    later = replace(brief, start=str(train(brief).best), out=brief.out + "-later")
    assert train(later).model.atoms.key == load_model(later.start).atoms.key


def test_an_output_of_another_shape_is_refused(brief, monkeypatch):
    network = MODELS["charge3net"]
    monkeypatch.setattr(network, "forward", lambda self, batch, before=network.forward: before(self, batch)[:, None])
    with pytest.raises(UsageError, match=r"shape \[\d+, 1\], and \[\d+\] is due"):
        train(brief)


def test_every_loss_has_its_function_and_its_name():
    from ecd_models.training.config import CHOICES
    from ecd_models.training.losses import LOSSES

    assert tuple(LOSSES) == CHOICES["loss"]
