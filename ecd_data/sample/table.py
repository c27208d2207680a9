"""The tables of docs/sample.md, from the stores themselves."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from ecd_data.dft.formation import elemental_energies, formation_energies
from ecd_data.sample.cells import cells, parent_of, structures
from ecd_data.sample.split import manifest
from ecd_data.store import open_store

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pandas import DataFrame

HERE = Path(__file__).parent
STORES = ("pbe", "ood", "elements", "hse")
MADE = {"d": "displaced", "s": "strained", "x": "supercells"}


def indexes(folder: Path = HERE) -> dict[str, DataFrame]:
    """The index of each store of the sample in a folder, by id."""
    return {name: open_store(folder / f"{name}.ecd").index.set_index("id") for name in STORES}


def tables(folder: Path = HERE) -> str:
    """The contents of the stores in a folder, as Markdown: totals, kinds, prototypes and costs, a row a crystal."""
    import pandas as pd

    frames = indexes(folder)
    pbe = pd.concat([frames["pbe"], frames["ood"]])
    crystals = pbe[[parent_of(str(id)) == id for id in pbe.index]]
    parts = [_totals(folder, frames), _kinds(crystals), _prototypes(crystals), _costs(frames)]
    return "\n\n".join([*parts, _rows(folder, crystals, pbe, frames["hse"])])


def markdown(header: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _totals(folder: Path, frames: dict[str, DataFrame]) -> str:
    rows = []
    for name, frame in frames.items():
        made = Counter(id.removeprefix(parent_of(id))[1:2] for id in frame.index)
        elements = {element for row in frame["elements"] for element in row}
        size = sum(path.stat().st_size for path in (folder / f"{name}.ecd").rglob("*") if path.is_file())
        hours = frame["cpu_seconds"].sum() / 3600
        kinds = [made[""], *(made[letter] for letter in MADE)]
        rows.append([name, len(frame), *kinds, len(elements), f"{size / 1e6:.2f}", f"{hours:.2f}"])
    return markdown(["store", "densities", "pristine", *MADE.values(), "elements", "MB", "CPU hours"], rows)


def _kinds(crystals: DataFrame) -> str:
    records = structures()

    def kind(id: str) -> str:
        if crystals.loc[id, "spin"]:
            return "magnetic metal"
        if records[id]["metal"]:
            return "metal, or gap closed in PBE (smeared)"
        gap = crystals.loc[id, "gap_eV"]
        return "no or tiny PBE gap (< 0.2 eV)" if gap < 0.2 else "PBE gap to 2 eV" if gap < 2 else "PBE gap above 2 eV"

    return markdown(["kind", "crystals"], sorted(Counter(map(kind, crystals.index)).items()))


def _prototypes(crystals: DataFrame) -> str:
    groups: dict[str, list[str]] = {}
    for id, record in structures().items():
        if id in crystals.index:
            groups.setdefault(record["prototype"], []).append(id.split("_")[0])
    ordered = sorted(groups.items(), key=lambda item: -len(item[1]))
    return markdown(["prototype", "crystals", ""], [[p, len(names), ", ".join(names)] for p, names in ordered])


def _costs(frames: dict[str, DataFrame]) -> str:
    rows = []
    for name, label in (("pbe", "PBE"), ("ood", "PBE, ood"), ("hse", "HSE06")):
        seconds, steps = frames[name]["cpu_seconds"], frames[name]["scf_steps"]
        again = frames[name].get("scf_steps_restart")
        restart = f"{again.median():.0f}" if again is not None and again.notna().any() else ""
        longest = f"{seconds.max():.0f} ({seconds.idxmax()})"
        rows.append([label, f"{seconds.median():.0f}", longest, f"{steps.median():.0f}", restart])
    header = ["", "CPU seconds, median", "most", "SCF steps, median", "from the density itself, median"]
    return markdown(header, rows)


def sample_formation_energies(folder: Path = HERE) -> dict[str, float]:
    """The PBE formation energy of every cell of the sample in eV/atom, by id, against its own elements."""
    stores = {name: open_store(folder / f"{name}.ecd") for name in ("pbe", "ood", "elements")}
    references = elemental_energies(stores.values())
    return formation_energies(stores["pbe"], references) | formation_energies(stores["ood"], references)


def _rows(folder: Path, crystals: DataFrame, pbe: DataFrame, hse: DataFrame) -> str:
    energies, places = sample_formation_energies(folder), _places()
    made = Counter(parent_of(id) for id in cells() if parent_of(id) != id and id in pbe.index)
    rows = []
    for id, row in crystals.sort_index().iterrows():
        rows.append(
            [
                id,
                places[str(id)],
                row["natoms"],
                "x".join(map(str, row["shape"])),
                f"{row['gap_eV']:.2f}",
                f"{hse.loc[id, 'gap_eV']:.2f}" if id in hse.index else "",
                f"{row['total_magnetization']:.2f}" if row["spin"] else "",
                f"{energies[str(id)]:.2f}" if str(id) in energies else "",
                f"{row['pressure_GPa']:.1f}",
                f"{row['scf_steps']:.0f}, {row['scf_steps_restart']:.0f}",
                f"{row['cpu_seconds']:.0f}",
                f"{hse.loc[id, 'cpu_seconds']:.0f}" if id in hse.index else "",
                made[str(id)] or "",
            ]
        )
    header = ["id", "part", "atoms", "grid", "PBE gap", "HSE06 gap", "moment", "formation energy", "pressure"]
    return markdown([*header, "SCF steps", "PBE CPU s", "HSE06 CPU s", "made from it"], rows)


def _places() -> dict[str, str]:
    """The part of every crystal with PBE."""
    parts = manifest()
    wanted = ("train", "validation", "test_geometries", "test_compositions", "test_pairs", "test_types")
    return {id: part for name in ("pbe", "ood") for part in wanted for id in parts[name][part]}
