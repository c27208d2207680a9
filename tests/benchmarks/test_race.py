"""The race: what is done is kept, results on other data are refused, and errors of energies come from one reference."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import race
import race_energies
from race_energies import add_energies, choose_crystals, read_energies
from race_evaluation import take_in_turn
from race_table import format_errors, format_table
from race_training import Entry, keep_facts, make_pair_entry

from ecd_data.dft.settings import Job, Settings
from ecd_data.errors import UsageError
from ecd_data.io.atomic_write import write_json
from ecd_data.release.formula import reduce_formula
from ecd_models import load_model
from ecd_models.scf.bench import ORACLE
from ecd_models.scf.energies import CrystalEnergies, EnergyError
from ecd_models.task_data import task_data
from ecd_models.weights.catalogue import PRETRAINED
from tests.models.scf.engine import SI, real

PARTS = {"geometries": ("pbe", ["LiF_rs-d1", "LiH_rs-d3"]), "pairs": ("ood", ["LiBr_rs"])}


@pytest.fixture
def entries(tmp_path: Path) -> list[Entry]:
    """The pair model and a network that count as trained; both have the shipped weights."""
    pair = make_pair_entry(tmp_path)
    found = [pair, Entry("fourier_density", 42, 60.0, str(pair.checkpoint), tmp_path)]
    for entry in found:
        entry.folder.mkdir()
        shutil.copy(PRETRAINED / f"{entry.model}.safetensors", entry.checkpoint)
    write_json(found[0].record, {"points_per_second": 2e6})
    write_json(
        found[1].record, {"points_per_second": 1e6, "steps": 700, "ms": 80, "seconds_in_all": 60, "memory_MB": 9}
    )
    return found


def energies_of(entry: Entry, metal: dict[str, bool]) -> dict[str, list[dict[str, object]]]:
    """An energies.json in which every density is off by -2 meV an atom, those of metals with semicore states by 9."""
    crystals = [
        CrystalEnergies(id, "X", 1, is_metal, ("Na",), 0.0, {entry.folder.name: EnergyError(0.1, energy, None, 1.0)})
        for id, is_metal in metal.items()
        for energy in [0.009 if is_metal else -0.002]
    ]
    return {"crystals": [crystal.to_dict() for crystal in crystals]}


def test_a_race_of_the_pair_model_and_a_network_goes_on_where_it_was(data_root, small_recipes, here, tmp_path, capsys):
    command = ["--minutes", "0.001", "--models", "fourier_density", "--seeds", "42", "--out", str(tmp_path)]
    race.main(command)
    table = capsys.readouterr().out.split("\n\n")[-1]
    pair, network = table.strip().split("\n")[2:]
    assert pair.startswith("| pair_density | ")
    assert "fit of 1 passes" in pair
    assert network.startswith("| fourier_density, 1 seed | ")
    assert network.count(" | ") == 7  # geometries, compositions, pairs, rare elements, and what it costs
    weights = load_model(tmp_path / "fourier_density-42-0/best.safetensors").weights_sha256
    (tmp_path / "fourier_density-42-0/ood.jsonl").unlink()
    race.main(command)
    assert capsys.readouterr().out.split("\n\n")[-1] == table
    assert load_model(tmp_path / "fourier_density-42-0/best.safetensors").weights_sha256 == weights
    race.main([*command, "--table"])
    assert capsys.readouterr().out.split("\n\n")[-1] == table
    assert len(here) == 6


def test_all_networks_start_from_the_pair_model_that_is_given(data_root, here, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(race, "run", lambda entry: None)
    command = ["--models", "fourier_density", "--seeds", "42", "--out", str(tmp_path), "--atoms"]
    race.main([*command, "pair_density"])
    (pair, network) = race.list_entries(race.parse_arguments(command[:-1]), 0.0)
    assert network.config(10, tmp_path).atoms == str(pair.checkpoint)
    assert load_model(pair.checkpoint).weights_sha256 == load_model("pair_density").weights_sha256
    assert "given" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="give a fitted pair_density"):
        race.main([*command, "deepdft-sample"])


def test_results_on_other_densities_are_refused(data_root, here, tmp_path, monkeypatch):
    command = ["--models", "fourier_density", "--out", str(tmp_path), "--table"]
    race.main(command)
    monkeypatch.delenv("ECD_ROOT")
    with pytest.raises(SystemExit, match=r"other densities of pbe .* than now .*: name another folder"):
        race.main(command)


def test_runs_that_do_not_say_on_what_they_were_trained_are_refused(entries, tmp_path):
    with pytest.raises(SystemExit, match="earlier version"):
        race.main(["--out", str(tmp_path), "--table"])


def test_facts_are_added_and_must_not_change(tmp_path):
    keep_facts(tmp_path / "data.json", {"a": "1"})
    keep_facts(tmp_path / "data.json", {"a": "1", "b": "2"})
    with pytest.raises(UsageError, match=r"other b \(2\) than now \(3\)"):
        keep_facts(tmp_path / "data.json", {"b": "3"})
    assert json.loads((tmp_path / "data.json").read_text()) == {"a": "1", "b": "2"}


def test_every_compound_comes_once_before_it_comes_again_and_the_cheapest_first():
    data = task_data("pbe")
    rows = data.store.index.set_index("id").loc[data.ids("test_compositions")]
    order = choose_crystals(data, "test_compositions", len(rows))
    compounds = [reduce_formula(formula) for formula in rows["formula"][order]]
    kinds = len(set(compounds))
    assert len(set(compounds[:kinds])) == kinds < len(compounds)
    assert rows["cpu_seconds"][order[:kinds]].is_monotonic_increasing
    assert sorted(order) == sorted(rows.index)
    assert choose_crystals(data, "test_compositions", 5) == order[:5]


def test_crystals_without_times_of_pwx_are_refused():
    data = task_data("pbe")
    index = data.store.index.drop(columns="cpu_seconds")
    store = type("NoTimes", (), {"index": index, "root": "mine.ecd"})()
    with pytest.raises(UsageError, match=r"no times of pw\.x"):
        choose_crystals(replace(data, store=store), "test_geometries", 1)


def test_a_crystal_of_each_part_comes_in_turn():
    parts = [("pbe", ["a", "b", "c"]), ("ood", ["x"])]
    assert list(take_in_turn(parts)) == [("pbe", "a"), ("ood", "x"), ("pbe", "b"), ("pbe", "c")]


def test_errors_are_those_of_the_crystals_that_all_seeds_have():
    errors = [{"a": 1.0, "b": 3.0}, {"a": 2.0, "b": 4.0, "c": 100.0}]
    assert format_errors(errors, ["a", "b", "c"], missing=True).startswith("2.50 ± 0.50 (2.50, ")
    assert format_errors(errors, ["a", "b", "c"], missing=True).endswith(", 2 of 3")
    assert format_errors(errors[:1], ["a", "b"], missing=True) == "2.00 (2.00, 2.80)"
    assert format_errors(errors, ["c"], missing=True) == ""


def test_metals_with_semicore_states_stand_apart(entries):
    for entry in entries:
        write_json(entry.folder / "energies.json", energies_of(entry, {"LiF": False, "NaF": False, "Na": True}))
    head, _, *rows = format_table(entries, PARTS, ["LiF", "NaF", "Na", "not yet"]).split("\n")
    assert head.endswith("| energy, meV/atom | of metals with semicore states |")
    for row in rows:
        assert row.endswith("| 2.00 (2.00, 2.00), 2 crystals | 9.00 (9.00, 9.00), 1 crystals |")
    assert "energy" not in format_table(entries, PARTS)


@real
def test_energies_have_one_reference_and_are_not_computed_again(entries, tmp_path, monkeypatch, capsys):
    cheap = Job("Si", SI, Settings("PBE", ecutwfc=20.0, kmesh=(2, 2, 2)))
    monkeypatch.setattr(race_energies, "make_scf_jobs", lambda names, ids: [cheap])
    chosen, work = [("pbe", "Si")], tmp_path / "scf"
    add_energies(entries[:1], chosen, work, 1, float("inf"))
    outputs = {file: file.stat().st_mtime_ns for file in work.rglob("pw.out")}
    first = (entries[0].folder / "energies.json").read_bytes()
    add_energies(entries, chosen, work, 1, float("inf"))
    assert {file: file.stat().st_mtime_ns for file in outputs} == outputs  # the network alone was computed
    assert len(list(work.rglob("pw.out"))) > len(outputs)
    assert (entries[0].folder / "energies.json").read_bytes() == first
    for entry in entries:
        errors = read_energies(entry)["Si"].errors
        assert abs(errors[ORACLE].energy_eV_atom) < 1e-4 < abs(errors[entry.folder.name].energy_eV_atom)
    capsys.readouterr()
    add_energies(entries, chosen, work, 1, float("inf"))
    assert capsys.readouterr().out == ""
    assert np.isfinite(float(format_table(entries, PARTS, ["Si"]).split("|")[-3].split()[0]))
