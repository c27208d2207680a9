"""Several models as one: the mean of their densities, and how far they differ as a first estimate of its error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ecd_data.crystal import Floats
from ecd_data.density import Density
from ecd_data.errors import UsageError
from ecd_data.io.density_names import PREDICTED_BY
from ecd_models.atoms.valences import merge_valences
from ecd_models.checkpoint import load_model
from ecd_models.model import DensityModel
from ecd_models.prediction.functionals import list_functionals
from ecd_models.prediction.predict import predict


@dataclass(frozen=True, eq=False)
class EnsembleDensity:
    """The prediction of an ensemble.

    Attributes
    ----------
    density : the mean of the models' densities.
    spread : their standard deviation (with n - 1) at each grid point in e/Å^3 [a, b, c].
    """

    density: Density
    spread: Floats

    @property
    def relative_spread(self) -> float:
        """sum(spread) / sum|density| over the grid, the same kind of mean as eps_mae, a fraction.

        It grows with the error, but is no bound of it: what all models have in common, such as their training
        crystals, it does not see. `benchmarks/reliability.py` compares the two.
        """
        return float(self.spread.sum() / np.abs(self.density.values).sum())


class Ensemble:
    """Several models of the density as one.

    Parameters
    ----------
    models : at least two, such as one network trained with several seeds.

    Raises
    ------
    UsageError : there are fewer than two models, one has spin, two have the same weights, or two give densities of
        other functionals, valence electrons, methods or codes, whose mean is the density of neither.
    """

    def __init__(self, models: Sequence[DensityModel]):
        if len(models) < 2:
            raise UsageError(f"an ensemble is of two or more models, not of {len(models)}")
        if spins := [model.name for model in models if model.spin]:
            raise UsageError(
                f"{spins[0]} predicts the magnetization too: an ensemble is of models of the density alone"
            )
        self.models = list(models)
        self._refuse_equal_models()
        self._require_one_functional()
        self._require_one_kind_of_density()

    def _refuse_equal_models(self) -> None:
        seen: dict[str, DensityModel] = {}
        for model in self.models:
            if (before := seen.get(model.weights_sha256)) is not None:
                names = " and ".join(dict.fromkeys(str(one.file or one.name) for one in (before, model)))
                raise UsageError(
                    f"{names} gives the ensemble the same weights twice, which makes its spread too small: name each"
                    " model once"
                )
            seen[model.weights_sha256] = model

    def _require_one_functional(self) -> None:
        common: set[str] = set()
        for model in self.models:
            given = _find_functionals(model)
            if common and given and not common & given:
                raise UsageError(
                    f"{model.name} gives densities of {' and '.join(sorted(given))} and those before it in the "
                    f"ensemble of {' and '.join(sorted(common))}, whose mean is that of neither: take models of one "
                    "functional"
                )
            common = common & given if common and given else common or given

    def _require_one_kind_of_density(self) -> None:
        before = None
        for model in self.models:
            if model.training_valences is not None:
                before, warning = merge_valences(before, model.training_valences)
                if warning is not None:
                    raise UsageError(
                        f"{model.name} and the models before it in the ensemble were trained on different kinds of"
                        " densities (valence electrons, method or code), whose mean is the density of neither: take"
                        " models of one kind"
                    )

    @property
    def name(self) -> str:
        """The names of the models, each once."""
        return " + ".join(dict.fromkeys(model.name for model in self.models))

    def predict(self, crystal: Any, **options: Any) -> EnsembleDensity:
        """The mean of the models' densities on a grid, and their standard deviation.

        Parameters
        ----------
        crystal, options : those of `ecd_models.predict`; one of shape, encut and like gives the grid.

        Raises
        ------
        UsageError : `points` is given, or an argument is wrong for `predict`.
        EcdError : a model gives no density.
        """
        if "points" in options:
            raise UsageError("an ensemble predicts whole grids: give shape=(a, b, c), encut=EV or like=density")
        parts = [predict(model, crystal, **options) for model in self.models]
        values = np.stack([part.values for part in parts])
        names = " + ".join(part.meta["comment"].removeprefix(PREDICTED_BY).strip() for part in parts)
        meta = dict(parts[0].meta) | {"comment": f"{PREDICTED_BY} the mean of {len(parts)} models: {names}"}
        if unseen := dict.fromkeys(one for part in parts for one in part.meta.get("never_seen", ())):
            meta["never_seen"] = list(unseen)
        return EnsembleDensity(Density(parts[0].crystal, values.mean(axis=0), meta=meta), values.std(axis=0, ddof=1))


def _find_functionals(model: DensityModel) -> set[str]:
    """The functionals of the densities that a model gives without being asked; none where it is not recorded."""
    if list_functionals(model):
        return {model.network.functional}
    learned = model.training_valences
    return set(learned.functional.split(", ")) - {""} if learned is not None else set()


def load_ensemble(names: Sequence[str | Path]) -> Ensemble:
    """The ensemble of trained models, each by name or file, as `load_model` takes it.

    Raises
    ------
    UsageError : as for `Ensemble`; also where `names` is one text in place of a list.
    """
    if isinstance(names, (str, Path)):
        raise UsageError(f"load_ensemble wants a list of models, not {str(names)!r}: put it in brackets with others")
    return Ensemble([load_model(name) for name in names])
