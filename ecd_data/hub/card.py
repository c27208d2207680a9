"""The card of an export: its README.md, with the YAML that `datasets` and the Hub read."""

from __future__ import annotations

from collections.abc import Sequence

from huggingface_hub import DatasetCardData

from ecd_data.hub.plan import ExportConfig

# The Hub's names for numbers of rows below each limit
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
TAGS = ["chemistry", "physics", "materials-science", "electron-density", "dft"]
TITLE = "Electronic charge densities of crystals"
RELEASE = (
    "ECD's release (github.com/pincher-chen/ECDBench) is MIT as a repository and states no licence for the "
    "densities. {icsd:,} of the {total:,} crystals here have ids of the ICSD, which restricts redistribution of its "
    "entries: do not publish them without its permission. Materials Project densities carry the Materials Project's "
    "own terms."
)
SAMPLE = "The densities are ecd-data's embedded sample, computed with Quantum ESPRESSO for it, under the MIT licence."
NOT_STATED = "Whoever computed these densities decides on their licence; none was stated when this folder was written."

CARD = """---
{yaml}
---
# {title}

{total:,} electron densities of crystals on periodic grids, in e/Å^3. Everything is in Parquet, so
`datasets`, pandas or any other Parquet reader is enough.

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

Further columns are properties of the calculation; the unit is in the name (energy_eV, gap_eV). One that is called like
a column above has `property_` before its name.

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


def make_card(configs: Sequence[ExportConfig], decoded: str, license: str | None) -> str:
    """The text of README.md.

    Parameters
    ----------
    configs : the configurations of the export; the first is the default one.
    decoded : "float32" if the files have the grids as plain lists, "none" if they have the store's bytes only.
    license : the licence as the user states it; None if not stated.
    """
    total = sum(len(config.rows) for config in configs)
    return CARD.format(
        yaml=_make_metadata(configs, decoded, license, total).to_yaml(),
        title=TITLE,
        total=total,
        table=_make_table(configs),
        folder="path/of/this/folder",
        first=configs[0].name,
        part=next(configs[0].parts())[0],
        example=BYTES if decoded == "none" else ARRAYS,
        payload=WITH_PACKAGE,
        grids="" if decoded == "none" else GRIDS,
        licence=describe_licence(configs, license),
    )


def _make_metadata(configs: Sequence[ExportConfig], decoded: str, license: str | None, total: int) -> DatasetCardData:
    """The metadata of the card; the licence is the stated one, MIT for the sample, else "other".

    `datasets` caches a local folder by its metadata, not by its files: the description of a configuration changes with
    the crystals, so that an export that was made again is not read from the cache of the former one.
    """
    stated = license or ("mit" if all(config.sample for config in configs) else None)
    entries = [
        {
            "config_name": config.name,
            "description": f"{len(config.rows):,} crystals, content {config.content(decoded)[:16]}",
            **({"default": True} if number == 0 else {}),
            "data_files": [
                {"split": part, "path": f"data/{config.name}/{part}-*.parquet"} for part, _ in config.parts()
            ],
        }
        for number, config in enumerate(configs)
    ]
    return DatasetCardData(
        pretty_name=TITLE,
        license=stated or "other",
        license_name=None if stated else "not-stated",
        tags=TAGS,
        size_categories=[next((name for limit, name in SIZES if total < limit), "n>1M")],
        configs=entries,
    )


def _make_table(configs: Sequence[ExportConfig]) -> str:
    lines = ["| configuration | split | crystals |", "|---|---|---|"]
    lines += [f"| {config.name} | {part} | {len(rows):,} |" for config in configs for part, rows in config.parts()]
    return "\n".join(lines)


def describe_licence(configs: Sequence[ExportConfig], license: str | None) -> str:
    """All that is known of the licence, as text: as stated by the user, and for each kind of data."""
    lines = [f"As stated by who made this folder: {license}."] if license is not None else []
    released = [config for config in configs if config.official and not config.sample]
    if any(config.sample for config in configs):
        lines.append(SAMPLE)
    if released:
        ids = [id for config in released for id in config.rows["id"]]
        lines.append(RELEASE.format(icsd=sum(id.startswith("icsd-") for id in ids), total=len(ids)))
    if license is None and any(not config.official for config in configs):
        lines.append(NOT_STATED)
    return "\n\n".join(lines)
