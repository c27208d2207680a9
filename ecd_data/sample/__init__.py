"""The embedded sample: real densities of some seventy crystals, computed with Quantum ESPRESSO."""
