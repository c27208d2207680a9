"""Every recipe loads, builds its model and takes steps on the embedded sample."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from ecd_data.errors import UsageError
from ecd_models import load_model, train
from ecd_models.checkpoint import load_checkpoint
from ecd_models.networks import MODELS, build_model
from ecd_models.training.config import TrainConfig, load_config
from ecd_models.training.learning_rate import learning_rate

RECIPES = Path(__file__).parents[2] / "examples/recipes"
SCALES = ("release", "sample")
TUNED = ("tuning_continued", "tuning_fresh", *(f"sweep_{percent}" for percent in (0, 25, 50, 75, 100)))
TASKS = ("pbe", "hse", *TUNED)
NETWORKS = ("charge3net", "charge3net_4layer", "invcharge3net", "invcharge3net_4layer", "deepdft", "invdeepdft")
NETWORKS += ("fourier_density",)
BRIEF = ["validation_crystals=1", "validation_probes=20", "batch_size=2", "probes=20", "validate_every=1000000"]
SHIPPED = ("charge3net", "invcharge3net", "deepdft", "invdeepdft")
TINY = ["options.mul=16", "options.lmax=1", "options.num_interactions=2", "options.num_basis=8"]


def recipe(scale: str, task: str, model: str, *settings: str) -> TrainConfig:
    files = RECIPES / scale / "tasks" / f"{task}.toml", RECIPES / scale / "models" / f"{model}.toml"
    return load_config(*files, settings=settings)


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs go to a folder of the test's own, data come from the package."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ECD_ROOT", raising=False)


def test_the_lists_above_are_all_recipes():
    for scale in SCALES:
        assert {file.stem for file in (RECIPES / scale / "tasks").iterdir()} == set(TASKS)
        assert {file.stem for file in (RECIPES / scale / "models").iterdir()} == set(NETWORKS)
    assert {file.stem for file in (RECIPES / "shipped/tasks").iterdir()} == {"pbe"}
    assert {file.stem for file in (RECIPES / "shipped/models").iterdir()} == set(SHIPPED)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("task", TASKS)
def test_every_task_combines_with_every_model(scale, task):
    for model in NETWORKS:
        config = recipe(scale, task, model)
        assert config.out == f"runs/{'sample/' * (scale == 'sample')}{config.model}/{task}"
        assert config.model in MODELS
        assert bool(config.start) == (task in TUNED)
        assert 0 < learning_rate(config, 0) <= config.lr < 0.01


@pytest.mark.parametrize("model", NETWORKS)
@pytest.mark.parametrize("scale", SCALES)
def test_every_model_takes_steps_at_its_size(scale, model):
    config = recipe(scale, "pbe", model, *BRIEF, "steps=2", "threads=1", "sample=true")
    result = train(config)
    assert result.model.network.config == build_model(config.model, **config.options).config
    assert math.isfinite(result.best_error)


@pytest.mark.parametrize("model", SHIPPED)
def test_the_networks_that_ship_learn_chemistry_beyond_the_pair_model(model):
    config = recipe("shipped", "pbe", model, *BRIEF, "steps=2", "workers=0")
    assert (config.out, config.sample, config.relative_loss) == (f"runs/shipped/{model}/pbe", True, True)
    assert config.options["species"] == "descriptors"
    assert config.options.get("bounded", False) == (model == "deepdft")
    result = train(replace(config, steps=1))
    assert result.model.network.config == build_model(config.model, **config.options).config
    assert math.isfinite(result.best_error)


@pytest.mark.parametrize("scale", [pytest.param("release", marks=pytest.mark.slow), "sample"])
def test_every_task_takes_steps(scale):
    def run(task: str, *settings: str) -> dict:
        config = recipe(scale, task, "charge3net", *BRIEF, *TINY, "threads=1", "sample=true", *settings)
        train(config)
        return load_checkpoint(Path(config.out) / "last.safetensors").metadata

    assert run("pbe", "steps=2")["step"] == 2
    assert run("hse", "steps=2")["step"] == 2
    for task in TUNED:
        continued = task == "tuning_continued"
        state = run(task, "steps=4" if continued else "steps=2")
        assert state["step"] == {"tuning_continued": 4, "sweep_0": 0}.get(task, 2)
        assert state["drawn"] == (0 if task == "sweep_0" else 4)


@pytest.mark.parametrize("task", TASKS)
def test_recipes_of_the_release_want_it_and_those_of_the_sample_say_so(task):
    assert recipe("sample", task, "charge3net").sample
    with pytest.raises(UsageError, match="its data are not here"):
        train(recipe("release", task, "charge3net", *BRIEF))
    assert not Path("runs").exists()


def test_tuning_starts_from_its_checkpoint_and_no_other():
    config = recipe("sample", "pbe", "charge3net", *BRIEF, *TINY, "steps=2")
    before = train(config).model.state_dict()
    judged = train(recipe("sample", "sweep_0", "charge3net", *BRIEF, *TINY)).model.state_dict()
    assert all(judged[name].equal(value) for name, value in before.items())
    with pytest.raises(UsageError, match=r"has num_interactions = 2 \(configuration: 3\), mul = 16 .*: give"):
        train(recipe("sample", "tuning_fresh", "charge3net", *BRIEF))
    with pytest.raises(UsageError, match="difference = true"):
        train(recipe("sample", "tuning_fresh", "charge3net", *BRIEF, *TINY, "difference=false"))
    best = Path(config.out) / "best.safetensors"
    with pytest.raises(UsageError, match=r"give the last\.safetensors"):
        train(recipe("sample", "tuning_continued", "charge3net", *BRIEF, *TINY, f"start={best}"))
    with pytest.raises(UsageError, match="is at step 2 already"):
        train(recipe("sample", "tuning_continued", "charge3net", *BRIEF, *TINY, "steps=2"))
    with pytest.raises(UsageError, match="does not exist"):
        train(recipe("sample", "tuning_fresh", "charge3net", *BRIEF, "start=gone.safetensors"))
    assert load_model(Path(config.out) / "best.safetensors").network.config.mul == 16


def test_the_published_settings():
    c3n = recipe("release", "pbe", "charge3net")
    assert (c3n.steps, c3n.batch_size, c3n.probes, c3n.lr, c3n.loss) == (1_000_000, 16, 200, 0.005, "l1")
    assert learning_rate(c3n, 6000) == pytest.approx(0.005 * 0.96**2)
    deepdft = recipe("release", "pbe", "deepdft")
    assert (deepdft.batch_size, deepdft.probes, deepdft.lr, deepdft.loss) == (2, 1000, 1e-4, "mse")
    assert learning_rate(deepdft, 100_000) == pytest.approx(1e-4 * 0.96)
    depths = [build_model(recipe("release", "pbe", name).model).config.num_interactions for name in NETWORKS[:4]]
    assert depths == [3, 4, 3, 4]
