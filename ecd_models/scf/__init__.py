"""What a density saves in a self-consistency: steps counted, restarts of VASP written, runs of Quantum ESPRESSO."""
