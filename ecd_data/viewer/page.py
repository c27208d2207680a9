"""The HTML of a page: the crystal, the table and the scripts in one text, with every name escaped.

The three-dimensional scene and the curves are drawn by plotly.js, whose bundle comes with the Python package plotly:
pymatviz's widget takes its bundle of 4.5 MB from a CDN and py3Dmol's package holds no JavaScript, so neither makes a
page without a network. Isosurfaces are computed by `surface.js` in the coordinates of the cell, since plotly's own
isosurfaces need a rectangular grid. Below the view, a table says what the densities are, and sentences say what the
page rounds or leaves out.
"""

from __future__ import annotations

import html
import json
from importlib.resources import files
from string import Template
from typing import Any

import numpy as np

from ecd_data.comparison import Comparison
from ecd_data.density import Density
from ecd_data.errors import MissingDependencyError
from ecd_data.safe_text import printable

ROUNDING = (
    "Values in isosurfaces, planes and lines are rounded to 16 bits, by at most about 0.02 % of each value above a "
    "millionth of the largest. The table and the planar averages are computed from the full grid without rounding."
)

Rows = list[tuple[str, str]]  # names and values, as plain text


def describe_cell(rho: Density) -> Rows:
    """The rows on the crystal and the grid."""
    crystal = rho.crystal
    lengths = np.linalg.norm(crystal.lattice, axis=1)
    directions = crystal.lattice / lengths[:, None]
    cosines = [directions[1] @ directions[2], directions[0] @ directions[2], directions[0] @ directions[1]]
    angles = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
    return [
        ("formula", f"{crystal.formula or 'no atoms'} ({len(crystal)} {'atom' if len(crystal) == 1 else 'atoms'})"),
        ("a, b, c", f"{', '.join(f'{x:.4f}' for x in lengths)} Å"),
        ("α, β, γ", f"{', '.join(f'{x:.2f}' for x in angles)}°"),
        ("volume", f"{crystal.volume:.3f} Å³"),
        ("grid", " x ".join(map(str, rho.shape))),
    ]


def describe_coarser_grid(full: tuple[int, ...], shape: tuple[int, ...], fields: list[dict[str, Any]]) -> str:
    """What a reader has to know about a page whose grid [shape] is coarser than the full one."""
    was, now = ("x".join(map(str, points)) for points in (full, shape))
    ranges = "; ".join(
        f"{field['name']} {field['page'][0]:.4g} to {field['page'][1]:.4g} instead of "
        f"{field['full'][0]:.4g} to {field['full'][1]:.4g} e/Å³"
        for field in fields
    )
    return (
        f"The grid of {was} points is too large for a page. Isosurfaces, planes and lines show {now} points, made "
        "by Fourier truncation (Density.resample): the electron count stays, narrow peaks are lower and may have "
        f"ripples around them. The ranges are: {ranges}."
    )


def describe_density(rho: Density, name: str = "") -> Rows:
    prefix = f"{name}: " if name else ""
    rows = [(f"{prefix}electrons", f"{rho.nelect:.6g}")]
    if rho.moment is not None:
        moments = rho.moment if isinstance(rho.moment, list) else [rho.moment]
        rows.append((f"{prefix}moment", f"{', '.join(f'{m:.4f}' for m in moments)} Bohr magnetons"))
    rows.append((f"{prefix}range", f"{rho.values.min():.4g} to {rho.values.max():.4g} e/Å³"))
    if kind := rho.meta.get("kind"):
        rows.append((f"{prefix}kind", printable(str(kind))))
    return rows


def describe_comparison(comparison: Comparison, names: tuple[str, str]) -> Rows:
    defined = comparison.b.values.any()
    near = f", {comparison.distance:.2f} Å from {comparison.atom}" if comparison.atom else ""
    point = ", ".join(f"{x:.4f}" for x in comparison.point)
    return [
        *describe_density(comparison.a, names[0]),
        *describe_density(comparison.b, names[1]),
        ("eps_mae", f"{100 * comparison.eps_mae:.4g} %" if defined else "undefined: the reference is zero everywhere"),
        ("mean absolute difference", f"{comparison.mean_absolute:.4g} e/Å³"),
        ("largest difference", f"{comparison.largest:+.4g} e/Å³ at ({point}){near}"),
    ]


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
