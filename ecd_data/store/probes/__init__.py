"""Probes: random grid points of stored densities, drawn without decoding whole grids."""
