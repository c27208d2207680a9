"""The embedded sample: real densities of 73 crystals from Quantum ESPRESSO, with their recipe, split and tables."""
