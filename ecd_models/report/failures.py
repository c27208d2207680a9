"""The section on where the best model fails: its errors by element, its worst crystals, and pictures of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ecd_data.errors import EcdError, UsageError
from ecd_data.release.data_origin import store_hash
from ecd_data.store.data_root import CONFIGURATIONS, SAMPLE_STORES, configuration_store, find_data_root, sample_store
from ecd_data.store.reader import Store
from ecd_models.checkpoint import load_model
from ecd_models.evaluation.crystal_result import CrystalResult
from ecd_models.evaluation.model_card import SHIPPED, ModelCard, hash_weights
from ecd_models.evaluation.results import Results
from ecd_models.model import DensityModel
from ecd_models.report.error_figures import collect_crystals
from ecd_models.report.periodic_table import make_error_table_of_elements
from ecd_models.report.pictures import draw_worst, find_worst
from ecd_models.report.render import Picture, Section
from ecd_models.report.result_tables import SEEN, name_part
from ecd_models.report.table import Table, number, text

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
    if hash_weights(model) != card.weights_sha256:
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
