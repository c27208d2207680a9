"""Gaps as Markdown: errors from measured gaps beside those that the paper reports, and every gap of every crystal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ecd_data.markdown import make_markdown_table
from ecd_models.evaluation.paper import read_paper
from ecd_models.scf.crystal_loop import Report
from ecd_models.scf.gaps import METALLIC, ONE_LOOP, SCF, CrystalGaps, Gap, measure_error


def format_gap_table(crystals: Sequence[CrystalGaps]) -> str:
    """Errors of each method from measured gaps, over all that it has and over those that all methods have, as Markdown.

    "From self-consistent PBE" is the mean absolute difference from the gap of PBE, what a density itself is to blame
    for.
    """
    methods = _list_methods(crystals)
    measured = [c for c in crystals if c.measured_eV is not None]
    common = [c for c in measured if all(name in c.gaps for name in methods)]
    head = [
        "gap from",
        "n",
        "MAE, eV",
        f"MAE of the {len(common)} in all rows",
        "from self-consistent PBE, eV",
        "CPU s",
    ]
    rows = []
    for name in methods:
        own = [c for c in measured if name in c.gaps]
        errors = [f"{measure_error(group, name):.2f}" if group else "-" for group in (own, common)]
        seconds = f"{np.mean([c.gaps[name].cpu_seconds for c in crystals if name in c.gaps]):.1f}"
        rows.append([name, str(len(own)), *errors, _difference(crystals, name), seconds])
    reported = []
    for name, kind, error, time, unit in read_paper()["table5"]["rows"]:
        reported.append([name, kind, f"{error:.2f}", f"{time:g} {unit}" if unit else "-"])
    paper = make_markdown_table(["as the paper reports, 41 compounds", "from", "MAE, eV", "time"], reported)
    return "\n".join([make_markdown_table(head, rows), "", *_remarks(crystals), paper])


def format_gaps(crystals: Sequence[CrystalGaps]) -> str:
    """Every gap in eV of every crystal, as Markdown."""
    methods = _list_methods(crystals)
    head = ["gap, eV", "measured", *methods]
    rows = [
        [c.id, "" if c.measured_eV is None else f"{c.measured_eV:.2f}", *(_cell(c.gaps.get(m)) for m in methods)]
        for c in crystals
    ]
    return make_markdown_table(head, rows)


def report_gaps(report: Report[CrystalGaps]) -> dict[str, Any]:
    """All of it for JSON: settings, every gap of every crystal, and the errors of each method."""
    crystals = report.crystals
    measured = [c for c in crystals if c.measured_eV is not None]
    return {
        "settings": report.settings,
        "crystals": [c.to_dict() for c in crystals],
        "failed": report.failed,
        "mae_eV": {
            name: measure_error(measured, name)
            for name in _list_methods(crystals)
            if any(name in c.gaps for c in measured)
        },
    }


def read_gap_report(data: dict[str, Any]) -> list[CrystalGaps]:
    """The gaps of crystals from what `report_gaps` made."""
    return [
        CrystalGaps(c["id"], c["formula"], c["measured_eV"], {n: Gap(**g) for n, g in c["gaps"].items()}, c["failed"])
        for c in data["crystals"]
    ]


def _list_methods(crystals: Sequence[CrystalGaps]) -> list[str]:
    return list(dict.fromkeys(name for c in crystals for name in c.gaps))


def _difference(crystals: Sequence[CrystalGaps], name: str) -> str:
    """Mean difference of gaps in a fixed density from those of PBE; none for HSE06, which is no approximation of it."""
    both = [c for c in crystals if name in c.gaps and SCF in c.gaps]
    if name == SCF or name.endswith(ONE_LOOP) or "HSE06" in name or not both:
        return "-"
    return f"{np.mean([abs(c.gaps[name].gap_eV - c.gaps[SCF].gap_eV) for c in both]):.3f}"


def _remarks(crystals: Sequence[CrystalGaps]) -> list[str]:
    metallic = [c.id for c in crystals if SCF in c.gaps and c.gaps[SCF].gap_eV < METALLIC]
    said = [f"Without a gap in PBE, counted as 0: {', '.join(metallic)}."] if metallic else []
    said += [f"{c.id}: no gap from {name}: {reason}" for c in crystals for name, reason in c.failed.items()]
    return [*said, ""] if said else []


def _cell(gap: Gap | None) -> str:
    return "" if gap is None else f"{gap.gap_eV:.2f}"
