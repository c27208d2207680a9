"""The tables of docs/sample.md, from the stores themselves."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from ecd_data.sample.cells import parent_of, structures
from ecd_data.store import open_store

if TYPE_CHECKING:
    from pandas import DataFrame

HERE = Path(__file__).parent


def tables(folder: Path = HERE) -> str:
    """The contents of the two stores in a folder, as Markdown: totals, kinds and prototypes, a row a crystal."""
    pbe, hse = (open_store(folder / f"{name}.ecd").index.set_index("id") for name in ("pbe", "hse"))
    crystals = pbe[[parent_of(id) == id for id in pbe.index]]
    return "\n\n".join([_totals(folder, pbe, hse), _kinds(crystals), _prototypes(crystals), _rows(crystals, pbe, hse)])


def _totals(folder: Path, pbe: DataFrame, hse: DataFrame) -> str:
    rows = []
    for name, frame in (("pbe", pbe), ("hse", hse)):
        pristine = sum(parent_of(id) == id for id in frame.index)
        elements = {element for row in frame["elements"] for element in row}
        size = sum(path.stat().st_size for path in (folder / f"{name}.ecd").rglob("*") if path.is_file())
        hours = frame["cpu_seconds"].sum() / 3600
        shown = [name, len(frame), pristine, len(frame) - pristine, len(elements), f"{size / 1e6:.2f}", f"{hours:.2f}"]
        rows.append(shown)
    return _markdown(["store", "densities", "pristine", "displaced", "elements", "MB", "CPU hours"], rows)


def _kinds(crystals: DataFrame) -> str:
    records = structures()

    def kind(id: str) -> str:
        if crystals.loc[id, "spin"]:
            return "magnetic metal"
        if records[id]["metal"]:
            return "metal, or gap closed in PBE (smeared)"
        gap = crystals.loc[id, "gap_eV"]
        return "no or tiny PBE gap (< 0.2 eV)" if gap < 0.2 else "PBE gap to 2 eV" if gap < 2 else "PBE gap above 2 eV"

    return _markdown(["kind", "crystals"], sorted(Counter(map(kind, crystals.index)).items()))


def _prototypes(crystals: DataFrame) -> str:
    groups: dict[str, list[str]] = {}
    for id, record in structures().items():
        if id in crystals.index:
            groups.setdefault(record["prototype"], []).append(id.split("_")[0])
    ordered = sorted(groups.items(), key=lambda item: -len(item[1]))
    return _markdown(["prototype", "crystals", ""], [[p, len(names), ", ".join(names)] for p, names in ordered])


def _rows(crystals: DataFrame, pbe: DataFrame, hse: DataFrame) -> str:
    displaced = Counter(parent_of(id) for id in pbe.index if parent_of(id) != id)
    rows = []
    for id, row in crystals.sort_index().iterrows():
        grid = "x".join(map(str, row["shape"]))
        hybrid = f"{hse.loc[id, 'gap_eV']:.2f}" if id in hse.index else ""
        moment = f"{row['total_magnetization']:.2f}" if row["spin"] else ""
        rows.append([id, row["natoms"], grid, f"{row['gap_eV']:.2f}", hybrid, moment, displaced[str(id)] or ""])
    header = ["id", "atoms", "grid", "PBE gap", "HSE06 gap", "moment", "displaced cells"]
    return _markdown(header, rows)


def _markdown(header: list[str], rows: list) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
