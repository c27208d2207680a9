"""The section on where the best model fails: its errors by element, its worst crystals, and pictures of them."""

from __future__ import annotations

import base64
import io
import logging
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ecd_data.comparison import ELECTRON_TOLERANCE
from ecd_data.errors import EcdError, UsageError
from ecd_data.plots.picture import plot_slices
from ecd_data.release.data_origin import store_hash
from ecd_data.store.data_root import CONFIGURATIONS, SAMPLE_STORES, configuration_store, find_data_root, sample_store
from ecd_data.store.reader import Store
from ecd_models.checkpoint import load_model
from ecd_models.evaluation.crystal_result import CrystalResult
from ecd_models.evaluation.model_card import SHIPPED, ModelCard
from ecd_models.evaluation.results import Results
from ecd_models.model import DensityModel
from ecd_models.prediction.functionals import list_functionals
from ecd_models.prediction.predict import predict
from ecd_models.report.error_figures import collect_crystals
from ecd_models.report.page import Picture, Section, Table, number, text
from ecd_models.report.periodic_table import make_error_table_of_elements
from ecd_models.report.result_tables import SEEN, name_part

WORST = 10  # pictures
WIDTH, QUALITY = 1100, 78  # pixels and WebP quality: about 40 kB for each picture
SAME = 1e-3  # relative difference of an error that is measured again on another machine


def find_worst(results: Sequence[Results]) -> list[tuple[Results, CrystalResult]]:
    """The crystals with the largest errors over the results of one model, one of each compound."""
    found: dict[str, tuple[Results, CrystalResult]] = {}
    for one in results:
        for crystal in one.crystals:
            known = found.get(crystal.compound)
            if known is None or crystal.eps_mae_percent > known[1].eps_mae_percent:
                found[crystal.compound] = (one, crystal)
    return sorted(found.values(), key=lambda pair: -pair[1].eps_mae_percent)[:WORST]


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
    functional = crystal.functional if list_functionals(model) else None  # as in the evaluation
    guess = predict(model, rho.crystal, shape=rho.shape, functional=functional, refuse=False)
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


log = logging.getLogger("ecd_models")

SEEN_NAMES = {"crystal": SEEN["seen_crystals"], "composition": SEEN["seen_compositions"], "unseen": SEEN["unseen"]}


def make_failure_section(results: Sequence[Results], pictures: bool) -> Section:
    """The Section about the model with the smallest median error over all its crystals.

    Without pictures, or where model or data are not at hand, the worst crystals are listed alone, and a line says why.
    """
    if not results:
        return Section("Worst predictions", "worst")
    medians = {
        model: np.median([c.eps_mae_percent for c in found]) for model, found in collect_crystals(results).items()
    }
    best = min(medians, key=lambda model: float(medians[model]))
    mine = [one for one in results if one.model == best]
    worst = find_worst(mine)
    note = f"{best} has the smallest median error over all crystals of its results. Its largest errors:"
    drawn: list[Picture] = []
    if pictures:
        try:
            stores = _find_stores(mine)
            drawn = draw_worst(find_model(mine[0].model_card), worst, stores)
            if lacking := sum(one.store_hash not in stores for one, _ in worst):
                note += f" (The data of {lacking} of them are not at hand, so they have no pictures.)"
        except EcdError as error:
            log.warning("the report has no pictures of %s: %s", best, error)
            note += f" (There are no pictures: {error}.)"
    elements = make_error_table_of_elements(best, mine)
    return Section(f"Where {best} fails", "worst", (note,), [elements, _list_worst(worst), *drawn])


def find_model(card: ModelCard) -> DensityModel:
    """The model of a card, from where its results were computed.

    Raises
    ------
    UsageError : it is not there, or has other weights by now.
    """
    name = card.name if card.source == SHIPPED else card.source
    if name is None or (card.source != SHIPPED and not Path(name).is_file()):
        raise UsageError(f"the checkpoint of {card.name} is not at hand")
    model = load_model(name)
    if model.weights_sha256 != card.weights_sha256:
        raise UsageError(f"{name} has other weights than those of the results: evaluate it again")
    return model


def _find_stores(results: Sequence[Results]) -> dict[str, Store]:
    """The stores of results that are at hand by hash: the sample's, under the data root, or at the task's path."""
    wanted = {one.store_hash for one in results}
    root = find_data_root()
    places = [sample_store(name) for name in SAMPLE_STORES]
    places += [configuration_store(root, name) for name in CONFIGURATIONS] if root else []
    places += [one.task for one in results if Path(one.task).is_dir()]
    found = {}
    for place in dict.fromkeys(places):
        try:
            digest = store_hash(Store(place))
        except EcdError:
            continue
        if digest in wanted:
            found[digest] = Store(place)
    return found


def _list_worst(worst: Sequence[tuple[Results, CrystalResult]]) -> Table:
    rows = [
        [
            text(crystal.id),
            text(crystal.formula),
            text(name_part(one)),
            number(crystal.eps_mae_percent, 2),
            number(crystal.superposed_atoms_percent, 2),
            number(crystal.predicted_electrons - crystal.electrons, 3),
            number(crystal.potential_error_eV, 3),
            text(SEEN_NAMES.get(crystal.seen or "", "not recorded")),
        ]
        for one, crystal in worst
    ]
    columns = (
        "crystal",
        "formula",
        "part",
        "eps_mae %",
        "superposed atoms %",
        "electrons off",
        "potential eV",
        "training",
    )
    return Table(f"The {len(rows)} largest errors, one crystal of each compound", columns, rows)
