"""VASP inputs with the settings of the ECD release: relaxation, static PBE (+U), HSE06; POTCARs are named only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ecd_data.crystal import Crystal
from ecd_data.errors import UsageError

if TYPE_CHECKING:
    from pymatgen.core import Structure

STEPS = ("relax", "static", "hse")
DENSE, MEDIUM = 0.02, 0.04  # k spacing in 2 pi / Å: the paper's mesh, and the one for what does not converge with it
# eV. The release's OUTCARs show Zn 7.5 and Pr 5.5 and the paper refers to Chen et al. 2022; these are the values of
# AFLOW (Calderon et al., Comput. Mater. Sci. 108, 233, 2015, table 3), which agree with both.
HUBBARD_U = {
    "Sc": 2.9, "Ti": 4.4, "V": 2.7, "Cr": 3.5, "Mn": 4.0, "Fe": 4.6, "Co": 5.0, "Ni": 5.1, "Cu": 4.0, "Zn": 7.5,
    "Ce": 6.3, "Pr": 5.5, "Nd": 6.2, "Sm": 6.4, "Eu": 5.4, "Gd": 6.0, "Tm": 6.0, "Yb": 6.3, "Lu": 3.8,
}  # fmt: skip
F_ELEMENTS = {"Ce", "Pr", "Nd", "Sm", "Eu", "Gd", "Tm", "Yb", "Lu"}
COMMON: dict[str, Any] = {
    "PREC": "Accurate",
    "ENCUT": 520,
    "EDIFF": 1e-4,
    "ISMEAR": 0,
    "SIGMA": 0.05,
    "NELM": 140,
    "NELMIN": 6,
    "LREAL": False,
    "AMIX": 0.1,
    "BMIX": 1.2,
}
BY_STEP: dict[str, dict[str, Any]] = {
    "relax": {"ISTART": 0, "ICHARG": 2, "IBRION": 2, "ISIF": 3, "NSW": 200, "EDIFFG": -0.001, "LWAVE": False},
    "static": {"ISTART": 0, "ICHARG": 2, "IBRION": -1, "NSW": 0, "LCHARG": True, "LWAVE": True, "LORBIT": 11},
    # ICHARG 1, not 11: with 11, as in 11 of 19 runs of the release, the density of PBE stays and no HSE06 one is made
    "hse": {
        "ISTART": 1, "ICHARG": 1, "IBRION": -1, "NSW": 0, "LCHARG": True, "LORBIT": 11, "ALGO": "Damped", "TIME": 0.4,
        "LHFCALC": True, "AEXX": 0.25, "HFSCREEN": 0.2, "PRECFOCK": "Normal",
    },
}  # fmt: skip
ORDER = """\
1. relax: run VASP.
2. static: copy ../relax/CONTCAR to POSCAR, run VASP; CHGCAR is the PBE density.
3. hse: copy POSCAR, CHGCAR and WAVECAR from ../static, run VASP; CHGCAR is the HSE06 density.
POTCAR in each folder: the PAW_PBE files named in POTCAR.spec, one after the other.
"""


def incar(
    crystal: Crystal, step: str, hubbard_u: Mapping[str, float] | None = None, spin: bool = False
) -> dict[str, Any]:
    """The INCAR tags of a step ("relax", "static" or "hse") for a crystal.

    hubbard_u: U - J in eV by element; the table above by default, {} for none. HSE06 never gets a U: the release has
    some runs with both, which is neither functional.
    """
    if step not in STEPS:
        raise UsageError(f"there is no step {step!r}: take {', '.join(STEPS)}")
    table = HUBBARD_U if hubbard_u is None else hubbard_u
    tags: dict[str, Any] = {"SYSTEM": f"{crystal.reduced_formula} {step}", **COMMON, **BY_STEP[step]}
    species = _species(crystal)
    correlated = [s for s in species if s in table]
    if correlated:
        tags["LMAXMIX"] = 6 if F_ELEMENTS & set(correlated) else 4
    if correlated and step != "hse":
        tags |= {
            "LDAU": True,
            "LDAUTYPE": 2,
            "LDAUL": [(3 if s in F_ELEMENTS else 2) if s in table else -1 for s in species],
            "LDAUU": [table.get(s, 0.0) for s in species],
            "LDAUJ": [0.0 for _ in species],
        }
    tags["ISPIN"] = 2 if spin else 1
    return tags


def mesh(crystal: Crystal, spacing: float = DENSE) -> tuple[int, int, int]:
    """The Γ-centred k mesh with at most `spacing` (in 2 pi / Å) between its points along each axis."""
    lengths = np.linalg.norm(np.linalg.inv(crystal.lattice).T, axis=1)
    a, b, c = (max(1, int(np.ceil(length / spacing - 1e-6))) for length in lengths)
    return a, b, c


def write_vasp_inputs(
    crystals: Mapping[str, Crystal],
    folder: str | Path,
    steps: tuple[str, ...] = STEPS,
    *,
    spacing: float = DENSE,
    hubbard_u: Mapping[str, float] | None = None,
    spin: bool = False,
) -> list[Path]:
    """The folders written: `<folder>/<id>/<step>/` with INCAR, KPOINTS, POSCAR and POTCAR.spec, and the order of steps.

    POTCAR.spec names the PAW_PBE datasets that a licence of VASP comes with, as in pymatgen's MPRelaxSet. Raises
    UsageError for elements that have none.
    """
    from pymatgen.io.vasp import Incar, Kpoints, Poscar

    written = []
    for id, crystal in crystals.items():
        labels = potcar_labels(crystal, id)
        ordered = _by_species(crystal)
        for step in steps:
            where = Path(folder) / id / step
            where.mkdir(parents=True, exist_ok=True)
            Incar(incar(crystal, step, hubbard_u, spin)).write_file(where / "INCAR")
            Kpoints.gamma_automatic(mesh(crystal, spacing)).write_file(where / "KPOINTS")
            Poscar(ordered, comment=id).write_file(where / "POSCAR", significant_figures=12)
            (where / "POTCAR.spec").write_text("\n".join(labels) + "\n")
            written.append(where)
        (Path(folder) / id / "ORDER.txt").write_text(ORDER)
    return written


def potcar_labels(crystal: Crystal, id: str = "the crystal") -> list[str]:
    """The names of the PAW_PBE datasets of a crystal's species, in the order of its POSCAR."""
    from pymatgen.io.vasp.sets import MPRelaxSet

    known = MPRelaxSet.CONFIG["POTCAR"]
    missing = [symbol for symbol in _species(crystal) if symbol not in known]
    if missing:
        raise UsageError(f"{id}: there is no PAW dataset for {missing[0]}; leave it out")
    return [known[symbol] for symbol in _species(crystal)]


def load_hubbard_u(text: str) -> dict[str, float]:
    """U in eV by element from "Fe=4.6,Zn=7.5", a JSON file, or "none"."""
    if text == "none":
        return {}
    try:
        if text.endswith(".json"):
            return {symbol: float(u) for symbol, u in json.loads(Path(text).read_text()).items()}
        return {symbol.strip(): float(u) for symbol, u in (pair.split("=") for pair in text.split(","))}
    except (OSError, ValueError, AttributeError) as error:
        raise UsageError(f"{text!r} gives no U values ({error}): write Fe=4.6,Zn=7.5 or none") from error


def _species(crystal: Crystal) -> list[str]:
    """The elements in the order in which the POSCAR has them."""
    return list(dict.fromkeys(crystal.symbols))


def _by_species(crystal: Crystal) -> Structure:
    """The structure with atoms of one element next to each other, as POTCAR goes."""
    structure = crystal.to_pymatgen()
    species = _species(crystal)
    structure.sort(key=lambda site: species.index(site.specie.symbol))
    return structure
