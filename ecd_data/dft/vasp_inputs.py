"""VASP inputs with the settings of the ECD release: relaxation, static PBE (+U) and HSE06; POTCARs are only named.

The settings are those that the release's OUTCARs show; docs/dft.md says which ones they do not show.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ecd_data.crystal import Crystal
from ecd_data.dft.open_shells import HUBBARD_U, may_have_moment, shell_of_u
from ecd_data.dft.vasp_kpoints import band_path, band_text, mesh_text, symmetric_mesh
from ecd_data.errors import UsageError

if TYPE_CHECKING:
    from pymatgen.core import Structure

STEPS = ("relax", "static", "hse")
DENSE, MEDIUM = 0.02, 0.04  # k spacing in 2 pi / Å: the paper's, and the one for crystals that do not converge with it
HSE_SPACING = 0.03  # 2 pi / Å; that of ZnO, whose HSE06 run was self-consistent. PrN, with a frozen density, has 0.04
# The 28 elements of the release's OUTCARs; their datasets are those that VASP recommends, except W in place of W_pv.
ELEMENTS_IN_OUTCARS = set("H Li C N O F Si S Cl K Ti Fe Co Zn As Se Sr Mo Cd Te I Cs La Pr W Pb Th Am".split())
OTHER_DATASETS = {"W": "W"}
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
    "static": {"ISTART": 0, "ICHARG": 2, "IBRION": -1, "NSW": 0, "LCHARG": True, "LWAVE": False, "LORBIT": 11},
    # ICHARG is 1, not 11: with 11, as in 11 of 19 runs of the release, the density stays that of PBE. LCHARG is on; it
    # is off in the OUTCAR of ZnO, whose run was self-consistent and wrote no density.
    "hse": {
        "ISTART": 1, "ICHARG": 1, "IBRION": -1, "NSW": 0, "LCHARG": True, "LWAVE": False, "LORBIT": 11,
        "ALGO": "Damped", "TIME": 0.4, "LHFCALC": True, "AEXX": 0.25, "HFSCREEN": 0.2, "PRECFOCK": "Normal",
    },
}  # fmt: skip
# A PBE run in the fixed PBE density, for orbitals on the k points of HSE06; the static run has other points
ORBITALS_INCAR: dict[str, Any] = {"ICHARG": 11, "LCHARG": False, "LWAVE": True}
ORDER = """\
1. relax: run VASP.
2. static: copy ../relax/CONTCAR to POSCAR, run VASP; CHGCAR is the PBE density.
3. hse: copy POSCAR and CHGCAR from ../static. Run VASP with INCAR.orbitals in place of INCAR: it makes the WAVECAR that
   HSE06 starts from, on the k points of HSE06. Then run it with INCAR; CHGCAR is the HSE06 density.
