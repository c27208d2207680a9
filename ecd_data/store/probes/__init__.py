"""Probes: the density at random grid points of stored crystals, read without decoding whole grids."""
