"""A crystal as bytes and index row: any process can pack it, and the writer of the store adds it to a part."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import numpy as np
import spglib  # noqa: F401 - imported at the start, since a Ctrl-C during a later import would end in an ImportError
import zarr  # noqa: F401

from ecd_data.arguments import describe_value
from ecd_data.density import Density
from ecd_data.errors import UsageError
from ecd_data.store.crystal_group import Entries, pack_density
from ecd_data.store.index import Row
from ecd_data.symmetry import spacegroup

SYMPREC = 1e-3  # Å: of the space group in the index
LONGEST_ID = 200  # bytes: an id is the name of a folder, and of files with further endings; systems allow 255


@dataclass(frozen=True)
class PackedCrystal:
    """The keys and bytes of a crystal's group, and its index row without its location."""

    entries: Entries
    row: Row

    @property
    def id(self) -> str:
        """The material id."""
        return str(self.row["id"])


def pack_crystal(
    id: str,
    density: Density,
    *,
    bound: float,
    pipeline: str = "fourier",
    source: str | None = None,
    source_sha256: str | None = None,
) -> PackedCrystal:
    """The bytes and the index row of a density, ready for StoreWriter.put.

    meta["flags"] and the numbers in meta["properties"] become columns of the row.

    Parameters
    ----------
    id : the material id, which becomes the name of a folder.
    density : the density in e/Å^3.
    bound, pipeline : as for StoreWriter.
    source, source_sha256 : the name and hash of the file that the density comes from.

    Raises
    ------
    UsageError : the id cannot be the name of a folder, or JSON cannot hold the metadata.
    StoreError : some values are not finite.
    """
    refuse_id(id)
    meta = dict(density.meta)
    if source is not None:
        meta |= {"source": source, "source_sha256": source_sha256}
    density = replace(density, meta=_plain_meta(id, meta))
    entries, used = pack_density(density, bound, pipeline, make_attributes(id, density))
    return PackedCrystal(entries, make_row(id, density, pipeline=used, bound=bound))


def refuse_id(id: str) -> None:
    """Raise UsageError, with the reason, for an id that cannot be the name of a folder."""
    if not isinstance(id, str):
        raise UsageError(f"{describe_value(id)} cannot be an id: an id is a text such as 'MgO'")
    size = len(id.encode(errors="surrogatepass"))
    if size > LONGEST_ID:
        reason, id = f"it has {size} bytes, and an id at most {LONGEST_ID}", f"{id[:40]}..."
    elif not id.isprintable():
        reason = "it has characters that cannot be printed"
    elif not id or id[0] in ". " or "/" in id or "\\" in id or id == "zarr.json":
        reason = "an id must not be empty, have a slash, or begin with a dot or a space"
    else:
        return
    raise UsageError(f"{id!a} cannot be an id: {reason}; rename the file, or give an id in a list (@LIST)")


def _plain_meta(id: str, meta: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata as they are read again: numbers and arrays of NumPy become numbers and lists, tuples lists."""
    try:
        plain: dict[str, Any] = json.loads(json.dumps(meta, default=to_plain))
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"{id}: its meta cannot be stored ({error}): use numbers, texts, lists and dictionaries"
        ) from error
    return plain


def to_plain(value: Any) -> Any:
    """A NumPy number or array as a type that JSON has; raises TypeError for anything else."""
    if not isinstance(value, np.generic | np.ndarray):
        raise TypeError(f"JSON has no {type(value).__name__}")
    return value.tolist()


def make_row(id: str, density: Density, *, pipeline: str, bound: float) -> Row:
    """The index row of a crystal without its location; each number in meta["properties"] becomes a column."""
    crystal, meta = density.crystal, density.meta
    row: Row = {
        "id": id,
        "formula": crystal.reduced_formula,
        "natoms": len(crystal),
        "elements": crystal.elements,
        "spacegroup": spacegroup(crystal, SYMPREC),
        "functional": meta.get("functional"),
        "shape": list(density.shape),
        "nelect": density.nelect,
        "spin": density.magnetization is not None,
        "pipeline": pipeline,
        "bound": bound if pipeline == "fourier" else 0.0,
        "flags": list(meta.get("flags", ())),
        "source": meta.get("source"),
        "source_sha256": meta.get("source_sha256"),
        "lattice": crystal.lattice.tolist(),
        "numbers": crystal.numbers.tolist(),
        "frac_coords": crystal.frac_coords.tolist(),
    }
    return _select_numbers(meta.get("properties", {})) | row


def _select_numbers(properties: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers among the properties: a column of the index has one type in all crystals."""
    return {
        name: value for name, value in properties.items() if isinstance(value, Real) and not isinstance(value, bool)
    }


def make_attributes(id: str, density: Density) -> dict[str, Any]:
    """The attributes of a crystal's group: its meta, the crystal and the electron count."""
    crystal = density.crystal
    return {
        **density.meta,
        "id": id,
        "lattice": crystal.lattice.tolist(),
        "numbers": crystal.numbers.tolist(),
        "frac_coords": crystal.frac_coords.tolist(),
        "pbc": list(crystal.pbc),
        "nelect": density.nelect,
    }