POTCAR in each folder: the PAW_PBE files named in POTCAR.spec, one after the other.
"""


def incar(
    crystal: Crystal, step: str, hubbard_u: Mapping[str, float] | None = None, spin: bool | None = None
) -> dict[str, Any]:
    """The INCAR tags of a step for a crystal.

    Parameters
    ----------
    crystal : the crystal, with its atoms in the order of the POSCAR.
    step : "relax", "static" or "hse".
    hubbard_u : U - J in eV by element; HUBBARD_U by default, {} for none. HSE06 never gets a U: the release has some
        runs with both, which is neither functional.
    spin : by default spin is on if `may_have_moment` is true.
    """
    if step not in STEPS:
        raise UsageError(f"there is no step {step!r}: take {', '.join(STEPS)}")
    table = HUBBARD_U if hubbard_u is None else hubbard_u
    tags: dict[str, Any] = {"SYSTEM": f"{crystal.reduced_formula} {step}", **COMMON, **BY_STEP[step]}
    species = _species(crystal)
    correlated = [s for s in species if s in table]
    if correlated and step != "hse":
        shells = [shell_of_u(s) if s in table else -1 for s in species]
        tags |= {
            "LMAXMIX": 6 if 3 in shells else 4,
            "LDAU": True,
            "LDAUTYPE": 2,
            "LDAUL": shells,
            "LDAUU": [table.get(s, 0.0) for s in species],
            "LDAUJ": [0.0 for _ in species],
        }
    if spin is None:
        spin = may_have_moment(Counter(crystal.symbols), dict(zip(species, potcar_labels(crystal), strict=True)))
    tags["ISPIN"] = 2 if spin else 1
    return tags


def mesh(crystal: Crystal, spacing: float = DENSE) -> tuple[int, int, int]:
    """The Γ-centred k mesh whose points are at most `spacing` (in 2 pi / Å) apart along each axis."""
    a, b, c = (max(1, int(np.ceil(ratio - 1e-6))) for ratio in _reciprocal_lengths(crystal) / spacing)
    return a, b, c


def nearest_mesh(crystal: Crystal, spacing: float = DENSE) -> tuple[int, int, int]:
    """The Γ-centred k mesh with the spacing nearest to `spacing` (in 2 pi / Å) along each axis, as in the release."""
    a, b, c = (max(1, int(np.floor(ratio + 0.5 + 1e-6))) for ratio in _reciprocal_lengths(crystal) / spacing)
    return a, b, c


def _reciprocal_lengths(crystal: Crystal) -> np.ndarray:
    """The lengths of the reciprocal vectors in 2 pi / Å [3]."""
    lengths: np.ndarray = np.linalg.norm(np.linalg.inv(crystal.lattice).T, axis=1)
    return lengths


def write_vasp_inputs(
    crystals: Mapping[str, Crystal],
    folder: str | Path,
    steps: tuple[str, ...] = STEPS,
    *,
    spacing: float = DENSE,
    hse_spacing: float = HSE_SPACING,
    hubbard_u: Mapping[str, float] | None = None,
    spin: bool | None = None,
) -> list[Path]:
    """The folders `<folder>/<id>/<step>/` that were written, with INCAR, KPOINTS, POSCAR and POTCAR.spec.

    The folder hse has two INCARs. POTCAR.spec has the names of the PAW_PBE datasets, which come with a licence of VASP.
    ORDER.txt says in which order to run the steps, and which settings the release's OUTCARs do not show for these
    elements.

    Parameters
    ----------
    crystals : crystals by id.
    folder : the folder to write.
    steps : any of "relax", "static" and "hse".
    spacing, hse_spacing : spacing of the k meshes of PBE and HSE06 in 2 pi / Å; HSE06 gets a band path with weight 0
        too.
    hubbard_u, spin : as in `incar`.

    Raises
    ------
    UsageError : an element has no dataset.
    """
    written = []
    for id, crystal in crystals.items():
        potcar_labels(crystal, id)  # raises before anything of this crystal is written
        for step in steps:
            kpoints = _kpoints(crystal, id, step, hse_spacing if step == "hse" else spacing)
            written.append(Path(folder) / id / step)
            _write_step(written[-1], crystal, id, incar(crystal, step, hubbard_u, spin), kpoints)
        if "hse" in steps:
            orbitals = incar(crystal, "static", hubbard_u, spin) | ORBITALS_INCAR
            orbitals["SYSTEM"] = f"{crystal.reduced_formula} orbitals for hse"
            _write_incar(Path(folder) / id / "hse" / "INCAR.orbitals", orbitals)
        (Path(folder) / id / "ORDER.txt").write_text(ORDER + _list_unknown_settings(crystal, hubbard_u))
    return written


def potcar_labels(crystal: Crystal, id: str = "the crystal") -> list[str]:
    """The names of the PAW_PBE datasets of a crystal's species, in the order of its POSCAR."""
    from pymatgen.io.vasp.sets import MVLRelax52Set  # what VASP recommends for its potentials of release 52 and 54

    datasets = MVLRelax52Set.CONFIG["POTCAR"] | OTHER_DATASETS
    missing = [symbol for symbol in _species(crystal) if symbol not in datasets]
    if missing:
        raise UsageError(f"{id}: there is no PAW dataset for {missing[0]}: leave this crystal out")
    return [datasets[symbol] for symbol in _species(crystal)]


def _write_step(where: Path, crystal: Crystal, id: str, tags: dict[str, Any], kpoints: str) -> None:
    """Write the files of one run into its folder."""
    from pymatgen.io.vasp import Poscar

    where.mkdir(parents=True, exist_ok=True)
    _write_incar(where / "INCAR", tags)
    (where / "KPOINTS").write_text(kpoints)
    Poscar(_sort_by_species(crystal), comment=id).write_file(where / "POSCAR", significant_figures=12)
    (where / "POTCAR.spec").write_text("\n".join(potcar_labels(crystal, id)) + "\n")


def _write_incar(path: Path, tags: dict[str, Any]) -> None:
    from pymatgen.io.vasp import Incar

    Incar(tags).write_file(path)


def _kpoints(crystal: Crystal, id: str, step: str, spacing: float) -> str:
    """The KPOINTS file of a step."""
    chosen = nearest_mesh(crystal, spacing)
    if step != "hse":
        return mesh_text(chosen)
    path = band_path(crystal)
    if not path:
        print(f"{id}: no band path was found for its cell, so KPOINTS of hse has the mesh alone", file=sys.stderr)
    return band_text(crystal, symmetric_mesh(crystal, chosen), path)


def _list_unknown_settings(crystal: Crystal, hubbard_u: Mapping[str, float] | None) -> str:
    """The text for ORDER.txt on settings that the release's OUTCARs do not show for the elements of a crystal."""
    from pymatgen.core import Element

    labels = dict(zip(_species(crystal), potcar_labels(crystal), strict=True))
    unknown = [symbol for symbol in labels if symbol not in ELEMENTS_IN_OUTCARS]
    lines = [f"{labels[symbol]}: the dataset of {symbol} is the one that VASP recommends" for symbol in unknown]
    for symbol in unknown if hubbard_u is None else ():
        if symbol in HUBBARD_U:
            lines.append(f"U = {HUBBARD_U[symbol]} eV on {symbol} is AFLOW's value")
        elif Element(symbol).block in "df":
            lines.append(f"{symbol} is given no U; AFLOW has values for some more metals: look there, and use --u")
    return "\nNot shown by the OUTCARs of the ECD release:\n" + "\n".join(lines) + "\n" if lines else ""


def _species(crystal: Crystal) -> list[str]:
    """The elements in the order in which the POSCAR has them."""
    return list(dict.fromkeys(crystal.symbols))


def _sort_by_species(crystal: Crystal) -> Structure:
    """The structure with the atoms sorted by element, in the order of the POTCAR."""
    structure = crystal.to_pymatgen()
    species = _species(crystal)
    structure.sort(key=lambda site: species.index(site.specie.symbol))
    return structure
