"""One density in a tar archive, taken out in memory: nothing is ever unpacked to the disk."""

from __future__ import annotations

import io
import re
import tarfile

from ecd_data.errors import FormatError
from ecd_data.formats.compressed import decompressed
from ecd_data.formats.text import Text

DENSITY = re.compile(r"chgcar|(^|[/_.])chg($|[_.])|aeccar|\.cube|\.xsf|\.json", re.IGNORECASE)
LISTED = 5


def looks_like(head: bytes) -> bool:
    """Whether a file that begins so is a tar archive."""
    return head[257:262] == b"ustar"


def take(data: Text, name: str, member: str | None) -> tuple[bytes, str]:
    """The bytes of a member and what errors call it; without `member`, of the only density there is.

    Raises FormatError where the archive is damaged, has no such member, or has several densities.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(data[:]), mode="r:") as tar:
            files = {m.name: m for m in tar.getmembers() if m.isreg() and not m.issparse() and m.size <= len(data)}
            chosen = _choose(list(files), name, member)
            stream = tar.extractfile(files[chosen])
            content = stream.read() if stream else b""
    except (tarfile.TarError, OSError, EOFError, ValueError, OverflowError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"{name} is a damaged or cut tar archive ({error}): copy or download it again") from error
    label = f"{name}::{chosen}"
    if len(content) != files[chosen].size or not content:
        raise FormatError(f"{label} is empty or cut: copy or download the archive again")
    return decompressed(content, label), label


def _choose(names: list[str], archive: str, member: str | None) -> str:
    if member is not None:
        if member in names or f"./{member}" in names:
            return member if member in names else f"./{member}"
        raise FormatError(f"{archive} has no file {member!r}: it has {_listed(names)}")
    found = [n for n in names if DENSITY.search(n)] or names
    if len(found) != 1:
        raise FormatError(
            f"{archive} has {len(found)} files that may be meant ({_listed(found)}): add ::name to the path"
        )
    return found[0]


def _listed(names: list[str]) -> str:
    return ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")
