"""Densities in a browser: one page that needs no network, with isosurfaces, planes, lines and averages."""

from __future__ import annotations

from ecd_data.viewer.view import View, view

__all__ = ["View", "view"]
