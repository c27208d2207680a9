"""Densities from a trained model: on grids, at points, from structure files."""
