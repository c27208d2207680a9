"""The HTML of a page: the crystal, the table and the scripts in one text, with every name escaped.

The three-dimensional scene and the curves are drawn by plotly.js, whose bundle comes with the Python package plotly:
pymatviz's widget takes its bundle of 4.5 MB from a CDN and py3Dmol's package holds no JavaScript, so neither makes a
page without a network. Isosurfaces are computed by `surface.js` in the coordinates of the cell, since plotly's own
isosurfaces need a rectangular grid.
"""

from __future__ import annotations

import html
import json
from importlib.resources import files
from string import Template
from typing import Any

import numpy as np

from ecd_data.density import Density
from ecd_data.errors import MissingDependencyError

SCRIPTS = ("grid.js", "surface.js", "scene.js", "colours.js", "planes.js", "curves.js", "start.js")
UNKNOWN_COLOUR = "#ff1493"  # of atoms without an element
UNKNOWN_RADIUS = 1.2  # Å
RADIUS_SHARE = 0.22  # of an atomic radius: spheres of this size let isosurfaces around atoms be seen


def describe_crystal(rho: Density) -> dict[str, Any]:
    """The cell and the atoms as the page's scripts read them, with colours and radii."""
    crystal = rho.crystal
    lattice = crystal.lattice
    heights = crystal.volume / np.linalg.norm(np.cross(lattice[[1, 2, 0]], lattice[[2, 0, 1]]), axis=1)
    return {
        "lattice": lattice.tolist(),
        "periods": dict(zip("abc", heights.tolist(), strict=True)),
        "fullShape": list(rho.shape),
        "atoms": [
            {"symbol": symbol, "label": f"{symbol}{k + 1}", "position": position.tolist()}
            for k, (symbol, position) in enumerate(zip(crystal.symbols, crystal.frac_coords, strict=True))
        ],
        "elements": {symbol: _draw_element(symbol) for symbol in crystal.elements},
        "firstPlane": float(rho.frac_coords[int(np.argmax(rho.numbers)), 2]) if len(crystal) else 0.0,
    }


def _draw_element(symbol: str) -> dict[str, Any]:
    """The colour (of Jmol) and the radius in Å of the spheres of an element."""
    from pymatgen.core import Element
    from pymatgen.vis.structure_vtk import EL_COLORS

    colour = EL_COLORS["Jmol"].get(symbol)
    if symbol == "X" or colour is None:
        return {"colour": UNKNOWN_COLOUR, "radius": RADIUS_SHARE * UNKNOWN_RADIUS}
    radius = float(Element(symbol).atomic_radius or UNKNOWN_RADIUS)
    return {"colour": "#{:02x}{:02x}{:02x}".format(*colour), "radius": RADIUS_SHARE * radius}


def render_page(title: str, data: dict[str, Any], rows: list[tuple[str, str]], notes: list[str]) -> str:
    """The page as HTML.

    Parameters
    ----------
    title : of the page, as plain text.
    data : what the scripts read: crystal, grid and fields.
    rows : names and values of the table, as plain text.
    notes : sentences below the table, as plain text.

    Raises
    ------
    MissingDependencyError : plotly is not installed.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise MissingDependencyError("a page needs plotly: pip install 'ecd-data[view]' installs it") from error
    template = Template(_read_asset("page.html"))
    table = "".join(f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>" for name, value in rows)
    return template.substitute(
        title=html.escape(title),
        style=_read_asset("page.css"),
        table=table,
        notes="".join(f"<p>{html.escape(note)}</p>" for note in notes),
        data=_escape_json(data),
        plotly=get_plotlyjs(),
        scripts="\n".join(_read_asset(name) for name in SCRIPTS),
    )


def _escape_json(data: dict[str, Any]) -> str:
    """JSON that cannot end the script element in which it stands, whatever the names in it are."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _read_asset(name: str) -> str:
    return files("ecd_data.viewer").joinpath("assets", name).read_text(encoding="utf-8")
