"""Superposed atoms: the densities of free or fitted atoms that a network adds its own to."""
