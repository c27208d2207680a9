"""The table of a page and the sentences below it: what the densities are, and what the page rounds or leaves out."""

from __future__ import annotations

from typing import Any

import numpy as np

from ecd_data.comparison import Comparison
from ecd_data.density import Density
from ecd_data.safe_text import printable

ROUNDING = (
    "Values in isosurfaces, planes and lines are rounded to 16 bits, by at most about 0.02 % of each value. The table "
    "and the planar averages are computed from the full grid without rounding."
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
        ("formula", f"{crystal.formula or 'no atoms'} ({len(crystal)} atoms)"),
        ("a, b, c", f"{', '.join(f'{x:.4f}' for x in lengths)} Å"),
        ("α, β, γ", f"{', '.join(f'{x:.2f}' for x in angles)}°"),
        ("volume", f"{crystal.volume:.3f} Å^3"),
        ("grid", " x ".join(map(str, rho.shape))),
    ]


def describe_coarser_grid(full: tuple[int, ...], shape: tuple[int, ...], fields: list[dict[str, Any]]) -> str:
    """What a reader has to know about a page whose grid [shape] is coarser than the full one."""
    was, now = ("x".join(map(str, points)) for points in (full, shape))
    ranges = "; ".join(
        f"{field['name']} {field['page'][0]:.4g} to {field['page'][1]:.4g} instead of "
        f"{field['full'][0]:.4g} to {field['full'][1]:.4g} e/Å^3"
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
    rows.append((f"{prefix}range", f"{rho.values.min():.4g} to {rho.values.max():.4g} e/Å^3"))
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
        ("mean absolute difference", f"{comparison.mean_absolute:.4g} e/Å^3"),
        ("largest difference", f"{comparison.largest:+.4g} e/Å^3 at ({point}){near}"),
    ]
