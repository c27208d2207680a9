"""The embedded sample: real densities of 73 crystals, with the recipe, the split and the tables, computed with Quantum ESPRESSO."""
