"""Formation energies: from elements computed alike, and nothing where a reference is missing."""

from __future__ import annotations

import numpy as np
import pytest

from ecd_data import Crystal, Density
from ecd_data.dft.formation import elemental_energies, formation_energies, write_formation_energies
from ecd_data.dft.selection import load_formation_energies
from ecd_data.errors import EcdError
from ecd_data.store import StoreWriter, open_store
from ecd_models.cli import _run


def store_of(path, crystals: dict[str, tuple[list[int], float | None]], functional: str = "PBE"):
    """A store of flat densities with the given atoms and energies in eV."""
    with StoreWriter(path) as writer:
        for id, (numbers, energy) in crystals.items():
            coords = np.linspace(0, 0.5, len(numbers))[:, None] * np.ones(3)
            properties = {} if energy is None else {"energy_eV": energy}
            meta = {"functional": functional, "properties": properties}
            crystal = Crystal(4 * np.eye(3), numbers, coords)
            writer.add(id, Density(crystal, np.full((8, 8, 8), 0.1), meta=meta))
    return open_store(path)


@pytest.fixture
def elements(tmp_path):
    """Mg twice, the second time lower, and the molecule of oxygen."""
    return store_of(
        tmp_path / "elements.ecd", {"Mg_fcc": ([12], -1.0), "Mg_hcp": ([12, 12], -2.6), "O2": ([8, 8], -9.0)}
    )


def test_energies_are_per_atom_above_the_lowest_phase_of_each_element(tmp_path, elements):
    references = elemental_energies([elements])
    assert references == pytest.approx({"Mg": -1.3, "O": -4.5})
    oxides = store_of(tmp_path / "oxides.ecd", {"MgO": ([12, 8], -11.8), "MgO-x2": ([12, 12, 8, 8], -23.6)})
    assert formation_energies(oxides, references) == pytest.approx({"MgO": -3.0, "MgO-x2": -3.0})
    assert formation_energies(elements, references) == pytest.approx({"Mg_fcc": 0.3, "Mg_hcp": 0, "O2": 0})


def test_what_has_no_reference_is_left_out(tmp_path, elements):
    references = elemental_energies([elements])
    mixed = store_of(tmp_path / "mixed.ecd", {"CaO": ([20, 8], -9.0), "MgO": ([12, 8], -11.8)})
    assert list(formation_energies(mixed, references)) == ["MgO"]
    hybrid = store_of(tmp_path / "hybrid.ecd", {"MgO": ([12, 8], -12.0)}, "HSE06")
    assert formation_energies(hybrid, references) == {}
    assert elemental_energies([elements], "HSE06") == {}
    with pytest.raises(EcdError, match="no energies"):
        formation_energies(store_of(tmp_path / "bare.ecd", {"MgO": ([12, 8], None)}), references)


def test_the_written_table_is_what_select_reads(tmp_path):
    energies = {"MgO": -3.0, 'odd, "quoted"': 1.25}
    write_formation_energies(energies, tmp_path / "energies.csv")
    assert load_formation_energies(tmp_path / "energies.csv") == energies


def test_the_command_prints_or_writes_them(tmp_path, elements, capsys):
    store_of(tmp_path / "oxides.ecd", {"MgO": ([12, 8], -11.8), "CaO": ([20, 8], -9.0)})
    oxides, table = str(tmp_path / "oxides.ecd"), tmp_path / "energies.csv"
    references = ["--references", elements.root]
    assert _run(["dft", "formation", oxides, *references]) == 0
    out, err = capsys.readouterr()
    assert out == "MgO\t-3.0000\n"
    assert err.startswith("left out: CaO: the stores have no energy of pure Ca: compute it")
    assert err.count("\n") == 1
    assert _run(["dft", "formation", oxides, *references, "-o", str(table)]) == 0
    assert load_formation_energies(table) == {"MgO": -3.0}
    assert "1 formation energies, 1 crystals left out" in capsys.readouterr().out
    assert _run(["dft", "formation", oxides]) == 2
    assert "give their store with --references" in capsys.readouterr().err


def test_each_crystal_without_one_has_its_reason(tmp_path, elements):
    from ecd_data.dft.formation import explain_missing_energies

    references = elemental_energies([elements])
    mixed = {"CaO": ([20, 8], -9.0), "LiH": ([3, 1], -6.0), "MgO": ([12, 8], -11.8), "bare": ([12], None)}
    reasons = explain_missing_energies(store_of(tmp_path / "mixed.ecd", mixed), references)
    assert list(reasons) == ["CaO", "LiH", "bare"]
    assert "of pure Ca:" in reasons["CaO"]
    assert "of pure H and Li:" in reasons["LiH"]
    assert reasons["bare"] == "it has no energy"
    hybrid = store_of(tmp_path / "hybrid.ecd", {"MgO": ([12, 8], -12.0)}, "HSE06")
    assert explain_missing_energies(hybrid, references) == {"MgO": "it was computed with HSE06, not PBE"}


def test_one_id_in_two_stores_is_refused(tmp_path, elements, capsys):
    for name, energy in (("a.ecd", -11.8), ("b.ecd", -11.9)):
        store_of(tmp_path / name, {"MgO": ([12, 8], energy)})
    stores = [str(tmp_path / name) for name in ("a.ecd", "b.ecd")]
    assert _run(["dft", "formation", *stores, "--references", elements.root]) == 2
    assert "two of the stores have a crystal 'MgO'" in capsys.readouterr().err
