"""Verbs for densities of one's own with Quantum ESPRESSO."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ecd_data.errors import UsageError


def setup(
    pwx: Annotated[Path | None, typer.Option(help="The pw.x program; default ECD_PWX, then the PATH.")] = None,
    pseudo: Annotated[Path | None, typer.Option(help="Folder of <symbol>.upf; default the cache.")] = None,
) -> None:
    """Find Quantum ESPRESSO and fetch pseudopotentials into the user's cache."""
    from ecd_data.dft import setup

    print(setup(pwx, pseudo))


def run(
    crystals: Annotated[list[Path], typer.Argument(help="CIF, POSCAR or JSON files; the last one is the store.")],
    functional: Annotated[str, typer.Option("--functional", "-f", help="pbe or hse.")] = "pbe",
    processes: Annotated[int, typer.Option("--processes", "-p", help="Runs at a time.")] = 1,
    pwx: Annotated[Path | None, typer.Option(help="The pw.x program; default ECD_PWX, then the PATH.")] = None,
    pseudo: Annotated[Path | None, typer.Option(help="Folder of <symbol>.upf; default the cache.")] = None,
    work: Annotated[Path | None, typer.Option(help="Keep all engine files in this folder.")] = None,
) -> None:
    """Compute the densities of crystals into a store; a second call continues."""
    from ecd_data.dft import run

    if len(crystals) < 2:
        raise UsageError("ecd dft run wants structure files and, last, the store to write: ecd dft run Si.cif my.ecd")
    report = run(crystals[:-1], crystals[-1], functional, processes=processes, pwx=pwx, pseudo=pseudo, work=work)
    print(f"{crystals[-1]}: {report}")
    raise typer.Exit(1 if report.failures else 0)
