"""The verb `predict`, which writes the predicted densities of structures to files."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ecd_data.errors import UsageError
from ecd_models.cli.options import Device, Grid, Quiet, Unit, density_file, model_option
from ecd_models.cli.terminal import INTERRUPTED, print

if TYPE_CHECKING:
    from ecd_data import Density
    from ecd_models.model import DensityModel
    from ecd_models.prediction.density_files import PredictedFiles
    from ecd_models.prediction.reference_electrons import Valences


def predict(
    structures: Annotated[
        list[Path],
        typer.Argument(
            help="Structure files (CIF, POSCAR, CHGCAR or others that pymatgen or ASE reads), or folders of them."
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="File to write, with CHGCAR or .cube in its name; for several structures a folder."
        ),
    ],
    model: Annotated[str | None, model_option("Checkpoint or name of a model; default: fourier_density.")] = None,
    grid: Grid = None,
    like: Annotated[
        Path | None,
        typer.Option(
            help="CHGCAR whose grid is used, and whose augmentation occupancies are too where the atoms agree."
        ),
    ] = None,
    encut: Annotated[
        float | None,
        typer.Option(
            help="ENCUT in eV: use the fine grid of VASP at this cutoff, of PREC = Accurate unless --prec says"
            " otherwise (VASP's own default is Normal, which `ecd scf restart --encut` takes)."
        ),
    ] = None,
    prec: Annotated[
        str,
        typer.Option(
            help="PREC of VASP that --encut is meant for: accurate, as published data sets have it, or normal."
        ),
    ] = "accurate",
    augmentation: Annotated[
        Path | None, typer.Option(help="CHGCAR of the same atoms whose PAW occupancies are written after the density.")
    ] = None,
    potcar: Annotated[
        Path | None,
        typer.Option(help="POTCAR whose valences must be those of the model; default: one in the folder of the files."),
    ] = None,
    zval: Annotated[
        list[str] | None,
        typer.Option(
            help="Valence electrons of an element in your run, such as Fe=8, which must be the model's; repeatable."
        ),
    ] = None,
    allow_valence_mismatch: Annotated[
        bool, typer.Option("--allow-valence-mismatch", help="Predict even if the valences differ.")
    ] = False,
    functional: Annotated[
        str | None, typer.Option(help="Functional of the density, for a model of several, such as HSE06.")
    ] = None,
    magmom: Annotated[
        str | None,
        typer.Option(
            help="Moments that the atoms start from, as VASP's MAGMOM: '2*5 2*-5 4*0', or one number for all atoms, 0"
            " for no moments; for a model with initial moments. Default: all positive."
        ),
    ] = None,
    symmetry: Annotated[
        bool, typer.Option(help="Evaluate the network only at points that symmetry does not relate.")
    ] = False,
    cube: Annotated[bool, typer.Option(help="For several structures: write cube files instead of CHGCARs.")] = False,
    unit: Unit = None,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Predict densities; with several structures, a second call skips those that this model wrote on this grid."""
    from ecd_models import load_model
    from ecd_models.prediction.density_files import GridRule, predict_files
    from ecd_models.training.progress_display import show_point_count

    single = len(structures) == 1 and not structures[0].is_dir()
    if single:
        density_file(output)
    if unit is not None and like is None:
        raise UsageError("--unit states the unit of the density that --like names: give --like, or leave it out")
    reference = _read_reference(like, unit)
    rule = GridRule(grid, reference, encut, prec)
    chosen = on_device(load_model(model), device)
    report = predict_files(
        chosen,
        structures,
        output,
        rule,
        augmentation=_read_reference(augmentation) if augmentation is not None else reference,
        strict=augmentation is not None,
        symmetry=symmetry,
        format="cube" if cube else "chgcar",
        counter=lambda name, points: show_point_count(name, points, not quiet),
        valences=_choose_valences(potcar, zval),
        allow_valence_mismatch=allow_valence_mismatch,
        functional=functional,
        moments=None if magmom is None else _read_moments(magmom),
    )
    _print_report(report, chosen, None if single else output)
    raise typer.Exit(INTERRUPTED if report.left else 1 if report.failed else 0)


def _print_report(report: PredictedFiles, model: DensityModel, folder: Path | None) -> None:
    """Print the files that were written and the structures that were left out; folder: that of several files."""
    for file, what in report.written.items():
        print(f"{file}: {what}")
    if report.bare:
        print(_describe_restart(model))
    for structure, reason in report.failed.items():
        print(f"left out: {reason if structure in reason else f'{structure}: {reason}'}", file=sys.stderr)
    if folder is not None:
        counts = f"{len(report.written)} written, {len(report.present)} there already, {len(report.failed)} left out"
        print(f"{folder}: {counts}")
    if report.left:
        print(f"{len(report.left)} of the structures are left", file=sys.stderr)


def _describe_restart(model: DensityModel) -> str:
    """What a density without augmentation occupancies lacks for a start of VASP."""
    learned = model.training_valences
    if learned is not None and learned.method not in ("", "PAW"):
        return f"{model.name} learned densities of {learned.made_by}, from which VASP cannot start (docs/scf.md)"
    return "without augmentation occupancies, which a restart of VASP needs: give --augmentation CHGCAR"


def _read_reference(file: Path | None, unit: str | None = None) -> Density | None:
    """The density in a file, with its name and the data of the POTCAR or OUTCAR in its folder."""
    from ecd_data.formats import read_run

    if file is None:
        return None
    rho = read_run(file, unit)
    return replace(rho, meta={**rho.meta, "source": str(file)})


def _read_moments(text: str) -> float | list[float]:
    """The moments of --magmom: of each atom, or one number for all."""
    from ecd_data.formats.vasp.settings import parse_numbers

    try:
        moments = parse_numbers(text)
    except ValueError:
        moments = []
    if not moments:
        raise UsageError(f"--magmom {text!r} has no numbers: write them as in MAGMOM, such as '2*5 -5'")
    return moments[0] if len(text.split()) == 1 and "*" not in text else moments


def _choose_valences(potcar: Path | None, zval: list[str] | None) -> Valences | None:
    from ecd_models.atoms.valences import parse_zval
    from ecd_models.prediction.reference_electrons import read_potcar_valences

    if potcar is not None and zval:
        raise UsageError("give the valences by one of: --potcar FILE, --zval ELEMENT=ELECTRONS")
    if potcar is not None:
        return read_potcar_valences(potcar)
    return parse_zval(zval) if zval else None


def on_device(model: DensityModel, name: str) -> DensityModel:
    """The model on a device; raises UsageError where torch has none of this name."""
    try:
        return model.to(name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(
            f"device {name!r} cannot be used here ({reason}): take cpu, or a torch built for it"
        ) from error
