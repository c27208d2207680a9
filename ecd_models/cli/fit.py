"""The verb that fits functions on atoms to a given density: how well a network with the same functions could do."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import Annotated

import typer

from ecd_models.cli.options import Json, Source, Unit, density_file, model_option
from ecd_models.cli.sources import find_density
from ecd_models.cli.terminal import print, print_lines


def fit(
    source: Source,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File for the fitted density, such as fit_CHGCAR.", callback=density_file),
    ] = None,
    functions: Annotated[int, typer.Option(help="Radial functions of an atom for each angular momentum.")] = 10,
    lmax: Annotated[int, typer.Option(help="Highest angular momentum.")] = 4,
    widest: Annotated[float, typer.Option(help="Exponent of the widest Gaussian in 1/Å^2.")] = 0.3,
    sharpest: Annotated[float, typer.Option(help="Exponent of the sharpest Gaussian in 1/Å^2.")] = 20.0,
    ridge: Annotated[float, typer.Option(help="Strength of the penalty on large coefficients.")] = 1e-3,
    model: Annotated[
        str | None,
        model_option(
            "Checkpoint or name of a model whose superposed atoms the functions are added to; default: atoms"
            " fitted to this density."
        ),
    ] = None,
    store: Annotated[
        str | None, typer.Option("--store", help="Store that holds the id: a path, a URL, pbe, hse or ood.")
    ] = None,
    json: Json = False,
    unit: Unit = None,
) -> None:
    """Fit superposed atoms and functions on them to a density, and print the error that is left."""
    from ecd_data import write
    from ecd_data.errors import UsageError
    from ecd_models import load_model
    from ecd_models.networks.fourier_density.least_squares import fit_density
    from ecd_models.networks.fourier_density.model import FourierDensityConfig

    config = FourierDensityConfig(functions=functions, lmax=lmax, widest=widest, sharpest=sharpest)
    atoms = None if model is None else load_model(model).atoms
    if model is not None and atoms is None:
        raise UsageError(f"{model} has no superposed atoms: name a model that has, or leave --model out")
    found = fit_density(find_density(source, store, unit), config, atoms, ridge)
    numbers = functions * (lmax + 1) ** 2
    size = float((found.coefficients**2).sum() ** 0.5)
    record = {
        "start_error_percent": 100 * found.start_error,
        "error_percent": 100 * found.error,
        "coefficients_per_atom": numbers,
        "norm": size,
        "steps": found.steps,
    }
    if json:
        print_lines(json_format.dumps(record, indent=1))
    else:
        print(f"superposed atoms: eps_mae {100 * found.start_error:.3f} %")
        print(f"with {numbers} coefficients an atom: eps_mae {100 * found.error:.3f} %, their norm {size:.3f}")
    if output is not None:
        write(output, found.density)
        if not json:
            print(f"{output}: {found.density.nelect:.4f} electrons")
