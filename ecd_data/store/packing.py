"""A crystal ready for a part: its bytes and its index row, made anywhere and written by whoever writes the store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import spglib  # noqa: F401 - here and not where they are used: a Ctrl-C while they load would end in an ImportError
import zarr  # noqa: F401

from ecd_data.density import Density
from ecd_data.errors import UsageError
from ecd_data.store.crystal_group import Entries, pack
from ecd_data.store.index import Row
from ecd_data.symmetry import spacegroup

SYMPREC = 1e-3  # Å
LONGEST_ID = 200  # bytes: an id becomes the name of a folder, and of files with endings of their own


@dataclass(frozen=True)
class Packed:
    """The keys and bytes of a crystal's group, and its index row without the place."""

    entries: Entries
    row: Row

    @property
    def id(self) -> str:
        """The material id."""
        return str(self.row["id"])


def packed(
    id: str,
    density: Density,
    *,
    bound: float,
    pipeline: str = "fourier",
    source: str | None = None,
    source_sha256: str | None = None,
) -> Packed:
    """The bytes and the index row of a density, as StoreWriter.put takes them.

    meta["flags"] and the numbers under meta["properties"] go into the row. Raises UsageError for an id that cannot name
    a folder, StoreError for values that are not finite.
    """
    refuse_id(id)
    meta = dict(density.meta)
    if source is not None:
        meta |= {"source": source, "source_sha256": source_sha256}
    density = Density(density.crystal, density.values, density.magnetization, density.augmentation, meta)
    entries, used = pack(density, bound, pipeline, attributes(id, density))
    return Packed(entries, row_of(id, density, pipeline=used, bound=bound))


def refuse_id(id: str) -> None:
    """Raises UsageError for an id that cannot name a folder, with the reason."""
    size = len(id.encode(errors="surrogatepass"))
    if size > LONGEST_ID:
        reason, id = f"it has {size} bytes, and an id at most {LONGEST_ID}", f"{id[:40]}..."
    elif not id.isprintable():
        reason = "it has characters that cannot be printed"
    elif not id or id[0] in ". " or "/" in id or "\\" in id or id == "zarr.json":
        reason = "an id is not empty, has no slash, and begins with neither a dot nor a space"
    else:
        return
    raise UsageError(f"{id!a} cannot be an id: {reason}; rename the file, or give an id in a list (@LIST)")


def row_of(id: str, density: Density, *, pipeline: str, bound: float) -> Row:
    """The index row of a crystal without its place; numbers under meta["properties"] become columns of their own."""
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
    return dict(meta.get("properties", {})) | row


def attributes(id: str, density: Density) -> dict[str, Any]:
    """The attributes of a crystal's group: its crystal, its electrons and its meta."""
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
