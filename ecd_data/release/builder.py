"""`load_dataset("ecd", "hse")`: the release, or the embedded sample, as a Hugging Face dataset."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import datasets
import numpy as np
import pyarrow as pa
from datasets import Features, List, Value
from datasets.builder import Key

from ecd_data.release import hook
from ecd_data.release.feature import REFERENCE, DensityFeature, ProbesFeature
from ecd_data.release.rows import PROBES, configuration, configurations, fingerprint, locate, rows_of
from ecd_data.release.splits import PARTS
from ecd_data.store import Store
from ecd_data.store.index import SCHEMA

if TYPE_CHECKING:
    from pathlib import Path

    from pandas import DataFrame

SHARDS = 64  # of a split when streaming: divides among 1, 2, 4 ... 64 nodes or workers exactly
PROPERTIES = ("energy_eV", "gap_eV", "total_magnetization", "scf_steps", "gap_exp_eV")
DESCRIPTION = "ECD: electronic charge densities of crystalline inorganic materials"

__all__ = ["EcdBuilder", "load_dataset"]


def load_dataset(path: str = "ecd", name: str | None = None, **options: Any) -> Any:
    """The dataset of a configuration: a DatasetDict, or one Dataset with split="train"; iterable with streaming=True.

    The same as `datasets.load_dataset`, which knows "ecd" once ecd_data is imported. Configurations are the sets "pbe",
    "hse", "mp", "ood", "exp", the probes "probes-pbe" and "probes-hse" (n_probes=1000, seed=0), and every task of
    `load_split`. data_dir= or ECD_ROOT is the folder or URL with the stores; without, the embedded sample serves pbe,
    hse, exp and their tasks. Raises UsageError for an unknown configuration or one without data.
    """
    hook.install()
    return datasets.load_dataset(path, name, **options)


@dataclass
class EcdConfig(datasets.BuilderConfig):
    """A configuration: its name, the data root, and how many probes a crystal `probes-*` draw from which seed."""

    n_probes: int = 1000
    seed: int = 0

    def create_config_id(self, config_kwargs: dict[str, Any], custom_features: Features | None = None) -> str:
        """The name in the cache, which changes with the store's place and contents."""
        state = {**config_kwargs, "store": fingerprint(str(self.data_dir))}
        return super().create_config_id(state, custom_features)


class EcdBuilder(datasets.ArrowBasedBuilder):
    """Metadata and places in Arrow; the grids stay in the store until a row is touched."""

    BUILDER_CONFIG_CLASS = EcdConfig
    BUILDER_CONFIGS = [EcdConfig(name=name) for name in configurations()]  # noqa: RUF012

    def _create_builder_config(
        self, config_name: str | None = None, data_dir: str | Path | None = None, **options: Any
    ) -> Any:
        name = configuration(config_name)
        return super()._create_builder_config(name, data_dir=locate(name, data_dir), **options)

    def _info(self) -> datasets.DatasetInfo:
        features = features_of(self.config, Store(self.config.data_dir))
        return datasets.DatasetInfo(description=DESCRIPTION, features=features)

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        rows = rows_of(self.config.name, Store(self.config.data_dir))
        frames = {part: rows[rows["split"] == part] for part in PARTS}
        return [
            datasets.SplitGenerator(name=part, gen_kwargs={"frames": _shards(frame)})
            for part, frame in frames.items()
            if len(frame)
        ]

    def _generate_tables(self, frames: list[DataFrame]) -> Iterator[tuple[Key, pa.Table]]:
        for shard, frame in enumerate(frames):
            rows = [_row(record, self.config, self.info.features) for record in frame.to_dict("records")]
            yield Key(shard, 0), pa.Table.from_pylist(rows, schema=self.info.features.arrow_schema)


def features_of(config: EcdConfig, store: Store) -> Features:
    """The columns of a configuration: metadata, structure, properties, and the density or its probes."""
    kinds = store.index.dtypes.drop([name for name in SCHEMA.names if name in store.index])
    numeric = [str(name) for name, kind in kinds.items() if kind.kind in "fiu"]
    grid = ProbesFeature(config.n_probes, config.seed) if config.name.startswith(PROBES) else DensityFeature()
    return Features(
        {
            "id": Value("string"),
            "formula": Value("string"),
            "natoms": Value("int32"),
            "elements": List(Value("string")),
            "spacegroup": Value("int16"),
            "functional": Value("string"),
            "lattice": List(List(Value("float64"))),
            "numbers": List(Value("int16")),
            "frac_coords": List(List(Value("float64"))),
            "shape": List(Value("int32")),
            "nelect": Value("float64"),
            "spin": Value("bool"),
            "properties": {name: Value("float64") for name in dict.fromkeys([*PROPERTIES, *numeric])},
            "split": Value("string"),
            "part": Value("string"),
            "probes" if config.name.startswith(PROBES) else "density": grid,
        }
    )


def _shards(frame: DataFrame) -> list[DataFrame]:
    edges = np.linspace(0, len(frame), min(SHARDS, len(frame)) + 1).astype(int)
    return [frame.iloc[start:stop] for start, stop in pairwise(edges)]


def _row(record: dict[str, Any], config: EcdConfig, features: Features) -> dict[str, Any]:
    """One row for Arrow of one row of the store's index."""
    reference = {name: record[name] for name in REFERENCE if name != "root"} | {"root": config.data_dir}
    computed = {
        "properties": {name: _known(record.get(name)) for name in features["properties"]},
        "spacegroup": _known(record["spacegroup"]),
        "part": _known(record["test_part"]),
        "density": reference,
        "probes": reference,
    }
    return {name: computed[name] if name in computed else record[name] for name in features}


def _known(value: Any) -> Any:
    """The value, None for the NaN that pandas makes of a missing one."""
    return None if value is None or value != value else value
