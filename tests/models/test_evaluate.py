"""Evaluations: regions, electrons, resuming, several processes, and models and files that are wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from ecd_data import Crystal, Density, load_split, open_store
from ecd_data.errors import EcdError, FormatError, UsageError
from ecd_data.release.tasks import find_task, task_names
from ecd_data.store import StoreWriter
from ecd_models import cli, evaluate, load_model
from ecd_models.evaluation.crystal_result import measure_potential_error
from ecd_models.evaluation.regions import REGIONS, count_atom_electrons, find_regions, split_error
from ecd_models.evaluation.results import Results, hash_content, read_results, write_results
from ecd_models.evaluation.statistics import name_size
from ecd_models.model import DensityModel

MODEL = "invdeepdft-sample"


class Wrong(nn.Module):
    """A network with a fault: its output for each batch is what `output` makes of the number of probes."""

    cutoff = 3.0

    def __init__(self, output):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.output, self.config = output, SimpleNamespace(outputs=1)

    def encode(self, batch):
        return None

    def decode(self, features, batch):
        return self.output(batch)


def wrong_model(output) -> DensityModel:
    return DensityModel(Wrong(output), name="wrong")


@pytest.fixture(scope="module")
def evaluation(small_root):
    return evaluate(load_model(MODEL), "pbe", part="train", data_dir=str(small_root))


@pytest.fixture(scope="module")
def results_file(evaluation, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("results") / "results.json"
    evaluation.save(path)
    return path


def test_regions_of_a_sphere_in_a_large_cell():
    """One carbon atom in a box: the spheres of 0.5 and 1.25 covalent radii have the volumes of spheres."""
    crystal = Crystal(4 * np.eye(3), [6], [[0.99, 0.013, 0.5]])
    region = find_regions(crystal, (90, 90, 90))
    for number, radius in ((0, 0.5 * 0.73), (1, 1.25 * 0.73)):
        inside = (region <= number).mean() * crystal.volume
        assert inside == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.03)


def test_equivalent_atoms_have_equal_electrons_in_any_cell():
    for id in ("Si_diamond", "MgO_rs", "Al_fcc"):
        rho = open_store("pbe")[id]
        counts = count_atom_electrons(rho.crystal, rho.values)[0]
        for number in set(rho.numbers):
            assert np.ptp(counts[rho.numbers == number]) < 1e-6
        assert 0 < counts.sum() < rho.nelect


def test_a_sphere_larger_than_the_cell_counts_periodic_images():
    """A constant density has density times volume of the sphere, however small the cell is."""
    crystal = Crystal(1.5 * np.eye(3), [55], [[0.2, 0.3, 0.4]])
    counts = count_atom_electrons(crystal, np.full((30, 30, 30), 0.7))
    assert counts[0, 0] == pytest.approx(0.7 * 4 / 3 * np.pi * 2.44**3, rel=0.02)
    assert (find_regions(crystal, (30, 30, 30)) < 2).all()


def test_regions_add_up_to_the_whole_error():
    rho = open_store("pbe")["MgO_rs"]
    guess = replace(rho, values=rho.values * np.linspace(0.9, 1.2, rho.values.shape[0])[:, None, None])
    parts = split_error(guess, rho)
    assert list(parts) == list(REGIONS)
    assert sum(part.share for part in parts.values()) == pytest.approx(1)
    assert sum(part.volume for part in parts.values()) == pytest.approx(1)
    assert sum(part.electrons for part in parts.values()) == pytest.approx(1)
    whole = np.abs(guess.values - rho.values).sum() / np.abs(rho.values).sum()
    assert sum((part.eps_mae or 0) * part.electrons for part in parts.values()) == pytest.approx(whole)
    assert all(part.share is None for part in split_error(rho, rho).values())


def test_the_potential_of_a_plane_wave_is_that_of_poisson_s_equation():
    lattice = np.array([[4.0, 0, 0], [0, 5, 0], [0, 0, 6]])
    x = np.arange(24) / 24
    wave = 0.01 * np.cos(2 * np.pi * x)[:, None, None] * np.ones((24, 20, 18))
    square = (2 * np.pi / 4) ** 2
    expected = 4 * np.pi * 14.399645 * 0.01 / square / np.sqrt(2)
    assert measure_potential_error(wave + 3, lattice) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("natoms", "name"), [(1, "1"), (2, "2"), (3, "3-4"), (8, "5-8"), (128, "65-128"), (129, "over 128")]
)
def test_sizes_are_grouped(natoms, name):
    assert name_size(natoms) == name


def test_results_have_every_breakdown(evaluation, results_file):
    results = read_results(results_file)
    assert results.errors == pytest.approx(evaluation.errors)
    assert results.summary == evaluation.summary
    assert set(results.groups.element) == {e for c in results.crystals for e in c.elements}
    assert set(results.groups.functional) == {"PBE"}
    assert sum(s.count for s in results.groups.atoms.values()) == len(results.crystals)
    assert sum(s.count for s in results.groups.crystal_system.values()) == len(results.crystals)
    assert results.cost.peak_memory_MB > 10
    assert results.cost.network_seconds > 0
    assert results.machine.cores >= 1
    assert len(results.model_card.checkpoint_sha256) == 64
    assert results.electrons.by_element
    assert results.data_origin == results.store_hash


def test_every_crystal_s_electrons_are_compared(evaluation):
    for crystal in evaluation.crystals:
        assert set(crystal.atom_electrons) == set(crystal.elements)
        assert crystal.seconds.graph <= crystal.seconds.graph + crystal.seconds.network


@pytest.mark.parametrize("change", [
    lambda r: r["eps_mae_percent"].update({next(iter(r["eps_mae_percent"])): 0.001}),
    lambda r: r["summary"].update(mean_percent=0.01),
    lambda r: r.update(model="a better one"),
    lambda r: r["crystals"][0].update(eps_mae_percent=0.0),
    lambda r: r["crystals"].pop(),
])  # fmt: skip
def test_a_results_file_that_was_edited_is_named(change, results_file, tmp_path):
    record = json.loads(results_file.read_text())
    change(record)
    edited = tmp_path / "edited.json"
    edited.write_text(json.dumps(record))
    with pytest.raises(FormatError, match=r"edited\.json was changed after it was written"):
        read_results(edited)
    if record["model"] != "a better one":  # with another name alone nothing contradicts itself
        edited.write_text(json.dumps(record | {"content_sha256": hash_content(record)}))
        with pytest.raises(FormatError, match="contradicts itself"):
            read_results(edited)


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "no JSON"), ("[1]", "no results file"), ('{"format": "ecd-results-9"}', "no results file of the format"),
     ('{"format": "ecd-results-2", "summary": 3}', "does not follow the schema"), ("[" * 100000, "no JSON")],
)  # fmt: skip
def test_other_files_are_no_results(text, message, tmp_path):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(FormatError, match=message):
        read_results(tmp_path / "x.json")


def test_results_that_are_not_there_are_named(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        read_results(tmp_path / "x.json")
    with pytest.raises(UsageError, match="is a folder"):
        read_results(tmp_path)


def test_a_key_that_the_schema_lacks_is_refused(results_file, tmp_path):
    record = json.loads(results_file.read_text()) | {"extra": 1}
    (tmp_path / "x.json").write_text(json.dumps(record))
    with pytest.raises(FormatError, match="extra"):
        read_results(tmp_path / "x.json")


def without_costs(path: Path) -> dict:
    record = json.loads(path.read_text())
    for key in ("content_sha256", "cost", "machine"):
        del record[key]
    for crystal in record["crystals"]:
        for key in ("seconds", "peak_memory_MB"):
            del crystal[key]
    return record


def test_an_interrupted_evaluation_continues_to_the_same_results(evaluation, results_file, small_root, tmp_path):
    model, partial = load_model(MODEL), tmp_path / "x.partial"
    evaluate(model, "pbe", part="train", data_dir=str(small_root), limit=2, partial=partial)
    partial.write_bytes(partial.read_bytes() + b'{"id": "half a li')  # as a kill in the middle of a write leaves it
    done = []
    again = evaluate(
        model,
        "pbe",
        part="train",
        data_dir=str(small_root),
        partial=partial,
        report=lambda n, of, id, e: done.append(n),
    )
    assert done[0] == 3
    again.save(tmp_path / "again.json")
    assert without_costs(tmp_path / "again.json") == without_costs(results_file)


def test_ctrl_c_keeps_what_is_done(small_root, tmp_path, monkeypatch):
    import signal

    def stop(done, total, id, error):
        signal.raise_signal(signal.SIGINT)

    partial = tmp_path / "x.partial"
    with pytest.raises(KeyboardInterrupt):
        evaluate(load_model(MODEL), "pbe", part="train", data_dir=str(small_root), partial=partial, report=stop)
    assert len(partial.read_text().splitlines()) == 2


def test_the_finished_crystals_of_another_evaluation_are_not_taken(small_root, tmp_path):
    partial, where = tmp_path / "x.partial", {"part": "train", "data_dir": str(small_root), "limit": 1}
    evaluate(load_model(MODEL), "pbe", **where, partial=partial)
    with pytest.raises(UsageError, match="another weights sha256"):
        evaluate(load_model("deepdft-sample"), "pbe", **where, partial=partial)
    partial.write_text(partial.read_text() + "{}\n")
    with pytest.raises(FormatError, match="damaged"):
        evaluate(load_model(MODEL), "pbe", **where, partial=partial)


@pytest.mark.slow
def test_several_processes_give_the_same_results(evaluation, small_root):
    again = evaluate(load_model(MODEL), "pbe", part="train", data_dir=str(small_root), workers=2)
    assert again.errors == pytest.approx(evaluation.errors, rel=1e-5)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (lambda batch: torch.full((batch.n_probes,), torch.nan), "not finite numbers"),
        (lambda batch: torch.zeros(batch.n_probes + 1), "a finite number for each probe"),
        (lambda batch: torch.zeros(batch.n_probes, 3), "a finite number for each probe"),
        (lambda batch: 1 / 0, "ZeroDivisionError"),
    ],
    ids=["nan", "too many", "three columns", "raises"],
)
def test_a_model_that_gives_no_density_is_named(output, message, small_root):
    with pytest.raises(EcdError, match=message):
        evaluate(wrong_model(output), "pbe", part="train", data_dir=str(small_root), limit=1)


def test_a_model_that_fails_on_some_crystals_is_evaluated_on_the_others(small_root, tmp_path, capsys):
    calls = []

    def output(batch):
        calls.append(1)
        return torch.full((batch.n_probes,), torch.nan if len(calls) == 1 else 0.1)

    result = evaluate(wrong_model(output), "pbe", part="train", data_dir=str(small_root), limit=2)
    assert len(result.failures) == len(result.crystals) == 1
    write_results(result.results, tmp_path / "x.json")
    assert read_results(tmp_path / "x.json").failures == result.failures


def test_the_command_says_that_crystals_failed(small_root, tmp_path, monkeypatch, capsys):
    from ecd_models.evaluation import evaluation_jobs

    real, failed = evaluation_jobs.evaluate_crystal, []

    def fail_once(model, store, id):
        if not failed:
            failed.append(id)
            raise EcdError("no density <script>")
        return real(model, store, id)

    monkeypatch.setattr(evaluation_jobs, "evaluate_crystal", fail_once)
    file = tmp_path / "r.json"
    arguments = ["evaluate", "pbe", "-m", MODEL, "--part", "train", "--data", str(small_root), "--limit", "2", "-q"]
    assert cli._run([*arguments, "-o", str(file)]) == 1
    printed = capsys.readouterr().out
    assert "1 of 2 crystals have no result, and the means are without them" in printed
    assert "no density" in printed
    assert list(read_results(file).failures) == failed
    assert not file.with_name("r.json.partial").exists()


def test_the_schema_of_a_results_file_is_printed(capsys):
    from ecd_models.evaluation.results import main

    main()
    schema = json.loads(capsys.readouterr().out)
    assert {"model_card", "machine", "cost", "split_hash", "store_hash"} <= set(schema["required"])
    assert Results.model_fields.keys() <= schema["properties"].keys()


def test_crystals_without_covalent_radii_have_no_regions():
    from ecd_models.evaluation.regions import has_radii

    assert not has_radii(Crystal(4 * np.eye(3), [97], [[0, 0, 0]]))
    assert has_radii(Density(Crystal(4 * np.eye(3), [96], [[0, 0, 0]]), np.ones((4, 4, 4))).crystal)


@pytest.mark.parametrize("task", task_names(strict=True))
def test_each_task_and_strict_twin_has_test_crystals_where_there_are_data(task, tmp_path, monkeypatch):
    """On a root with a few official ids; the part is that of the lists, and the origin is the store's hash."""
    monkeypatch.delenv("ECD_ROOT", raising=False)
    ids, found = load_split(task)["test"][:2], find_task(task)
    with StoreWriter(tmp_path / f"{found.set}.ecd", bound=1e-3) as writer:
        for id in ids:
            crystal = Crystal(4 * np.eye(3), [12, 8], [[0, 0, 0], [0.5, 0.5, 0.5]])
            writer.add(id, Density(crystal, np.full((6, 6, 6), 16 / 64), meta={"functional": found.functional}))
    result = evaluate(load_model(MODEL), task, data_dir=str(tmp_path))
    assert list(result.errors) == ids
    assert result.listed == len(load_split(task)["test"])
    assert result.results.data_origin == result.results.store_hash


