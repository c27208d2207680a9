"""Errors of energies and forces as Markdown: means of each start and kind of crystal, and every crystal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ecd_data.markdown import make_markdown_table
from ecd_models.scf.crystal_loop import Report
from ecd_models.scf.energies import CrystalEnergies, EnergyError


def format_energy_table(crystals: Sequence[CrystalEnergies]) -> str:
    """Means over the crystals of each kind, as Markdown: eps_mae, error of Harris's energy, largest error of forces."""
    head = ["crystals", "density", "eps_mae, %", "energy, mean, meV/atom", "median", "forces off, eV/Å"]
    rows = []
    for kind in dict.fromkeys(c.kind for c in crystals):
        group = [c for c in crystals if c.kind == kind]
        for name in _list_starts(group):
            found = [c.errors[name] for c in group if name in c.errors]
            rows.append([f"{len(found)} {kind}", name, *_means(found)])
    return make_markdown_table(head, rows)


def format_energies(crystals: Sequence[CrystalEnergies], name: str) -> str:
    """What the density of one start is off by in every crystal, as Markdown."""
    head = ["crystal", "kind", "eps_mae, %", "energy, meV/atom", "forces off, eV/Å", "largest force"]
    rows = [
        [c.id, c.kind, f"{100 * e.eps_mae:.2f}", f"{1000 * e.energy_eV_atom:+.2f}", _force(e), f"{c.force_eV_A:.3f}"]
        for c in crystals
        if (e := c.errors.get(name)) is not None
    ]
    return make_markdown_table(head, rows)


def report_energies(report: Report[CrystalEnergies]) -> dict[str, Any]:
    """All of it for JSON."""
    return {"crystals": [c.to_dict() for c in report.crystals], "failed": report.failed}


def read_energy_report(data: dict[str, Any]) -> list[CrystalEnergies]:
    """The energies of crystals from what `report_energies` made."""
    return [
        CrystalEnergies(
            **{k: v for k, v in c.items() if k not in ("errors", "semicore")},
            semicore=tuple(c["semicore"]),
            errors={name: EnergyError(**error) for name, error in c["errors"].items()},
        )
        for c in data["crystals"]
    ]


def _list_starts(crystals: Sequence[CrystalEnergies]) -> list[str]:
    return list(dict.fromkeys(name for c in crystals for name in c.errors))


def _means(found: Sequence[EnergyError]) -> list[str]:
    energies = np.abs([1000 * e.energy_eV_atom for e in found])
    forces = [e.force_error_eV_A for e in found if e.force_error_eV_A is not None]
    force = f"{np.mean(forces):.3f} ({len(forces)})" if forces else "-"
    eps = f"{100 * np.mean([e.eps_mae for e in found]):.2f}"
    return [eps, f"{energies.mean():.2f}", f"{np.median(energies):.2f}", force]


def _force(error: EnergyError) -> str:
    return "-" if error.force_error_eV_A is None else f"{error.force_error_eV_A:.3f}"
