"""VASP's files: CHGCAR and vaspwave.h5, and what OUTCAR, vasprun.xml and POTCAR say about them."""
