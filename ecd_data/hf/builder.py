"""The builder behind `load_dataset("ecd", "hse")`: a set, a task, the embedded sample or any store as a dataset."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import datasets
import numpy as np
import pyarrow as pa
from datasets import Features, List, Value
from datasets.builder import Key

from ecd_data.errors import UsageError
from ecd_data.hf import load_dataset_hook
from ecd_data.hf.density_feature import REFERENCE, DensityFeature, ProbesFeature, set_epoch
from ecd_data.hf.rows import select_own_rows, select_rows, store_fingerprint
from ecd_data.release.configurations import (
    GAP,
    OWN_STORE,
    PROBES,
    configuration_names,
    find_configuration,
    find_configuration_store,
    make_absolute,
)
from ecd_data.release.data_origin import SAMPLE, find_origin, is_official_name, split_hash, store_hash
from ecd_data.release.own_splits import read_split
from ecd_data.release.tasks import PARTS
from ecd_data.store import Store
from ecd_data.store.index import SCHEMA

if TYPE_CHECKING:
    from pathlib import Path

    from pandas import DataFrame

STREAM_SHARDS = 64  # shards of a split: `datasets` divides them among 1, 2, 4 ... 64 nodes or workers evenly
PROPERTIES = ("energy_eV", "gap_eV", "total_magnetization", "scf_steps", GAP)
DESCRIPTION = "ECD: electronic charge densities of crystalline inorganic materials"

__all__ = ["EcdBuilder", "load_dataset", "set_epoch"]


def load_dataset(path: str = "ecd", name: str | None = None, **options: Any) -> Any:
    """The dataset of a configuration or a store: a DatasetDict, or one Dataset with split="train".

    It is the same as `datasets.load_dataset`, which knows "ecd" once ecd_data is imported. torch's DataLoader takes the
    rows as they are, see `ecd_data.hf.torch_batches`. The column "data_origin" of every row and `.info.description`
    say where the data come from: "release", "sample" or the hash of another store.

    Parameters
    ----------
    path : "ecd", or the path or URL of any store. load_dataset("my.ecd", split_file="split.json") is the same as
        load_dataset("ecd", "store", data_dir="my.ecd", split_file="split.json").
    name : the configuration: a set ("pbe", "hse", "mp", "ood", "exp"), a task of `load_split`, or random grid points,
        "probes-pbe" and "probes-hse". For a store "store", the default, or "probes-store".
    options : data_dir: folder or URL with the stores, by default ECD_ROOT, else the embedded sample, which has pbe,
        hse, ood, exp and their tasks. split_file: the split of a store, as `ecd split make` writes it; without it all
        crystals are in "train". n_probes=1000, seed=0, epoch=0: for probes; `set_epoch` gives those of another epoch.
        Others, such as split and streaming, are those of `datasets.load_dataset`.

    Raises
    ------
    UsageError : there is no such configuration, or no data for it.
    """
    load_dataset_hook.install()
    if path == load_dataset_hook.NAME:
        return datasets.load_dataset(path, name, **options)
    return datasets.load_dataset(load_dataset_hook.NAME, name or OWN_STORE, data_dir=path, **options)


@dataclass
class EcdConfig(datasets.BuilderConfig):
    """The options of a configuration.

    Attributes
    ----------
    n_probes, seed, epoch : for `probes-*`: the number of grid points for each crystal, and the seed and epoch of their
        draw.
    split_file : for a store: the JSON file of ids by part.
    """

    n_probes: int = 1000
    seed: int = 0
    epoch: int = 0
    split_file: str | None = None

    def create_config_id(self, config_kwargs: dict[str, Any], custom_features: Features | None = None) -> str:
        """The name in the cache; it changes with the path and the contents of the store."""
        state = {**config_kwargs, "store": store_fingerprint(str(self.data_dir))}
        if self.split_file is not None:
            state["split"] = split_hash(read_split(self.split_file))
        return super().create_config_id(state, custom_features)


class EcdBuilder(datasets.ArrowBasedBuilder):
    """Prepares metadata and references to the store as Arrow; grids stay in the store until a row is read."""

    BUILDER_CONFIG_CLASS = EcdConfig
    BUILDER_CONFIGS = [EcdConfig(name=name) for name in (*configuration_names(), OWN_STORE, PROBES + OWN_STORE)]  # noqa: RUF012

    def _create_builder_config(
        self, config_name: str | None = None, data_dir: str | Path | None = None, **options: Any
    ) -> Any:
        if config_name is not None and config_name.removeprefix(PROBES) == OWN_STORE:
            if data_dir is None:
                raise UsageError('name the store, as in load_dataset("my.ecd"), or with data_dir="my.ecd"')
            return super()._create_builder_config(config_name, data_dir=make_absolute(str(data_dir)), **options)
        if options.get("split_file") is not None:
            raise UsageError(f"{config_name} has its own split: give split_file only with the path of a store")
        name = find_configuration(config_name)
        return super()._create_builder_config(name, data_dir=find_configuration_store(name, data_dir), **options)

    @cached_property
    def _store(self) -> Store:
        return Store(self.config.data_dir)

    @property
    def _is_own(self) -> bool:
        return bool(self.config.name.removeprefix(PROBES) == OWN_STORE)

    @cached_property
    def _origin(self) -> str:
        """Where the data come from: "release", "sample" or the store's hash, as in every result."""
        return store_hash(self._store) if self._is_own else find_origin(self.config.name, self._store, {}).data_origin

    def _info(self) -> datasets.DatasetInfo:
        description = describe_configuration(self.config.name, self._origin)
        return datasets.DatasetInfo(description=description, features=make_features(self.config, self._store))

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        rows = (
            select_own_rows(self._store, self.config.split_file)
            if self._is_own
            else select_rows(self.config.name, self._store)
        )
        return [
            datasets.SplitGenerator(name=part, gen_kwargs={"tables": self._make_shards(rows[rows["split"] == part])})
            for part in PARTS
            if (rows["split"] == part).any()
        ]

    def _make_shards(self, rows: DataFrame) -> list[pa.Table]:
        """The rows of a split as several tables with own memory, so that a worker receives only its tables."""
        edges = np.linspace(0, len(rows), min(STREAM_SHARDS, len(rows)) + 1).astype(int)
        index = self._store.columns().combine_chunks()
        shards = (rows.iloc[start:stop] for start, stop in pairwise(edges))
        schema = self.info.features.arrow_schema
        return [make_table(shard, index, str(self.config.data_dir), self._origin, schema) for shard in shards]

    def _generate_tables(self, tables: list[pa.Table]) -> Iterator[tuple[Key, pa.Table]]:
        for shard, table in enumerate(tables):
            yield Key(shard, 0), table


