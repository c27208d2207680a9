"""Making the index of a store again from its parts."""

from __future__ import annotations

import hashlib
import struct
import zipfile
from pathlib import Path

from ecd_data.errors import StoreError
from ecd_data.store.crystal_group import unpack_density
from ecd_data.store.index import Row
from ecd_data.store.packing import make_row
from ecd_data.store.parts import LOCAL_HEADER


def recover_rows(part: Path) -> list[Row]:
    """The index rows of the crystals in a part; raises StoreError where the part is damaged."""
    try:
        with zipfile.ZipFile(part) as archive:
            members = [m for m in archive.infolist() if "/" in m.filename]
            ids = dict.fromkeys(m.filename.partition("/")[0] for m in members)
            return [_row(part, archive, id, [m for m in members if m.filename.startswith(f"{id}/")]) for id in ids]
    except (zipfile.BadZipFile, EOFError, struct.error) as error:
        raise StoreError(f"{part} is damaged ({error}); remove it and convert its files again") from error


def _row(part: Path, archive: zipfile.ZipFile, id: str, members: list[zipfile.ZipInfo]) -> Row:
    entries = {m.filename.removeprefix(f"{id}/"): archive.read(m) for m in members}
    start = min(m.header_offset for m in members)
    end = max(m.header_offset + LOCAL_HEADER.size + len(m.filename.encode()) + m.file_size for m in members)
    with open(part, "rb") as file:
        file.seek(start)
        digest = hashlib.sha256(file.read(end - start)).hexdigest()
    density = unpack_density(entries)
    bound = density.meta.get("bound", 0.0)
    place = {"part": part.name, "offset": start, "length": end - start, "sha256": digest}
    return make_row(id, density, pipeline="fourier" if bound else "real", bound=bound) | place
