"""The Croissant description of an export (mlcommons.org/croissant/1.0): files with hashes, record sets, fields.

Written without mlcroissant, which would save the table below alone and needs rdflib, networkx and more besides.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ecd_data.hub.card import TITLE, describe_licence
from ecd_data.hub.plan import ExportConfig, Shard
from ecd_data.io.file_bytes import hash_file

CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "key": "cr:key",
    "md5": "cr:md5",
    "recordSet": "cr:recordSet",
    "repeated": "cr:repeated",
    "sc": "https://schema.org/",
    "source": "cr:source",
}
PAPER = (
    "@inproceedings{ecd, title={ECD: A Machine Learning Benchmark for Predicting Enhanced-Precision Electronic Charge "
    "Density in Crystalline Inorganic Materials}, booktitle={ICLR}, year={2025}}"
)
PARQUET = "application/x-parquet"


def make_croissant(folder: Path, configs: Sequence[ExportConfig], shards: Sequence[Shard], license: str | None) -> str:
    """The text of croissant.json, which describes the Parquet files in `folder`.

    Parameters
    ----------
    folder : the folder of the export, with all its files.
    configs, shards : the configurations and the Parquet files of the export.
    license : the licence as the user states it; None if not stated.
    """
    total = sum(len(config.rows) for config in configs)
    parts: dict[str, list[Shard]] = {}
    for shard in shards:
        parts.setdefault(f"{shard.config.name}/{shard.part}", []).append(shard)
    stated = license or ("https://opensource.org/license/mit" if all(s.sample for s in configs) else "not stated")
    described: dict[str, Any] = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": "electron-densities",
        "description": f"{TITLE}: {total:,} of them. Licence: {describe_licence(configs, license)}",
        "license": stated,
        "version": "1.0.0",
        "distribution": [_describe_file(folder, shard) for shard in shards]
        + [_describe_file_set(name) for name in parts],
        "recordSet": [_describe_records(folder, *each) for each in parts.items()],
    }
    if any(config.official and not config.sample for config in configs):
        described |= {"url": "https://github.com/pincher-chen/ECDBench", "citeAs": PAPER}
    return json.dumps(described, indent=1, ensure_ascii=False) + "\n"


def _describe_file(folder: Path, shard: Shard) -> dict[str, Any]:
    digest, size = hash_file(folder / shard.path), (folder / shard.path).stat().st_size
    return {
        "@type": "cr:FileObject",
        "@id": shard.path,
        "name": shard.path,
        "contentUrl": shard.path,
        "contentSize": f"{size} B",
        "encodingFormat": PARQUET,
        "sha256": digest,
    }


def _describe_file_set(name: str) -> dict[str, Any]:
    """The description of the files of one split."""
    return {
        "@type": "cr:FileSet",
        "@id": f"files/{name}",
        "name": f"files/{name}",
        "encodingFormat": PARQUET,
        "includes": f"data/{name}-*.parquet",
    }


def _describe_records(folder: Path, name: str, shards: list[Shard]) -> dict[str, Any]:
    """The description of the rows of one split."""
    count = sum(len(shard.rows) for shard in shards)
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": f"{count:,} crystals of {shards[0].config.name}, split {shards[0].part}",
        "key": {"@id": f"{name}/id"},
        "field": [_describe_field(name, field) for field in pq.read_schema(folder / shards[0].path)],
    }


def _describe_field(records: str, field: pa.Field) -> dict[str, Any]:
    described: dict[str, Any] = {
        "@type": "cr:Field",
        "@id": f"{records}/{field.name}",
        "name": field.name,
        "dataType": _data_type(field.type),
        "source": {"fileSet": {"@id": f"files/{records}"}, "extract": {"column": field.name}},
    }
    return described | ({"repeated": True} if pa.types.is_list(field.type) else {})


def _data_type(kind: pa.DataType) -> str:
    while pa.types.is_list(kind):
        kind = kind.value_type
    if pa.types.is_boolean(kind):
        return "sc:Boolean"
    if pa.types.is_integer(kind):
        return "sc:Integer"
    if pa.types.is_floating(kind):
        return "sc:Float"
    return "sc:Text"
