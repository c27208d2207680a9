"""The embedded sample: densities from Quantum ESPRESSO that the package carries, their recipe, split and report."""
