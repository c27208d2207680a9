"""Bader charges: they add up, belong to the right atoms, measure a guess, and say where basins are doubtful."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest

from ecd_data import Crystal, Density
from ecd_data.bader import VALENCE_BASINS, bader_charges, compare_bader
from ecd_data.comparison import DifferentCrystalsError
from ecd_data.errors import EcdError, MissingDependencyError, UsageError

try:
    import baderkit
except ImportError:
    baderkit = None
needs_baderkit = pytest.mark.skipif(
    baderkit is None, reason="baderkit is not installed (pip install 'ecd-data[bader]')"
)

CRYSTAL = Crystal(4.0 * np.eye(3), np.array([3, 9]), np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]]))


def two_atoms(first: float = 1.0, second: float = 7.0, points: int = 24, **options: object) -> Density:
    """Gaussians with `first` and `second` electrons on the two atoms of a cube of 4 Å."""
    x = np.stack(np.meshgrid(*[np.arange(points) / points] * 3, indexing="ij"), axis=-1)
    values = np.zeros((points,) * 3)
    for electrons, position, width in ((first, 0.0, 0.45), (second, 0.5, 0.5)):
        distance = x - position
        distance -= np.round(distance)
        bell = np.exp(-((4.0 * distance) ** 2).sum(-1) / (2 * width**2))
        values += electrons * bell / (bell.mean() * 64.0)
    return Density(CRYSTAL, values, **options)  # type: ignore[arg-type]


@needs_baderkit
def test_charges_belong_to_the_atoms(capsys):
    rho = two_atoms()
    found = bader_charges(rho)
    assert found.electrons == pytest.approx([1.0, 7.0], abs=0.25)
    assert found.electrons.sum() == pytest.approx(rho.nelect, abs=1e-4)
    assert found.volumes.sum() == pytest.approx(64.0, rel=1e-4)
    assert found.notes == (VALENCE_BASINS,)
    swapped = Density(Crystal(CRYSTAL.lattice, CRYSTAL.numbers[::-1], CRYSTAL.frac_coords[::-1] + 1), rho.values)
    assert bader_charges(swapped).electrons == pytest.approx(found.electrons[::-1], abs=1e-6)
    assert capsys.readouterr().out == ""


@needs_baderkit
def test_an_all_electron_reference_decides_the_basins():
    rho, reference = two_atoms(), two_atoms(3.0, 9.0, meta={"kind": "all-electron"})
    found = bader_charges(rho, reference)
    assert found.notes == ()
    assert found.electrons.sum() == pytest.approx(8.0, abs=1e-4)


@needs_baderkit
def test_the_difference_of_a_guess_is_the_metric():
    truth, guess = two_atoms(), two_atoms(1.2, 6.8)
    found = compare_bader(guess, truth)
    assert found.difference == pytest.approx([0.2, -0.2], abs=0.05)
    assert found.mean_absolute == pytest.approx(0.2, abs=0.05)
    assert compare_bader(truth, truth).mean_absolute == 0
    assert found.as_dict()["symbols"] == ["Li", "F"]
    assert "Bader Li1: 1." in str(found)
    assert str(found).count("note: ") == 1


def test_without_baderkit_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "baderkit", None)
    monkeypatch.setitem(sys.modules, "baderkit.bader", None)
    with pytest.raises(MissingDependencyError, match=r"pandas below 3 .* environment of its own .*ecd-data\[bader\]"):
        bader_charges(two_atoms())


def test_what_has_no_charges_is_refused():
    rho = two_atoms()
    with pytest.raises(UsageError, match="of a difference of densities"):
        bader_charges(rho - rho)
    with pytest.raises(UsageError, match="has none"):
        bader_charges(Density(Crystal(np.eye(3), [], np.zeros((0, 3))), np.ones((2, 2, 2))))
    with pytest.raises(UsageError, match="resample"):
        bader_charges(rho, two_atoms(points=12))
    with pytest.raises(UsageError, match="resample"):
        compare_bader(two_atoms(points=12), rho)
    with pytest.raises(DifferentCrystalsError):
        compare_bader(replace(rho, crystal=replace(CRYSTAL, numbers=np.array([3, 17]))), rho)
    with pytest.raises(EcdError, match="not finite"):
        bader_charges(replace(rho, values=np.where(rho.values > 1, np.nan, rho.values)))
