"""The tables of the sample's contents for its report, made from the stores themselves."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from ecd_data.dft.formation import elemental_energies, formation_energies
from ecd_data.markdown import make_markdown_table
from ecd_data.release.tasks import SAMPLE_PARTS
from ecd_data.sample.additions import load_crystals, load_joined
from ecd_data.sample.cells import parent_of
from ecd_data.sample.split import make_manifest
from ecd_data.store import open_store
from ecd_data.store.index import INDEX

if TYPE_CHECKING:
    from pandas import DataFrame

SAMPLE_FOLDER = Path(__file__).parent
PBE_STORES = ("pbe", "ood", "elements")
STORES = (*PBE_STORES, "hse")
DERIVED_KINDS = {"d": "displaced", "s": "strained", "x": "supercells"}


def read_indexes() -> dict[str, DataFrame]:
    """The index of each store of the sample, with ids as row labels."""
    return {name: open_store(SAMPLE_FOLDER / f"{name}.ecd").index.set_index("id") for name in STORES}


def read_column(store: Path, column: str) -> dict[str, float]:
    """A column of a store's index by id, without crystals that lack it; empty if the store does not exist yet."""
    if not (store / INDEX).exists():
        return {}
    table = open_store(store).columns()
    if column not in table.column_names:
        return {}
    pairs = zip(table["id"].to_pylist(), table[column].to_pylist(), strict=True)
    return {id: value for id, value in pairs if value is not None and value == value}


def make_content_tables() -> str:
    """The tables of contents as Markdown: totals, kinds, prototypes, costs, and one with a row for each crystal."""
    import pandas as pd

    frames = read_indexes()
    pbe = pd.concat([frames["pbe"], frames["ood"]])
    crystals = pbe[[parent_of(str(id)) == id for id in pbe.index]]
    parts = [_total_table(frames), _kind_table(crystals), _prototype_table(crystals), _cost_table(frames)]
    return "\n\n".join([*parts, _crystal_table(crystals, pbe, frames["hse"])])


def _total_table(frames: dict[str, DataFrame]) -> str:
    rows = []
    for name, frame in frames.items():
        made = Counter(id.removeprefix(parent_of(id))[1:2] for id in frame.index)
        elements = {element for row in frame["elements"] for element in row}
        size = sum(path.stat().st_size for path in (SAMPLE_FOLDER / f"{name}.ecd").rglob("*") if path.is_file())
        hours = frame["cpu_seconds"].sum() / 3600
        kinds = [made[""], *(made[letter] for letter in DERIVED_KINDS)]
        rows.append([name, len(frame), *kinds, len(elements), f"{size / 1e6:.2f}", f"{hours:.2f}"])
    return make_markdown_table(
        ["store", "densities", "pristine", *DERIVED_KINDS.values(), "elements", "MB", "CPU hours"], rows
    )


def _kind_table(crystals: DataFrame) -> str:
    records = load_crystals()

    def kind(id: str) -> str:
        if crystals.loc[id, "spin"]:
            return "magnetic metal"
        if records[id]["metal"]:
            return "metal, or gap closed in PBE (smeared)"
        gap = crystals.loc[id, "gap_eV"]
        return "no or tiny PBE gap (< 0.2 eV)" if gap < 0.2 else "PBE gap to 2 eV" if gap < 2 else "PBE gap above 2 eV"

    return make_markdown_table(["kind", "crystals"], sorted(Counter(map(kind, crystals.index)).items()))


def _prototype_table(crystals: DataFrame) -> str:
    groups: dict[str, list[str]] = {}
    for id, record in load_crystals().items():
        if id in crystals.index:
            groups.setdefault(record["prototype"], []).append(id.split("_")[0])
    ordered = sorted(groups.items(), key=lambda item: -len(item[1]))
    return make_markdown_table(
        ["prototype", "crystals", ""], [[p, len(names), ", ".join(names)] for p, names in ordered]
    )


def _cost_table(frames: dict[str, DataFrame]) -> str:
    rows = []
    for name, label in (("pbe", "PBE"), ("ood", "PBE, ood"), ("hse", "HSE06")):
        seconds, steps = frames[name]["cpu_seconds"], frames[name]["scf_steps"]
        longest = f"{seconds.max():.0f} ({seconds.idxmax()})"
        rows.append([label, f"{seconds.median():.0f}", longest, f"{steps.median():.0f}"])
    return make_markdown_table(["", "CPU seconds, median", "most", "SCF steps, median"], rows)


def compute_formation_energies() -> dict[str, float]:
    """The PBE formation energies of the sample's cells in eV/atom by id, relative to the sample's own elements.

    Bare elements among the added crystals are no references, since they have not the structures of the elements.
    """
    stores, joined = {name: open_store(SAMPLE_FOLDER / f"{name}.ecd") for name in PBE_STORES}, load_joined()
    references = elemental_energies(stores.values(), without=joined)
    return formation_energies(stores["pbe"], references) | formation_energies(stores["ood"], references)


def _crystal_table(crystals: DataFrame, pbe: DataFrame, hse: DataFrame) -> str:
    energies, parts = compute_formation_energies(), _read_parts()
    made = Counter(parent_of(id) for id in map(str, pbe.index) if parent_of(id) != id)
    rows = []
    for id, row in crystals.sort_index().iterrows():
        rows.append(
            [
                id,
                parts[str(id)],
                row["natoms"],
                "x".join(map(str, row["shape"])),
                f"{row['gap_eV']:.2f}",
                f"{hse.loc[id, 'gap_eV']:.2f}" if id in hse.index else "",
                f"{row['total_magnetization']:.2f}" if row["spin"] else "",
                f"{energies[str(id)]:.2f}" if str(id) in energies else "",
                f"{row['pressure_GPa']:.1f}",
                f"{row['scf_steps']:.0f}",
                f"{row['cpu_seconds']:.0f}",
                f"{hse.loc[id, 'cpu_seconds']:.0f}" if id in hse.index else "",
                made[str(id)] or "",
            ]
        )
    header = ["id", "part", "atoms", "grid", "PBE gap", "HSE06 gap", "moment", "formation energy", "pressure"]
    return make_markdown_table([*header, "SCF steps", "PBE CPU s", "HSE06 CPU s", "made from it"], rows)


def _read_parts() -> dict[str, str]:
    """The part of every crystal with PBE."""
    parts = make_manifest()
    return {id: part for name in ("pbe", "ood") for part in ("train", *SAMPLE_PARTS) for id in parts[name][part]}
