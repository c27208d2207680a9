"""The verb `scf restart`, which writes a folder from which VASP or pw.x starts with a density."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ecd_data.errors import UsageError
from ecd_models.cli.options import Device, Grid, Quiet, model_option
from ecd_models.cli.terminal import print

if TYPE_CHECKING:
    from ecd_models.model import DensityModel
    from ecd_models.scf.vasp_restart import Restart

ESPRESSO, VASP = "Options for Quantum ESPRESSO", "Options for VASP"


def restart(
    start: Annotated[
        Path,
        typer.Argument(
            help="The input of a pw.x run, which makes the folder one for Quantum ESPRESSO. For VASP a structure file,"
            " with -m; else a density file."
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder to write; it must not contain any of the files yet.")
    ],
    model: Annotated[
        str | None,
        model_option("Checkpoint or name of a model that predicts the density, such as fourier_density for pw.x."),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            help="VASP: CHGCAR of the same atoms and POTCAR whose PAW occupancies are written after the density. pw.x:"
            " charge-density.dat that pw.x wrote for the same cell and cutoffs; it gives the order of plane waves where"
            " that is not known, and magnetization and occupations of U where the density has none."
        ),
    ] = None,
    nelect: Annotated[
        float | None,
        typer.Option(help="Number of electrons of the run; for pw.x where its pseudopotentials are not found."),
    ] = None,
    density: Annotated[
        Path | None,
        typer.Option(help="Density file of the same crystal to start from, in place of -m.", rich_help_panel=ESPRESSO),
    ] = None,
    pseudo: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the pseudopotentials that the input names; default: pseudo_dir of the input, or where"
            " $ESPRESSO_PSEUDO points.",
            rich_help_panel=ESPRESSO,
        ),
    ] = None,
    potcar: Annotated[
        Path | None,
        typer.Option(help="POTCAR of the run, for its electrons and its elements.", rich_help_panel=VASP),
    ] = None,
    incar: Annotated[
        Path | None,
        typer.Option(help="INCAR of the run, to which the tags of the restart are added.", rich_help_panel=VASP),
    ] = None,
    grid: Grid = None,
    encut: Annotated[
        float | None,
        typer.Option(
            help="ENCUT in eV: use the fine grid of VASP at this cutoff, of PREC = Normal unless --prec or the INCAR"
            " says otherwise (`ecd predict --encut` takes Accurate).",
            rich_help_panel=VASP,
        ),
    ] = None,
    prec: Annotated[
        str | None,
        typer.Option(
            help="PREC of VASP that --encut is meant for; default: that of the INCAR, else normal, VASP's own default.",
            rich_help_panel=VASP,
        ),
    ] = None,
    allow_valence_mismatch: Annotated[
        bool, typer.Option("--allow-valence-mismatch", help="Write the folder even if the valences differ.")
    ] = False,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Write a folder from which pw.x or VASP starts its self-consistency with a predicted or given density.

    The code is that of the file: an input of pw.x, or a structure or density for VASP.
    """
    from ecd_models.scf.espresso_input import is_pw_input

    if not start.is_file():  # before a model is fetched for it
        found = "is a folder" if start.is_dir() else "does not exist"
        raise UsageError(
            f"{start} {found}: give an input of pw.x, or for VASP a structure file with -m, or a density file"
        )
    common: Any = {"reference": reference, "nelect": nelect}
    choice: Any = {"allow": allow_valence_mismatch, "show": not quiet}
    if is_pw_input(start):
        only_vasp = {"--potcar": potcar, "--incar": incar, "--grid": grid, "--encut": encut, "--prec": prec}
        _refuse_options(only_vasp, f"{start} is an input of pw.x", "VASP")
        written = _write_for_espresso(start, output, model, device, density, {**common, "pseudo": pseudo}, choice)
        listed = ", ".join(path.relative_to(output).as_posix() for path in sorted(output.rglob("*")) if path.is_file())
        line = f"{output}: {listed}"
    else:
        only_espresso = {"--density": density, "--pseudo": pseudo}
        _refuse_options(only_espresso, f"{start} is no input of pw.x (&control, &system)", "Quantum ESPRESSO")
        files = {"potcar": potcar, "incar": incar, "reference": reference}
        written = _write_for_vasp(start, output, model, device, files, (grid, encut, prec), nelect, choice)
        line = f"{output}: POSCAR, INCAR, CHGCAR, restart.json; put POTCAR and KPOINTS beside them"
    for warning in written.warnings:
        print(f"ecd: {warning}", file=sys.stderr)
    print(line)
    print(written.effect)


def _refuse_options(options: dict[str, Any], what: str, code: str) -> None:
    """Raises UsageError if an option for the other code is given."""
    if given := [name for name, value in options.items() if value is not None]:
        raise UsageError(f"{what}, and {', '.join(given)} is for {code}: leave it out")


def _load_model(name: str, device: str) -> DensityModel:
    from ecd_models import load_model
    from ecd_models.cli.predict import on_device

    return on_device(load_model(name), device)


def _write_for_espresso(
    start: Path,
    output: Path,
    model: str | None,
    device: str,
    density: Path | None,
    run_options: dict[str, Any],
    choice: dict[str, Any],
) -> Restart:
    from dataclasses import replace

    from ecd_models.scf.espresso_restart import refuse_written, write_espresso_restart
    from ecd_models.scf.espresso_start import PwRun, predict_start, read_start

    if (model is None) == (density is None):
        raise UsageError(f"give the density for {start} by one of: -m MODEL, --density FILE")
    run = PwRun.read(start, **run_options)
    refuse_written(run, output)  # before a model is fetched and predicts
    if density is not None:
        return write_espresso_restart(run, read_start(run, density), output)
    assert model is not None
    found = predict_start(run, _load_model(model, device), **choice)
    return write_espresso_restart(run, replace(found, source={**found.source, "model": model}), output)


def _write_for_vasp(
    start: Path,
    output: Path,
    model: str | None,
    device: str,
    files: dict[str, Any],
    rule: tuple[Any, Any, Any],
    nelect: float | None,
    choice: dict[str, Any],
) -> Restart:
    from ecd_models.scf.vasp_start import RunFiles, VaspGrid, find_start_density

    run = RunFiles.read(**files)
    network = None if model is None else _load_model(model, device)
    rho, source = find_start_density(start, run, VaspGrid(*rule), network, **choice)
    source |= {} if model is None else {"model": model}
    return run.write(rho, output, nelect=nelect, source=source)
