"""The card of an export: its README with the YAML that `datasets` and the Hub read."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ecd_data.hub.plan import Subset

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
TITLE = "Electronic charge densities of crystals"
RELEASE = (
    "ECD's release (github.com/pincher-chen/ECDBench) is MIT as a repository and states no licence for the "
    "densities. {icsd:,} of the {total:,} crystals here have ids of the ICSD, which restricts redistribution of its "
    "entries: do not publish them without its permission. Materials Project densities carry the Materials Project's "
    "own terms."
)
SAMPLE = "The densities are ecd-data's embedded sample, computed with Quantum ESPRESSO for it, under the MIT licence."
OWN = "Whoever computed these densities decides on their licence; none was stated when this folder was written."

CARD = """---
{yaml}
---
# {title}

{total:,} electron densities of crystals on periodic grids, in e/Å^3. Everything is in Parquet: no code beside
`datasets`, pandas or any other Parquet reader is needed.

{table}

## Reading
```python
import numpy as np
from datasets import load_dataset

rows = load_dataset("{folder}", "{first}", split="{part}")
row = rows.with_format("numpy")[0]
print(row["id"], row["formula"], row["shape"], row["nelect"])
{example}
```

{payload}

## Columns
| column | meaning |
|---|---|
| id, formula, elements, natoms, spacegroup | the crystal: reduced formula, space group number by spglib |
| lattice [3, 3], numbers [n], frac_coords [n, 3] | lattice vectors as rows, Å; atomic numbers; fractional positions |
| shape [3] | grid points along a, b, c; point [i, j, k] lies at (i/a, j/b, k/c) |
{grids}| payload, sha256 | the crystal's bytes in the store, all blocks included, and their hash |
| nelect, spin, functional | integral of the density, whether it is spin-polarised, density functional |
| pipeline, bound | `fourier` and the mean error at most, relative to the mean density; or `real` and 0 |
| part | which kind of test crystal, in the embedded sample |
| flags, source, source_sha256 | what a check found; name and hash of the file that the density came from |

Further columns are properties of the calculation; the unit is in the name (energy_eV, gap_eV).

## Licence
{licence}
"""
ARRAYS = """density = row["density"].reshape(row["shape"])
volume = abs(np.linalg.det(row["lattice"]))
print(density.mean() * volume)  # the number of electrons"""
BYTES = 'print(len(row["payload"]), "bytes")'
WITH_PACKAGE = """With the package ecd-data installed, `payload` gives the density with its spin and PAW blocks:
`from ecd_data.hub.parquet_files import density_of_row; density_of_row(rows[0])`. The bytes are ZIP members of a Zarr v3
group, as ecd-data's docs/format.md describes."""
GRIDS = """| density | float32 [a * b * c] in C order, e/Å^3 |
| magnetization | n_up - n_down likewise, three blocks (x, y, z) when non-collinear, null without spin |
"""


def card(subsets: Sequence[Subset], decoded: str, license: str | None) -> str:
    """The text of README.md."""
    total = sum(len(subset.rows) for subset in subsets)
    yaml = ["pretty_name: " + TITLE, *licence_lines(subsets, license), "tags:"]
    yaml += [f"- {tag}" for tag in ("chemistry", "physics", "materials-science", "electron-density", "dft")]
    yaml += ["size_categories:", f"- {next((name for most, name in SIZES if total < most), 'n>1M')}", "configs:"]
    for number, subset in enumerate(subsets):
        yaml += [f"- config_name: {json.dumps(subset.name)}", *(["  default: true"] if number == 0 else [])]
        yaml += ["  data_files:"]
        for part, _ in subset.parts():
            yaml += [f"  - split: {part}", f"    path: {json.dumps(f'data/{subset.name}/{part}-*.parquet')}"]
    return CARD.format(
        yaml="\n".join(yaml),
        title=TITLE,
        total=total,
        table=_table(subsets),
        folder="path/of/this/folder",
        first=subsets[0].name,
        part=next(subsets[0].parts())[0],
        example=BYTES if decoded == "none" else ARRAYS,
        payload=WITH_PACKAGE,
        grids="" if decoded == "none" else GRIDS,
        licence=licence_text(subsets, license),
    )


def _table(subsets: Sequence[Subset]) -> str:
    lines = ["| configuration | split | crystals |", "|---|---|---|"]
    lines += [f"| {subset.name} | {part} | {len(rows):,} |" for subset in subsets for part, rows in subset.parts()]
    return "\n".join(lines)


def licence_lines(subsets: Sequence[Subset], license: str | None) -> list[str]:
    """What the YAML says of the licence: as given, MIT for the sample, else that none was stated."""
    if license is not None or all(subset.sample for subset in subsets):
        return [f"license: {json.dumps(license or 'mit')}"]
    return ["license: other", "license_name: not-stated"]


def licence_text(subsets: Sequence[Subset], license: str | None) -> str:
    """What is known of the licence, in words."""
    lines = [f"As stated by who made this folder: {license}."] if license is not None else []
    released = [subset for subset in subsets if subset.official and not subset.sample]
    if any(subset.sample for subset in subsets):
        lines.append(SAMPLE)
    if released:
        ids = [id for subset in released for id in subset.rows["id"]]
        lines.append(RELEASE.format(icsd=sum(id.startswith("icsd-") for id in ids), total=len(ids)))
    if license is None and any(not subset.official for subset in subsets):
        lines.append(OWN)
    return "\n\n".join(lines)