def describe_configuration(name: str, origin: str) -> str:
    """The description of a configuration, which says whether its data are the release's, the sample's or others."""
    about = f"{DESCRIPTION}; configuration {name}, data_origin {origin}"
    if origin != SAMPLE:
        return about
    official = f" of {name}, a task of the benchmark: results on them are none of that task"
    return f"{about}: THE EMBEDDED SAMPLE, not the release{official if is_official_name(name) else ''}"


def make_features(config: EcdConfig, store: Store) -> Features:
    """The columns of a configuration: metadata, structure, properties, and the density or its probes."""
    added = [field for field in store.columns().schema if field.name not in SCHEMA.names]
    numeric = [field.name for field in added if pa.types.is_integer(field.type) or pa.types.is_floating(field.type)]
    grid = (
        ProbesFeature(config.n_probes, config.seed, config.epoch)
        if config.name.startswith(PROBES)
        else DensityFeature()
    )
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
            "data_origin": Value("string"),
            "probes" if config.name.startswith(PROBES) else "density": grid,
        }
    )


def make_table(rows: DataFrame, index: pa.Table, root: str, origin: str, schema: pa.Schema) -> pa.Table:
    """The Arrow table of some rows of `select_rows`, taken from the store's index without making Python objects."""
    selection, count = index.take(pa.array(rows["number"], pa.int64())), len(rows)
    columns = {name: selection[name].combine_chunks() for name in selection.column_names}
    stored = dict(columns)  # properties may be called like a column that is added below
    fields = columns | {"root": pa.repeat(root, count)}
    columns["density"] = columns["probes"] = pa.StructArray.from_arrays([fields[n] for n in REFERENCE], list(REFERENCE))
    columns["split"] = pa.array(rows["split"], from_pandas=True)
    if GAP in rows:
        stored[GAP] = pa.array(rows[GAP], from_pandas=True)
    columns["data_origin"] = pa.repeat(pa.scalar(origin, pa.string()), count)
    columns["part"] = pa.array(rows["kind"], pa.string(), from_pandas=True)
    names = [field.name for field in schema.field("properties").type]
    missing = pa.nulls(count, pa.float64())
    properties = [stored[name].cast(pa.float64()) if name in stored else missing for name in names]
    columns["properties"] = pa.StructArray.from_arrays(properties, names)
    return pa.table([columns[field.name].cast(field.type) for field in schema], schema=schema)