@pytest.mark.parametrize("value", [1e305, -1e305])
def test_a_prediction_that_is_too_large_to_measure_is_named(value, small_root):
    def output(batch):
        return torch.full((batch.n_probes,), value, dtype=torch.float64)

    with pytest.raises(EcdError, match=r"cannot be measured|not finite numbers"):
        evaluate(wrong_model(output), "pbe", part="train", data_dir=str(small_root), limit=1)


def test_a_density_that_is_zero_is_named(tmp_path):
    crystal = Crystal(4 * np.eye(3), [12, 8], [[0, 0, 0], [0.5, 0.5, 0.5]])
    with StoreWriter(tmp_path / "zero.ecd", bound=1e-3) as writer:
        writer.add("zero", Density(crystal, np.zeros((6, 6, 6))))
    with pytest.raises(EcdError, match="zero"):
        evaluate(wrong_model(lambda batch: torch.ones(batch.n_probes)), tmp_path / "zero.ecd")


def test_results_with_nan_are_refused(results_file, tmp_path):
    record = json.loads(results_file.read_text())
    record["crystals"][0]["eps_mae_percent"] = float("nan")
    record["content_sha256"] = hash_content(record)
    (tmp_path / "x.json").write_text(json.dumps(record))
    with pytest.raises(FormatError, match=r"crystals\.0\.eps_mae_percent"):
        read_results(tmp_path / "x.json")
