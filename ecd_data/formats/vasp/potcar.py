"""The valences in a POTCAR. Nothing else in it is read or kept."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ecd_data.errors import FormatError
from ecd_data.io.text_streams import read_pieces

LINE = re.compile(rb"TITEL *= *(\S[^\n]*)|ZVAL *= *([\d.]+) +mass and valenz")


def read_potcar(path: str | Path) -> dict[str, Any]:
    """The titles and the valences in a POTCAR, {"potcar": titles, "zval": valences}, in the order of its species.

    Raises
    ------
    FormatError : the file is not a POTCAR or is cut.
    """
    path = Path(path)
    titles: list[str] = []
    zval: list[float] = []
    for piece in read_pieces(path):
        for title, valence in LINE.findall(piece):
            if title:
                titles.append(" ".join(title.decode("latin-1").split()))
            else:
                zval.append(_parse_valence(valence, path))
    if not titles or len(titles) != len(zval):
        raise FormatError(f"{path} is not a POTCAR, or is cut: it has {len(titles)} titles and {len(zval)} valences")
    return {"potcar": titles, "zval": zval}


def _parse_valence(text: bytes, path: Path) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise FormatError(f"{path} has the valence {text.decode()!r}: it is damaged") from error


def parse_potcar_element(title: str) -> str:
    """The element symbol in a title such as "PAW_PBE Ti_sv 26Sep2005"."""
    words = title.split()
    return re.split(r"[_.\d]", words[1] if len(words) > 1 else words[0])[0]
