"""`load_dataset("ecd", "hse")`: the release, or the embedded sample, as a Hugging Face dataset."""

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
from ecd_data.hf.rows import fingerprint, own_rows, rows_of
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

SHARDS = 64  # of a split when streaming: divides among 1, 2, 4 ... 64 nodes or workers exactly
PROPERTIES = ("energy_eV", "gap_eV", "total_magnetization", "scf_steps", GAP)
DESCRIPTION = "ECD: electronic charge densities of crystalline inorganic materials"

__all__ = ["EcdBuilder", "load_dataset", "set_epoch"]


def load_dataset(path: str = "ecd", name: str | None = None, **options: Any) -> Any:
    """The dataset of a configuration: a DatasetDict, or one Dataset with split="train"; iterable with streaming=True.

    The same as `datasets.load_dataset`, which knows "ecd" once ecd_data is imported. Configurations are the sets "pbe",
    "hse", "mp", "ood", "exp", the probes "probes-pbe" and "probes-hse" (n_probes=1000, seed=0, epoch=0), and every task
    of `load_split`; `set_epoch` gives other probes. data_dir= or ECD_ROOT is the folder or URL with the stores;
    without, the embedded sample serves pbe, hse, ood, exp and their tasks; the column "data_origin" of every row and
    `.info.description` say which it was: "release", "sample" or the hash of another store. torch's DataLoader takes the
    rows as they are, see `ecd_data.hf.torch_batches`. Raises UsageError for an unknown configuration or one without
    data.

    A store of one's own: its path or URL in place of "ecd", with its split as `ecd split make` writes it,
    load_dataset("my.ecd", split_file="split.json"); without a split all crystals are in "train". The same as
    load_dataset("ecd", "store", data_dir="my.ecd", split_file=...); "probes-store" has its probes.
    """
    load_dataset_hook.install()
    if path == load_dataset_hook.NAME:
        return datasets.load_dataset(path, name, **options)
    return datasets.load_dataset(load_dataset_hook.NAME, name or OWN_STORE, data_dir=path, **options)


@dataclass
class EcdConfig(datasets.BuilderConfig):
    """A configuration: its name, the data root, and which probes `probes-*` draw: how many, of which seed and epoch.

    split_file: of a store of one's own, the JSON file of ids by part.
    """

    n_probes: int = 1000
    seed: int = 0
    epoch: int = 0
    split_file: str | None = None

    def create_config_id(self, config_kwargs: dict[str, Any], custom_features: Features | None = None) -> str:
        """The name in the cache, which changes with the store's place and contents."""
        state = {**config_kwargs, "store": fingerprint(str(self.data_dir))}
        if self.split_file is not None:
            state["split"] = split_hash(read_split(self.split_file))
        return super().create_config_id(state, custom_features)


class EcdBuilder(datasets.ArrowBasedBuilder):
    """Metadata and places in Arrow; the grids stay in the store until a row is touched."""

    BUILDER_CONFIG_CLASS = EcdConfig
    BUILDER_CONFIGS = [EcdConfig(name=name) for name in (*configuration_names(), OWN_STORE, PROBES + OWN_STORE)]  # noqa: RUF012

    def _create_builder_config(
        self, config_name: str | None = None, data_dir: str | Path | None = None, **options: Any
    ) -> Any:
        if config_name is not None and config_name.removeprefix(PROBES) == OWN_STORE:
            if data_dir is None:
                raise UsageError('name the store, as in load_dataset("my.ecd") or with data_dir="my.ecd"')
            return super()._create_builder_config(config_name, data_dir=make_absolute(str(data_dir)), **options)
        if options.get("split_file") is not None:
            raise UsageError(f"{config_name} has its own split: give split_file with the path of a store")
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
        description = described(self.config.name, self._origin)
        return datasets.DatasetInfo(description=description, features=features_of(self.config, self._store))

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        rows = own_rows(self._store, self.config.split_file) if self._is_own else rows_of(self.config.name, self._store)
        return [
            datasets.SplitGenerator(name=part, gen_kwargs={"tables": self._shards(rows[rows["split"] == part])})
            for part in PARTS
            if (rows["split"] == part).any()
        ]

    def _shards(self, rows: DataFrame) -> list[pa.Table]:
        """The rows of a split in tables that hold no more than their own, so that each travels to a worker alone."""
        edges = np.linspace(0, len(rows), min(SHARDS, len(rows)) + 1).astype(int)
        index = self._store.columns().combine_chunks()
        shards = (rows.iloc[start:stop] for start, stop in pairwise(edges))
        schema = self.info.features.arrow_schema
        return [table_of(shard, index, str(self.config.data_dir), self._origin, schema) for shard in shards]

    def _generate_tables(self, tables: list[pa.Table]) -> Iterator[tuple[Key, pa.Table]]:
        for shard, table in enumerate(tables):
            yield Key(shard, 0), table


def described(name: str, origin: str) -> str:
    """The description of a configuration, which says whether its data are the release's, the sample's or others."""
    about = f"{DESCRIPTION}; configuration {name}, data_origin {origin}"
    if origin != SAMPLE:
        return about
    official = f" of {name}, a task of the benchmark: results on them are none of that task"
    return f"{about}: THE EMBEDDED SAMPLE, not the release{official if is_official_name(name) else ''}"


def features_of(config: EcdConfig, store: Store) -> Features:
    """The columns of a configuration: metadata, structure, properties, and the density or its probes."""
    extra = [field for field in store.columns().schema if field.name not in SCHEMA.names]
    numeric = [field.name for field in extra if pa.types.is_integer(field.type) or pa.types.is_floating(field.type)]
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


def table_of(rows: DataFrame, index: pa.Table, root: str, origin: str, schema: pa.Schema) -> pa.Table:
    """The Arrow rows of some rows of `rows_of`, taken from the store's index without making Python objects of them."""
    taken, count = index.take(pa.array(rows["number"], pa.int64())), len(rows)
    known = {name: taken[name].combine_chunks() for name in taken.column_names}
    reference = known | {"root": pa.repeat(root, count)}
    known["density"] = known["probes"] = pa.StructArray.from_arrays([reference[n] for n in REFERENCE], list(REFERENCE))
    known |= {name: pa.array(rows[name], from_pandas=True) for name in ("split", GAP) if name in rows}
    known["data_origin"] = pa.repeat(pa.scalar(origin, pa.string()), count)
    known["part"] = pa.array(rows["test_part"], pa.string(), from_pandas=True)
    names = [field.name for field in schema.field("properties").type]
    unknown = pa.nulls(count, pa.float64())
    properties = [known[name].cast(pa.float64()) if name in known else unknown for name in names]
    known["properties"] = pa.StructArray.from_arrays(properties, names)
    return pa.table([known[field.name].cast(field.type) for field in schema], schema=schema)
