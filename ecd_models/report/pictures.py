"""Pictures of a model's worst predictions, which are predicted again."""

from __future__ import annotations

import base64
import io
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ecd_data.comparison import ELECTRON_TOLERANCE
from ecd_data.errors import EcdError
from ecd_data.plots.picture import plot_slices
from ecd_data.store.reader import Store
from ecd_models.evaluation.crystal_result import CrystalResult
from ecd_models.evaluation.results import Results
from ecd_models.model import DensityModel
from ecd_models.prediction.predict import predict
from ecd_models.report.render import Picture

WORST = 10  # pictures
WIDTH, QUALITY = 1100, 78  # pixels and WebP quality: about 40 kB for each picture
SAME = 1e-3  # relative difference of an error that is measured again on another machine


def find_worst(results: Sequence[Results], count: int = WORST) -> list[tuple[Results, CrystalResult]]:
    """The crystals with the largest errors over the results of one model, one of each compound."""
    found: dict[str, tuple[Results, CrystalResult]] = {}
    for one in results:
        for crystal in one.crystals:
            known = found.get(crystal.compound)
            if known is None or crystal.eps_mae_percent > known[1].eps_mae_percent:
                found[crystal.compound] = (one, crystal)
    return sorted(found.values(), key=lambda pair: -pair[1].eps_mae_percent)[:count]


def draw_worst(
    model: DensityModel, worst: Iterable[tuple[Results, CrystalResult]], stores: Mapping[str, Store]
) -> list[Picture]:
    """A Picture for each of the worst crystals: a plane of the density, of the prediction, and their difference.

    Parameters
    ----------
    model : the model of the results.
    worst : results and crystals, see `find_worst`.
    stores : the stores by hash; a crystal whose store is not there has no picture.

    Raises
    ------
    EcdError : the prediction is another one than that of the results.
    """
    return [_draw(model, stores[one.store_hash], one, c) for one, c in worst if one.store_hash in stores]


def _draw(model: DensityModel, store: Store, one: Results, crystal: CrystalResult) -> Picture:
    from ecd_data.density_error import eps_mae

    rho = store[crystal.id]
    guess = predict(model, rho.crystal, shape=rho.shape, refuse=False)
    error = 100 * eps_mae(guess, rho)
    if abs(error - crystal.eps_mae_percent) > SAME * max(crystal.eps_mae_percent, 0.1):
        raise EcdError(
            f"{one.model} gives {crystal.id} an error of {error:.4f} % now, and {crystal.eps_mae_percent:.4f} % in the "
            "results: evaluate it again with the model as it is"
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.png"
        plot_slices(rho, guess, path, crystal.formula)
        source = _encode(path)
    apart = crystal.predicted_electrons - crystal.electrons
    electrons = f", {apart:+.2f} electrons" if abs(apart) > 0.01 * ELECTRON_TOLERANCE else ""
    seen = {"crystal": "it trained the model", "composition": "its compound trained the model"}
    known = seen.get(crystal.seen or "", "its compound did not train the model" if crystal.seen else "")
    parts = [f"{one.task} {one.part}", f"{crystal.natoms} atoms", crystal.crystal_system or "", known]
    return Picture(
        f"{crystal.id}: {crystal.eps_mae_percent:.2f} %{electrons}",
        "; ".join(part for part in parts if part) + ". Truth, prediction, and their difference in a plane.",
        source,
    )


def _encode(path: Path) -> str:
    """A picture as a data URL, as WebP of a moderate size."""
    from PIL import Image  # comes with matplotlib

    with Image.open(path) as image:
        small = image.convert("RGB")
        small.thumbnail((WIDTH, WIDTH))
        stream = io.BytesIO()
        small.save(stream, "WEBP", quality=QUALITY, method=6)
    return f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}"
