"""The figures of an entry that follow from its results and its checkpoint, written into its YAML.

Only these values change: all else, with comments and the order of keys, stays as its author wrote it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ecd_data.errors import FormatError
from ecd_data.io.file_bytes import hash_file
from ecd_models.evaluation.results import Results

Keys = tuple[str | int, ...]  # from the outermost mapping to a value; a number is an index into a list


def measure_hardware(results: Sequence[Results]) -> dict[str, float]:
    """The memory in GB and the points per second of an entry: the largest memory and the least speed of its results."""
    memory = max(max(one.cost.peak_memory_MB, one.cost.peak_device_memory_MB or 0) for one in results)
    speed = min(one.cost.median_points_per_second for one in results)
    return {"memory_GB": round(memory / 1000 + 0.005, 2), "points_per_second": int(speed)}


def describe_files(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """The results files of an entry: the name, the SHA-256 and the size in bytes of each."""
    return [{"file": path.name, "sha256": hash_file(path), "size": path.stat().st_size} for path in paths]


def write_figures(text: str, checkpoint: Path, paths: Sequence[Path], results: Sequence[Results]) -> str:
    """The YAML of an entry with the figures of its files.

    Parameters
    ----------
    text : the YAML of the entry, which follows the schema (`read_entry`).
    checkpoint : the file of the checkpoint.
    paths, results : the results files and what they hold.

    Raises
    ------
    FormatError : the entry names other files, or a key is missing.
    """
    record = yaml.safe_load(text)
    named = [one["file"] for one in record.get("results") or []]
    files = {str(one["file"]): one for one in describe_files(paths)}
    if sorted(named) != sorted(files) or (record.get("checkpoint") or {}).get("name") != checkpoint.name:
        raise FormatError(f"the entry of {checkpoint.stem} names {named}: name {checkpoint.name} and {list(files)}")
    values: dict[Keys, object] = {
        ("checkpoint", "sha256"): hash_file(checkpoint),
        ("checkpoint", "size"): checkpoint.stat().st_size,
        ("weights",): results[0].model_card.weights,
    }
    values |= {("hardware", key): value for key, value in measure_hardware(results).items()}
    for number, name in enumerate(named):
        values |= {("results", number, key): files[name][key] for key in ("sha256", "size")}
    return replace_values(text, values)


def replace_values(text: str, values: Mapping[Keys, object]) -> str:
    """A YAML text with other values for some keys; every other character stays.

    Raises
    ------
    FormatError : a key is missing, or its value is not a single number or word.
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    nodes = [(_find_node(root, keys), value) for keys, value in values.items()]
    for node, value in sorted(nodes, key=lambda pair: -pair[0].start_mark.index):
        text = text[: node.start_mark.index] + str(value) + text[node.end_mark.index :]
    return text


def _find_node(node: Any, keys: Keys) -> yaml.ScalarNode:
    """The node of a value below another node."""
    for key in keys:
        inside = node.value if isinstance(node, yaml.CollectionNode) else []
        pairs = inside if isinstance(node, yaml.MappingNode) else []
        node = inside[key] if isinstance(key, int) else next((one for name, one in pairs if name.value == key), None)
    if not isinstance(node, yaml.ScalarNode):
        raise FormatError(f"the entry has no value for {'.'.join(map(str, keys))}: write one, it will be corrected")
    return node
