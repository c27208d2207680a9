"""The paper's filters, what stays and why the rest does not, and a subset that looks like the whole."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from ecd_data import Crystal
from ecd_data.dft.representative_subset import choose_representative
from ecd_data.dft.selection import (
    SYMPREC,
    find_asymmetry,
    find_charge,
    find_duplicates,
    find_element_excess,
    load_formation_energies,
    select_crystals,
)
from ecd_data.errors import UsageError
from ecd_data.formats.structure_files import read_structures
from ecd_data.sample.cells import load_structures
from ecd_data.symmetry import spacegroup
from ecd_models.cli import _run


def crystal(lattice: Lattice, species: list[str], coords: list[list[float]]) -> Crystal:
    return Crystal.from_pymatgen(Structure(lattice, species, coords))


def rocksalt(a: str, b: str, length: float = 4.2) -> Crystal:
    structure = Structure.from_spacegroup("Fm-3m", Lattice.cubic(length), [a, b], [[0, 0, 0], [0.5, 0.5, 0.5]])
    return Crystal.from_pymatgen(structure)


MGO = rocksalt("Mg", "O")
MGO_PRIMITIVE = Crystal.from_pymatgen(MGO.to_pymatgen().get_primitive_structure())
P1 = Crystal(np.diag([4.0, 5.0, 6.0]), [11, 9, 17], [[0, 0, 0], [0.3, 0.1, 0.2], [0.5, 0.6, 0.1]])


@pytest.fixture(scope="module")
def sample() -> dict[str, Crystal]:
    return {id: Crystal(r["lattice"], r["numbers"], r["frac_coords"]) for id, r in load_structures().items()}


def test_each_filter():
    eleven = Crystal(np.eye(3) * 9, range(1, 12), np.random.default_rng(0).random((11, 3)))
    assert "11" in find_element_excess(eleven)
    assert find_element_excess(MGO) is None
    assert spacegroup(MGO, SYMPREC) == 225
    assert find_asymmetry(MGO) is None
    assert "P1" in find_asymmetry(P1)


def test_neutrality_by_smact():
    assert find_charge(MGO) is None
    assert find_charge(rocksalt("Si", "Si")) is None
    assert "AlNi" in find_charge(rocksalt("Al", "Ni"))
    assert find_charge(rocksalt("Al", "Ni"), alloys=True) is None
    assert "not neutral" in find_charge(Crystal(np.eye(3) * 5, [11, 17, 17], np.random.default_rng(1).random((3, 3))))


def test_duplicates_do_not_depend_on_cell_or_scale():
    crystals = {"one": MGO, "two": MGO_PRIMITIVE, "large": rocksalt("Mg", "O", 4.4), "other": rocksalt("Ca", "O", 4.8)}
    assert find_duplicates(crystals) == {"two": "one", "large": "one"}


def test_selection_names_every_reason_and_ranks_by_energy():
    crystals = {"a": MGO, "b": MGO_PRIMITIVE, "p1": P1, "alloy": rocksalt("Al", "Ni"), "c": rocksalt("Ca", "O", 4.8)}
    plain = select_crystals(crystals)
    assert plain.kept == ["a", "c"]
    assert plain.dropped["p1"] == "the space group is P1"
    assert plain.dropped["b"] == "the same structure again: as a"
    assert set(plain.kept) | set(plain.dropped) == set(crystals)
    energies = {"a": -2.9, "b": -3.0, "c": -3.2, "alloy": 5.0}
    ranked = select_crystals(crystals, formation_energies=energies, neutral=False, most=1)
    assert ranked.kept == ["c"]
    assert "outside -4 to 4" in ranked.dropped["alloy"]
    assert ranked.dropped["p1"] == "no formation energy is given"
    assert ranked.dropped["a"] == "the same structure again: as b"
    assert sum(ranked.counts().values()) == 4


def test_an_energy_that_is_no_number_leaves_the_others_in_their_order():
    crystals = {id: rocksalt("Mg", "O", 4.0 + number) for number, id in enumerate("abcd")}
    energies = {"a": 3.0, "b": float("nan"), "c": 1.0, "d": 2.0}
    chosen = select_crystals(crystals, formation_energies=energies, unique=False)
    assert chosen.kept == ["c", "d", "a"]
    assert chosen.dropped == {"b": "no formation energy is given"}


@pytest.mark.parametrize("count", [0, -1])
def test_a_number_of_crystals_below_one_is_refused(sample, count):
    with pytest.raises(UsageError, match="positive whole number"):
        choose_representative(sample, count)
    with pytest.raises(UsageError, match="positive whole number"):
        select_crystals(sample, most=count)


def test_a_subset_is_like_the_whole_and_has_every_element(sample):
    drawn = choose_representative(sample, 50)
    assert len(set(drawn.ids)) == 50
    assert drawn.missing == []
    assert {e for id in drawn.ids for e in sample[id].elements} == {e for c in sample.values() for e in c.elements}
    backwards = choose_representative(dict(reversed(sample.items())), 50)
    assert backwards.ids == drawn.ids
    assert max(drawn.distances.values()) < 0.15
    for classes in drawn.shares.values():
        assert sum(whole for whole, _ in classes.values()) == pytest.approx(1)
        assert sum(part for _, part in classes.values()) == pytest.approx(1)


def test_a_subset_that_is_too_small_for_all_elements_names_the_others(sample):
    drawn = choose_representative(sample, 2)
    chosen = {e for id in drawn.ids for e in sample[id].elements}
    assert set(drawn.missing) == {e for c in sample.values() for e in c.elements} - chosen
    assert f"no chosen crystal has: {' '.join(drawn.missing)}" in str(drawn)


def test_a_subset_beats_random_ones(sample):
    whole = choose_representative(sample, 40).distances
    rng = np.random.default_rng(0)
    elements = {id: set(c.elements) for id, c in sample.items()}
    covered = [len(set().union(*(elements[id] for id in rng.choice(list(sample), 40, False)))) for _ in range(20)]
    assert max(covered) < len(set().union(*elements.values()))
    assert whole["crystal systems"] < 0.1
    with pytest.raises(UsageError, match="cannot be chosen"):
        choose_representative(sample, 1000)


def test_energies_from_files(tmp_path):
    (tmp_path / "e.csv").write_text("id,formation_energy_per_atom\nMgO,-3.1\nlost,\n")
    (tmp_path / "e.json").write_text(json.dumps({"MgO": -3.1}))
    assert load_formation_energies(tmp_path / "e.csv") == load_formation_energies(tmp_path / "e.json") == {"MgO": -3.1}
    (tmp_path / "excel.csv").write_text("id,formation_energy_per_atom\nMgO,-3.1\n", encoding="utf-8-sig")
    assert load_formation_energies(tmp_path / "excel.csv") == {"MgO": -3.1}
    (tmp_path / "wrong.csv").write_text("name,value\nMgO,1\n")
    (tmp_path / "total.csv").write_text("id,energy_per_atom\nMgO,-6.0\n")
    (tmp_path / "twice.csv").write_text("id,formation_energy\nMgO,-3.1\nMgO,-1.0\n")
    for name in ("wrong.csv", "nowhere.json", "total.csv", "twice.csv"):
        with pytest.raises(UsageError, match=name):
            load_formation_energies(tmp_path / name)


def test_the_verb_writes_what_dft_run_takes(tmp_path, capsys):
    folder = tmp_path / "icsd"
    folder.mkdir()
    for name, item in {"MgO": MGO, "again": MGO_PRIMITIVE, "AlNi": rocksalt("Al", "Ni")}.items():
        item.to_pymatgen().to(str(folder / f"{name}.cif"))
    (folder / "broken.cif").write_text("nothing")
    assert _run(["dft", "select", str(folder), "-o", str(tmp_path / "chosen.json")]) == 0
    printed = capsys.readouterr()
    assert "1 of 3 crystals" in printed.out
    for word in ("broken.cif", "not neutral", "the same structure again"):
        assert word in printed.err
    assert len(json.loads((tmp_path / "chosen.json").read_text())) == 1
    assert _run(["dft", "select", str(tmp_path / "nowhere"), "-o", str(tmp_path / "x.json")]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_intake_keeps_going(tmp_path):
    Structure(Lattice.cubic(4), [{"Si": 0.5, "Ge": 0.5}], [[0, 0, 0]]).to(str(tmp_path / "alloy.cif"))
    MGO.to_pymatgen().to(str(tmp_path / "POSCAR_MgO"), fmt="poscar")
    taken = read_structures(tmp_path)
    assert list(taken.crystals) == ["MgO"]
    assert "partial occupancies" in taken.failed[tmp_path / "alloy.cif"]
