"""Superposed atoms: the summed densities of free or fitted atoms, to which a network adds its output."""
